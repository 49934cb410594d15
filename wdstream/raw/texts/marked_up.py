"""Markdown and HTML of programs that convert documents (olmOCR, marker, MinerU, docling) as labels: kept as they are.

What the picture does not show as text goes, and is counted: images (`![alt](a.png)`, `<img>`), whose alternative text
nobody sees; the front matter of Markdown; scripts, styles, comments and all outside the body of HTML. Markdown in a
fence of code stays whole. `text_images` counts the images.

The text of a document of several pages is told apart by marks between them (docling, Azure: a comment "page break"; a
form feed; a division or rule whose style or class breaks the page) or before each (marker: `{4}` and at least 16
hyphens on a line, pages counted from 0).
"""

import re

from wdstream.errors import SourceError
from wdstream.raw.texts.page_text import FoundText
from wdstream.text.characters import normalise_text

_BREAK = re.compile(
    r"\f|<!--\s*(?:end\s+of\s+page|page[\s_-]?break)\s*-->"
    r"|<(?:div|hr|p)\b[^<>]{0,200}page-?break[^<>]{0,200}>(?:\s*</(?:div|p)>)?",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"^\{(\d{1,7})\}-{16,}[ \t]*$", re.MULTILINE)
_FRONT_MATTER = re.compile(
    r"\A---[ \t]*\r?\n(?:[A-Za-z_][\w -]{0,60}:[^\n]{0,1000}\n|[ \t]+[^\n]{0,1000}\n){0,200}?---[ \t]*\r?\n"
)
_FENCE = re.compile(r"(^[ \t]{0,3}(?:```|~~~).*?(?:^[ \t]{0,3}(?:```|~~~)[ \t]*$|\Z))", re.MULTILINE | re.DOTALL)
_TARGET = r"(?:<[^<>\n]{0,4000}>|data:image/[^()\s]*|[^()\s]{0,4000}(?:\([^()\s]{0,400}\)[^()\s]{0,400})?)"
_LINK = rf"\({_TARGET}(?:\s+[\"'(][^\n\"']{{0,1000}}[\"')])?\s*\)"
_PICTURE = rf"!\[[^\[\]]{{0,2000}}\](?:{_LINK}|\[[^\[\]\n]{{0,200}}\])"
_TAG = r"<img\b(?:[^<>\"']|\"[^\"]*\"|'[^']*')*>"
_IMAGE = re.compile(rf"\[[ \t]*{_PICTURE}[ \t]*\]{_LINK}|{_PICTURE}|{_TAG}", re.IGNORECASE)
_EMPTY_LINES = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")
_BODY = re.compile(r"<body\b[^<>]*>(.*?)(?:</body\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_NOT_SHOWN = re.compile(
    r"<!--.*?(?:-->|\Z)|<!doctype[^>]*>|<(script|style|head|template)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL
)


def split_pages(text: str) -> list[str]:
    """The texts of the pages of a document, by the marks between or before them; one text where there are none.

    Raises:
        SourceError: numbers of pages are not in order from 0 without a gap.
    """
    marks = [*_NUMBERED.finditer(text)]
    if marks and not text[: marks[0].start()].strip():
        numbers = [int(mark[1]) for mark in marks]
        if numbers != [*range(len(numbers))]:
            raise SourceError("its page marks are not {0}, {1}, ... in order: pages are missing")
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        return [text[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]
    pages = _BREAK.split(text)
    return pages[:-1] if len(pages) > 1 and not pages[-1].strip() else pages


def markdown_pages(text: str) -> list[FoundText]:
    """The pages of a Markdown file."""
    return [_page(page, "markdown") for page in split_pages(_FRONT_MATTER.sub("", text, count=1))]


def html_pages(text: str) -> list[FoundText]:
    """The pages of an HTML file that is not hOCR: what is in its body, as it is written."""
    body = _BODY.search(text)
    return [_page(_NOT_SHOWN.sub("", page), "html") for page in split_pages(body[1] if body else text)]


def _page(text: str, text_from: str) -> FoundText:
    pieces = _FENCE.split(text) if text_from == "markdown" else [text]
    dropped = 0
    for number in range(0, len(pieces), 2):  # every second one is a fence
        pieces[number], count = _IMAGE.subn("", pieces[number])
        dropped += count
    shown = normalise_text("".join(pieces))
    if not dropped:
        return FoundText(text=shown, meta={"text_from": text_from})
    meta = {"text_from": text_from, "text_images": dropped}
    return FoundText(text=_EMPTY_LINES.sub("\n\n", shown).strip("\n"), meta=meta)
