"""What is found where the text of a page is expected, and is none: pointers of Git LFS, other encodings, and
annotations, whose boxes and places nobody reads in the picture.
"""

import json
import re
from collections.abc import Sequence
from itertools import pairwise

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_LFS_TEXT = LFS_POINTER.decode()
LFS_POINTER_BYTES = 1024
"""More than a pointer has, as its specification says."""
FETCH_LFS = "is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`"
_HEAD_BYTES = 4096
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_NO_TEXT_BYTES = bytes({*range(0x20), 0x7F} - set(b"\t\n\x0b\x0c\r\x1b"))
_NUMBER = r"-?\d+(?:\.\d+)?"
_CORNERS = re.compile(rf"({_NUMBER}(?:, ?{_NUMBER}){{7}}),.*")
_EDGES = re.compile(r'(\d+)[, ] ?(\d+)[, ] ?(\d+)[, ] ?(\d+)[, ] ?".*"')
_SHARES = re.compile(r"\d+((?: (?:[01]?\.\d+|[01]))+)")
_LONG_SHARE, _SHORTER_SHARE = re.compile(r"\.\d{5}"), re.compile(r"\.\d{4}")
_LEAST_SIDE = 4  # pixels of a box with a word in it
_LEAST_POINTS, _MOST_POINTS = 5, 64  # of a polygon; the rest of a longer one is not looked at
_WORDS_WITH_PLACES = (
    re.compile(rf"{_NUMBER}(?:,{_NUMBER}){{3,}},####.*"),  # CTW1500
    re.compile(  # DocBank: word, box, colour, font, kind
        r"[^\t]*+(?:\t-?\d+){7}\t[^\t]*+\t"
        r"(?:abstract|author|caption|date|equation|figure|footer|list|paragraph|reference|section|table|title)"
    ),
    re.compile(r"x: \[\[[\d ]+\]\], y: \[\[[\d ]+\]\],.*"),  # Total-Text
    re.compile(r"\[\[\[\d[^()]*\]\], \(['\"].*['\"], \d(?:\.\d+)?(?:e-\d+)?\)\],?"),  # PaddleOCR, as Python writes it
)
"""Lines of annotations of words, each form unlike any text that a page shows."""
_ANNOTATION = re.compile(
    r"\(page(?: -?\d+){4}\s"  # djvused
    r"|(?:\s*<[?!][^>]*>)*\s*<(?:\w+:)?(?:alto|PcGts|DjVuXML|pdf2xml)[\s>]"
)
_PARTS_OF_MARKUP = ("<bndbox>", "class='ocr_page'", 'class="ocr_page"')  # Pascal VOC, hOCR
_PLACE_KEYS = ("points", "bbox", "box", "polygon", "poly", "boundingBox", "bounding_box", "text_region", "vertices")
_PLACE_KEY = re.compile(rf"""['"](?:{"|".join(_PLACE_KEYS)})['"]: ?\[+-?\d""")
_ROUNDING = 1e-3


def other_than_text(data: bytes) -> str | None:
    """What the bytes of a text file are where they are surely no text of a page, to be said after its name; None for a
    text: UTF-16, whose bytes may all be UTF-8; a pointer to the file; boxes around objects or words.
    """
    if data.startswith(LFS_POINTER) and len(data) < LFS_POINTER_BYTES:
        return FETCH_LFS
    if data.startswith(_UTF16_MARKS) or _is_utf16(data):
        return "is UTF-16, or no text: write it as UTF-8"
    head = data[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    if (head[:1].isdigit() or head.startswith(b"-")) and are_boxes(data.decode("utf-8-sig", "replace")):
        return "has a box in numbers on each line, not the text of a page: write the words alone, in reading order"
    if (head[:1] in b"[({<x" or b"\t" in head or b",####" in head) and has_places(data.decode("utf-8-sig", "replace")):
        return "has places in numbers next to its words, and is not the text of a page: write the words alone, in order"
    return None


def is_lfs_pointer(text: str) -> bool:
    """Whether a text is what a pointer of Git LFS holds, whose file nobody fetched."""
    return text.startswith(_LFS_TEXT) and len(text) < LFS_POINTER_BYTES


def _is_utf16(data: bytes) -> bool:
    """Whether a quarter of the bytes are controls, as in most scripts, without the NULs that fill a text up; or every
    second one is, and one of them NUL."""
    if len(data) < 4 or not (num_controls := len(data) - len(data.translate(None, _NO_TEXT_BYTES))):
        return False
    halves, num_padding = (data[::2], data[1::2]), len(data) - len(data.rstrip(b"\0"))
    return 4 * (num_controls - num_padding) >= len(data) - num_padding > 0 or any(
        max(half) < 0x20 and 0 in half for half in halves
    )


def are_boxes(text: str) -> bool:
    """Whether every line is a box: four corners and a word (SROIE, ICDAR), four edges and a quoted word (ICDAR 2013),
    or a class and a box or polygon in shares (YOLO)."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return False
    if (found := _all_match(_CORNERS, lines)) is not None:
        return all(_goes_around([*map(float, match[1].split(","))]) for match in found)
    if (found := _all_match(_EDGES, lines)) is not None:
        return all(_has_sides([*map(float, match.groups())]) for match in found)
    found = _all_match(_SHARES, lines)
    return found is not None and _are_exact(text, lines) and all(_is_shape([*map(float, m[1].split())]) for m in found)


def has_places(text: str) -> bool:
    """Whether a text is words with their places, as programs for annotation and OCR write them: in lines, in JSON, or
    in XML by another name."""
    start = text.lstrip()[:1]
    if _ANNOTATION.match(text) or (start == "<" and any(part in text for part in _PARTS_OF_MARKUP)):
        return True
    # All JSON is asked: what has none of the names is not searched for their form, which takes a hundred times as long.
    if start and start in "[{" and any(key in text for key in _PLACE_KEYS) and _PLACE_KEY.search(text):
        return _is_json(text) or all(map(_is_json, filter(str.strip, text.splitlines())))
    first, _, _ = text.strip().partition("\n")
    form = next((form for form in _WORDS_WITH_PLACES if form.fullmatch(first.strip())), None)
    return form is not None and all(form.fullmatch(line.strip()) for line in text.splitlines() if line.strip())


def _is_json(text: str) -> bool:
    """Whether a text is JSON, or the same as Python writes it."""
    try:
        return isinstance(json.loads(text), list | dict)
    except (ValueError, RecursionError):
        return text.startswith(("[{'", "{'")) and text.rstrip().endswith(("}", "}]"))


def _all_match(form: re.Pattern[str], lines: Sequence[str]) -> list[re.Match[str]] | None:
    """The matches of all lines, None where one has none."""
    found = [match for line in lines if (match := form.fullmatch(line)) is not None]
    return found if len(found) == len(lines) else None


def _are_exact(text: str, lines: Sequence[str]) -> bool:
    """Whether numbers have as many digits as shares of pixels have, and few tables: five, or four in several lines that
    are not numbered."""
    if len(_LONG_SHARE.findall(text)) >= 2 * len(lines):
        return True
    numbers = [int(line.partition(" ")[0]) for line in lines]
    counts_up = all(after > before for before, after in pairwise(numbers))
    return not counts_up and len(_SHORTER_SHARE.findall(text)) >= 2 * len(lines)


def _is_shape(shares: Sequence[float]) -> bool:
    """Whether the numbers after a class are a box (and how sure it is), four corners, or the points of a polygon."""
    if len(shares) in (4, 5):
        return _is_within(shares[:4])
    if max(shares) > 1 or len(shares) % 2:
        return False
    return _goes_around(shares) if len(shares) == 8 else _is_outline(shares)


def _has_sides(edges: Sequence[float]) -> bool:
    left, top, right, bottom = edges
    return right - left >= _LEAST_SIDE and bottom - top >= _LEAST_SIDE


def _is_outline(numbers: Sequence[float]) -> bool:
    """Whether x and y of five points or more are an outline: no side of it crosses another, as those of a table do."""
    points = [*zip(numbers[::2], numbers[1::2], strict=True)][:_MOST_POINTS]
    sides = [*pairwise(points)]
    return len(points) >= _LEAST_POINTS and not any(
        _cross(*one, *other) for number, one in enumerate(sides) for other in sides[number + 2 :]
    )


_Point = tuple[float, float]


def _cross(a: _Point, b: _Point, c: _Point, d: _Point) -> bool:
    """Whether the sides ab and cd cross between their ends."""

    def turn(p: _Point, q: _Point, r: _Point) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return turn(a, b, c) * turn(a, b, d) < 0 > turn(c, d, a) * turn(c, d, b)


def _goes_around(corners: Sequence[float]) -> bool:
    """Whether x and y of four points go around a box: each side turns as the one before, and the one opposite leads
    back. Squares or primes in a row turn alike, too, but continue."""
    points = [*zip(corners[::2], corners[1::2], strict=True)]
    sides = [(x2 - x1, y2 - y1) for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True)]
    turns = [x1 * y2 - y1 * x2 for (x1, y1), (x2, y2) in zip(sides, sides[1:] + sides[:1], strict=True)]
    lead_back = all(x1 * x2 + y1 * y2 <= 0 for (x1, y1), (x2, y2) in zip(sides[:2], sides[2:], strict=True))
    return lead_back and any(turns) and (min(turns) >= 0 or max(turns) <= 0)


def _is_within(box: Sequence[float]) -> bool:
    """Whether a box, by its middle, width and height, is in the picture, and has a size: rows of zeros have none."""
    x, y, width, height = box
    return width * height > 0 and all(
        abs(middle - 0.5) + size / 2 <= 0.5 + _ROUNDING for middle, size in ((x, width), (y, height))
    )
