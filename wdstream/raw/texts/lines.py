"""Lines of OCR formats: their text from words and ends of lines, and their boxes from points or the boxes of words.

Words are set apart by a space, but not Han letters and kana, between which none is printed though OCR programs make
each a word. A hyphen at the end of a line is part of the label, as the picture shows it.
"""

import re
from collections.abc import Iterable, Sequence

from wdstream.raw.texts.page_text import LineBox
from wdstream.raw.texts.tree import NUMBER

_EAST_ASIAN = "[\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0002ffff]"  # as text/script.py's is_east_asian
_SPACE_BETWEEN_HAN = re.compile(f"(?<={_EAST_ASIAN}) (?={_EAST_ASIAN})")
_NOT_SIGN_AT_END = re.compile("(?<=\\w)[\u00ac\u00ad][ \t]*$")

_MAX_POINTS = 100_000


def join_words(words: Sequence[str]) -> str:
    """The text of a line from its words, in order."""
    return _SPACE_BETWEEN_HAN.sub("", " ".join(" ".join(words).split()))


def hyphen_shown(text: str) -> str:
    """A line whose end is `¬` or a soft hyphen after a letter, by which transcriptions mean a printed hyphen."""
    return _NOT_SIGN_AT_END.sub("-", text)


def box_of_points(points: str | None) -> LineBox | None:
    """The box around a polygon, `x,y x,y ...` or `x y x y ...`; None for less than two points."""
    found = NUMBER.findall(points or "", endpos=len(points or ""))[: 2 * _MAX_POINTS]
    values = [float(value) for value in found]
    return around(list(zip(values[::2], values[1::2], strict=False)))


def around(points: list[tuple[float, float]]) -> LineBox | None:
    """The box around points; None for less than two."""
    if len(points) < 2:
        return None
    across, down = zip(*points, strict=True)
    return min(across), min(down), max(across), max(down)


def union(boxes: Iterable[LineBox | None]) -> LineBox | None:
    """The box around boxes; None where none is known."""
    return around([corner for box in boxes if box for corner in (box[:2], box[2:])])
