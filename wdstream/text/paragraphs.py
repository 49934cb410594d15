"""Paragraphs of a text: where a page that is too long for a pack may be cut (`overlength: split`).

A paragraph ends after the blank lines that follow it: lines of nothing but white space. A text without a blank line
inside, as most text layers of PDFs are, is cut at its line ends instead. Blank lines before the first and after the
last word belong to the first and the last piece, so every piece holds a word.
"""

import re
from collections.abc import Sequence

from wdstream.records import ImageSegment, Segment, TextSegment

# A line end and the blank lines after it, up to the line end before the next word.
_BREAK = re.compile(r"\n(?:\s*\n)?")


def split_paragraphs(text: str) -> list[str]:
    """The paragraphs of a text; joined they are the text again, to the character. An empty text has none."""
    if not text:
        return []
    first, last = len(text) - len(text.lstrip()), len(text.rstrip())
    breaks = [match for match in _BREAK.finditer(text) if first < match.start() and match.end() < last]
    blank = [match for match in breaks if match.group().count("\n") > 1]
    ends = [*(match.end() for match in blank or breaks), len(text)]
    return [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def page_paragraphs(segments: Sequence[Segment]) -> list[str]:
    """The paragraphs of a page that may be split: images, if any, then one text, which is supervised.

    Empty for any other row (chat rows, and rows in which text and images alternate, are never split), and for a page
    of a single paragraph.
    """
    images, text = segments[:-1], segments[-1] if segments else None
    if not isinstance(text, TextSegment) or not text.is_supervised:
        return []
    if not all(isinstance(segment, ImageSegment) for segment in images):
        return []
    paragraphs = split_paragraphs(text.text)
    return paragraphs if len(paragraphs) > 1 else []
