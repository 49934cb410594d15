"""What is found where the text of a page is expected, and is none: pointers of Git LFS, other encodings, and
annotations, whose boxes and places nobody reads in the picture.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from numbers import Real
from typing import TypeGuard

from wdstream.text.image_names import NAME_WORD

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_LFS_TEXT = LFS_POINTER.decode()
LFS_POINTER_BYTES = 1024
"""More than a pointer has, as its specification says."""
FETCH_LFS = "is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`"
_HEAD_BYTES = 4096
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_NO_TEXT_BYTES = bytes({*range(0x20), 0x7F} - set(b"\t\n\x0b\x0c\r\x1b"))
_NUMBER = r"-?\d+(?:\.\d+)?"
_CORNERS = re.compile(  # with a word, in RCTW after how hard it is to read, in DOTA the name of a thing before that
    rf'({_NUMBER}(?:(?:, ?{_NUMBER}){{7}}(?=,.*)|(?: {_NUMBER}){{7}}(?= [01] ".*"| [\w-]+ [0-2]\Z))).*'
)
_EDGES = re.compile(r'(\d+)[, ] ?(\d+)[, ] ?(\d+)[, ] ?(\d+)[, ] ?".*"')
_SHARES = re.compile(r"\d{1,9}((?: (?:[01]?\.\d+|[01]))+)")
_LONGEST_SHARE, _LONG_SHARE, _SHORTER_SHARE = (re.compile(rf"\.\d{{{digits}}}") for digits in (6, 5, 4))
_LEAST_SIDE = 4  # pixels of a box with a word in it
_LEAST_POINTS, _MOST_POINTS = 5, 64  # of a polygon; the rest of a longer one is not looked at
_MOST_LINES = 64  # of boxes whose numbers are looked at; the form is asked of all
_WORDS_WITH_PLACES = (
    re.compile(rf"{_NUMBER}(?:,{_NUMBER}){{3,}},####.*"),  # CTW1500
    re.compile(  # DocBank: word, box, colour, font, kind
        r"[^\t]*+(?:\t-?\d+){7}\t[^\t]*+\t"
        r"(?:abstract|author|caption|date|equation|figure|footer|list|paragraph|reference|section|table|title)"
    ),
    re.compile(r"x: \[\[[\d ]+\]\], y: \[\[[\d ]+\]\],.*"),  # Total-Text
    re.compile(r"\[\[\[\d[^()]*\]\], \(['\"].*['\"], \d(?:\.\d+)?(?:e-\d+)?\)\],?"),  # PaddleOCR, as Python writes it
    re.compile(r"\[?\(\[\[\d[\d\[\]., -]*\]\], ['\"].*['\"], \d(?:\.\d+)?(?:e-\d+)?\).*"),  # EasyOCR
)
"""Lines of annotations of words, each form unlike any text that a page shows."""
_ANNOTATION = re.compile(
    r"\(page(?: -?\d+){4}\s"  # djvused
    r"|(?:\s*<[?!][^>]*>)*\s*<(?:\w+:)?(?:alto|PcGts|DjVuXML|pdf2xml)[\s>]"
    r"|level\tpage_num\tblock_num\t"  # tesseract's tsv
)
_OF_HOCR = ("<div class='ocr_page'", '<div class="ocr_page"')
_OF_VOC = re.compile(r"<bndbox>\s*<\w+>\s*\d")
_PYTHON_PLACE = re.compile(r"'(?:points|bbox|box|polygon|poly|bounding_box|text_region)': ?\[+-?\d")
_PYTHON_WORD = re.compile("'(?:text|transcription|words?)': ")
_PLACE_KEYS = (  # literals: a regex takes a hundred times as long where it finds none
    *('box"', 'Box"', 'boxes"', 'Boxes"', 'poly"', 'Poly"', 'polygon"', 'Polygon"', 'quad"', 'region"', 'Region"'),
    *('points"', 'vertices"', '"left"', '"xmin"', '"x0"', '"x1"'),
)
_WORD_KEY = re.compile("texts?|transcription|words?|content|category|category_id|label|value|description|res|lines")
_KEY_NEXT_TO_POINTS = re.compile("texts?|transcription|words?|content|res|lines|shape_type")
"""Charts have points, too, and call them by a label."""
_OF_GEOJSON = frozenset({"features", "geometry", "coordinates"})
_MOST_OBJECTS = 10_000  # of JSON that are looked at
_ROUNDING = 1e-3

_Numbers = Sequence[float]
_IN_TEXT = re.compile(rf"[(\[]?{_NUMBER}(?:,? ?(?<=[, ]){_NUMBER}){{3}}(?:(?:,? ?(?<=[, ]){_NUMBER}){{4}})?[)\]]?")
_PLACE = re.compile(
    r"(?:(?P<sure>bbox|bounding_?(?:box|poly)|text_?region)|(?P<quad>quad)|(?P<outline>poly(?:gon)?)|(?P<box>box))"
    r"(?:es|s)?",
    re.IGNORECASE,
)
"""Names of fields with a place; what is called a box may be of cardboard, a quad four numbers of any kind."""
_SIDES = re.compile("[xylrtbwh]|[xy][0-4]|[xy]_?(?:min|max)|left|top|right|bottom|width|height", re.IGNORECASE)
_DEEP = re.compile("z|z[0-4]|z_?(?:min|max)|depth|length", re.IGNORECASE)
_MAX_DEPTH, _MOST_INSIDE = 4, 2
_SURE_CORNERS = (("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"))
_CORNER_COLUMNS = (
    *_SURE_CORNERS,
    *(
        ("left", "top", "right", "bottom"),
        ("x1", "y1", "x2", "y2"),
        ("x0", "y0", "x1", "y1"),
        ("x0", "top", "x1", "bottom"),
    ),
)
_SIZE_COLUMNS = (("left", "top", "width", "height"), ("x", "y", "width", "height"), ("x", "y", "w", "h"))
_COLUMNS = (*_CORNER_COLUMNS, *_SIZE_COLUMNS)
"""Names of the sides of a box in fields of their own."""
_FIRST_SIDES = frozenset(sides[0] for sides in _COLUMNS)
_OF_READING = re.compile(
    "page|conf|confidence|line|word|block|par|paragraph|font|fontname|ocr|span|upright|doctop", re.IGNORECASE
)
"""A word in the name of a field next to such columns: parcels and furniture have them, too."""
_DEGREES, _FEW_DEGREES = 180, 5
_LARGEST = 1e9  # of a number that is a place


def other_than_text(data: bytes, *, may_be_places: bool = False) -> str | None:
    """What the bytes of a text file are where they are surely no text of a page, to be said after its name; None for a
    text: UTF-16, whose bytes may all be UTF-8; a pointer to the file; boxes around things or words, if not wanted."""
    if data.startswith(LFS_POINTER) and len(data) < LFS_POINTER_BYTES:
        return FETCH_LFS
    if data.startswith(_UTF16_MARKS) or _is_utf16(data):
        return "is UTF-16, or no text: write it as UTF-8"
    head = data[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    if may_be_places:
        return None
    if (head[:1].isdigit() or head.startswith(b"-")) and are_boxes(data.decode("utf-8-sig", "replace")):
        return "has a box in numbers on each line, not the text of a page: write the words alone, in reading order"
    if (head[:1] in b"[({<x" or b"\t" in head or b",####" in head) and has_places(data.decode("utf-8-sig", "replace")):
        return (
            "has places in numbers next to its words, and is not the text of a page: write the words alone, in order "
            "(where a model shall write the places, too: image and text in a row of a .jsonl)"
        )
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
        corners = [[*map(float, match[1].replace(",", " ").split())] for match in found]
        return all(map(_goes_around, corners)) and any(max(numbers) >= _LEAST_SIDE for numbers in corners)
    if (found := _all_match(_EDGES, lines)) is not None:
        edges = [[*map(float, match.groups())] for match in found]
        return all(map(_has_sides, edges)) and any(numbers != sorted(numbers) for numbers in edges)  # no series
    if (found := _all_match(_SHARES, lines)) is None or not _are_exact(text, lines):
        return False
    shares = [[*map(float, match[1].split())] for match in found]
    are_probabilities = all(abs(sum(numbers) - 1) < 2 * _ROUNDING for numbers in shares)
    return not are_probabilities and all(map(_is_shape, shares)) and _may_be_outlines(text, shares)


def has_places(text: str) -> bool:
    """Whether a text is words with their places, as programs for annotation and OCR write them: in lines, in JSON, or
    in XML by another name."""
    text = text.lstrip("\ufeff \t\r\n")
    start = text[:1]
    if _ANNOTATION.match(text) or (start == "<" and (any(part in text for part in _OF_HOCR) or _OF_VOC.search(text))):
        return True
    if text.startswith(("[{'", "{'")):
        return _is_written_by_python(text)
    if start and start in "[{" and any(key in text for key in _PLACE_KEYS):
        return any(map(_is_word_with_place, _objects(_trees(text))))
    first, _, _ = text.partition("\n")
    form = next((form for form in _WORDS_WITH_PLACES if form.fullmatch(first.strip())), None)
    return form is not None and all(form.fullmatch(line.strip()) for line in text.splitlines() if line.strip())


def place_in(fields: Mapping[str, object], depth: int = 0, *, is_sure: bool = False) -> str | None:
    """The field that has a place on a page, or an object, or the first of a list of objects, with one.

    Args:
        fields: of a row.
        depth: how many objects they are in.
        is_sure: whether only fields of the row itself that are called by no other thing's name count.
    """
    for name, value in fields.items():
        form = _PLACE.fullmatch(str(name))
        if form is not None and (form["sure"] or not is_sure) and _is_place(_opened(value), form.lastgroup or ""):
            return str(name)
        inner = value[0] if isinstance(value, list | tuple) and value else value
        if depth < _MOST_INSIDE and not is_sure and isinstance(inner, Mapping) and place_in(inner, depth + 1):
            return str(name)
    return None if depth or is_sure else _column_in(fields)


def _column_in(fields: Mapping[str, object], *, is_read: bool = False) -> str | None:
    """The first of the fields that are the sides of a box, next to others that tell of a page."""
    for sides in () if fields.keys().isdisjoint(_FIRST_SIDES) else _COLUMNS:
        numbers = [number for side in sides if _is_number(number := fields.get(side))]
        if len(numbers) < len(sides) or min(numbers) < 0:
            continue
        left, second, third, fourth = numbers
        is_box = left < third and second < fourth if sides in _CORNER_COLUMNS else third > 0 < fourth
        is_read = is_read or sides in _SURE_CORNERS
        if is_box and (is_read or any(_OF_READING.fullmatch(word) for f in fields for word in NAME_WORD.findall(f))):
            return sides[0]
    return None


def region_in(fields: Mapping[str, object]) -> str | None:
    """The field, of a row with one image, that has one box inside of it: its text may be of that alone. A box that
    begins in the corner of the image is of all of it, as far as is known here."""
    for name, value in fields.items():
        if (form := _PLACE.fullmatch(name)) is None or form.lastgroup not in ("sure", "box"):
            continue
        box = _opened(value)
        box = box[0] if isinstance(box, list | tuple) and len(box) == 1 else box
        numbers = [*box.values()] if isinstance(box, Mapping) else box
        if isinstance(numbers, list | tuple) and len(numbers) == 4 and _is_place(box, "sure") and any(numbers[:2]):
            return name
    first = _column_in(fields, is_read=True)
    sides = next((sides for sides in _COLUMNS if sides[0] == first), ())
    return first if any(fields.get(side) for side in sides[:2]) else None


def _opened(value: object) -> object:
    """A value, also as JSON, as text with commas or spaces, or as an array."""
    if isinstance(value, str):
        if _IN_TEXT.fullmatch(value):
            return [*map(float, re.findall(_NUMBER, value))]
        with suppress(ValueError, RecursionError):
            return json.loads(value) if value[:1] in ("[", "{") else value
    return value.tolist() if hasattr(value, "dtype") and hasattr(value, "tolist") else value


def _is_place(value: object, kind: str, depth: int = 0) -> bool:
    """Whether the value of a field that is named as a `kind` of place is one, or a list of such."""
    if isinstance(value, Mapping):
        vertices = _opened(value.get("vertices", value.get("normalizedVertices")))
        if vertices is not None:
            return _is_place(vertices, "outline", depth + 1)
        sides = [name for name, inner in value.items() if _SIDES.fullmatch(str(name)) and _is_number(inner)]
        is_solid = any(_DEEP.fullmatch(str(name)) for name in value)
        return kind != "box" and len(sides) >= (8 if kind == "quad" else 4) and not is_solid
    if not isinstance(value, list | tuple) or not value or depth > _MAX_DEPTH:
        return False
    points = _points(value[:_MOST_POINTS])
    numbers = [number for point in points for number in point] if points else value[:_MOST_POINTS]
    if not all(map(_is_number, numbers)):
        return all(_is_place(inner, kind, depth + 1) for inner in value[:_MOST_POINTS])
    if _is_of_the_earth(numbers):
        return False
    if kind == "box" and len(numbers) == 4:
        return not points and numbers[0] < numbers[2] and numbers[1] < numbers[3]
    if kind == "box":
        return len(numbers) == 8 and _goes_around(numbers)
    least = {"quad": 8, "outline": 6}.get(kind, 4)
    is_outline = bool(points) or kind == "outline"
    return len(numbers) >= least and len(numbers) % 2 == 0 if is_outline else len(numbers) in {least, 8}


def _points(values: Sequence[object]) -> list[_Numbers]:
    """Points as pairs or as objects with x and y; empty where one of the values is none."""
    found = list[_Numbers]()
    for value in values:
        point = (value.get("x"), value.get("y")) if isinstance(value, Mapping) and len(value) == 2 else value
        if not isinstance(point, list | tuple) or len(point) != 2 or not all(map(_is_number, point)):
            return []
        found.append(point)
    return found


def _is_number(value: object) -> TypeGuard[float]:
    if type(value) is bool or not isinstance(value, Real):  # numpy's numbers are real, too
        return False
    return bool(-_LARGEST < value < _LARGEST)  # type: ignore[operator]  # typeshed knows no order of Real


def _is_of_the_earth(numbers: _Numbers) -> bool:
    """Whether x and y are degrees: exact ones, of which some are negative or all are of one district."""
    if max(map(abs, numbers)) > _DEGREES or 2 * sum(number != round(number, 2) for number in numbers) < len(numbers):
        return False
    extents = (max(side) - min(side) for side in (numbers[::2], numbers[1::2]))
    return min(numbers) <= -1 or (max(numbers) > 1 and len(numbers) > 1 and all(e < _FEW_DEGREES for e in extents))


def _objects(trees: Sequence[object]) -> Iterator[Mapping[str, object]]:
    """The objects in JSON, the first of them where there are very many."""
    waiting = list(trees[:_MOST_OBJECTS])[::-1]
    for _ in range(_MOST_OBJECTS):
        if not waiting:
            return
        node = waiting.pop()
        inner: Iterable[object] = node[:_MOST_OBJECTS] if isinstance(node, list) else ()
        if isinstance(node, dict):
            yield node
            inner = node.values()
        waiting.extend(value for value in inner if isinstance(value, list | dict))


def _is_word_with_place(fields: Mapping[str, object]) -> bool:
    """Whether an object of JSON is a word, line or thing with its place, and nothing of the world or of a chart."""
    if not any(map(_WORD_KEY.fullmatch, fields)) or not fields.keys().isdisjoint(_OF_GEOJSON):
        return False
    points = fields.get("points", fields.get("vertices"))
    if isinstance(points, list) and len(_points(points)) > 1 and any(map(_KEY_NEXT_TO_POINTS.fullmatch, fields)):
        return True
    named = {key: value for key, value in fields.items() if _PLACE.fullmatch(key)}
    return place_in(named, _MOST_INSIDE) is not None or (
        "text" in fields and _column_in(fields, is_read=True) is not None
    )


def _trees(text: str) -> list[object]:
    """A text as JSON, or as JSON lines; empty where it is none."""
    try:
        return [json.loads(text)]
    except RecursionError:
        return []
    except ValueError:
        with suppress(ValueError, RecursionError):
            return [json.loads(line) for line in text.splitlines() if line.strip()]
    return []


def _is_written_by_python(text: str) -> bool:
    """Whether a text is objects with words and places as Python writes them."""
    return text.rstrip().endswith(("}", "}]")) and bool(_PYTHON_PLACE.search(text) and _PYTHON_WORD.search(text))


def _all_match(form: re.Pattern[str], lines: Sequence[str]) -> list[re.Match[str]] | None:
    """The matches of the first lines, None where one of all has none."""
    found = list[re.Match[str]]()
    for line in lines:
        if (match := form.fullmatch(line)) is None:
            return None
        if len(found) < _MOST_LINES:
            found.append(match)
    return found


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


def _may_be_outlines(text: str, shares: Sequence[_Numbers]) -> bool:
    """Whether the numbers of polygons, where there are any, have six digits: tables of statistics have five at most."""
    are_long = any(len(numbers) >= 2 * _LEAST_POINTS for numbers in shares)
    return not are_long or 4 * len(_LONGEST_SHARE.findall(text)) > len(_LONG_SHARE.findall(text))


def _is_outline(numbers: Sequence[float]) -> bool:
    """Whether x and y of five points or more are an outline: no side of it crosses another, as those of a table do, nor
    do all lead to where the numbers are larger."""
    points = [*zip(numbers[::2], numbers[1::2], strict=True)][:_MOST_POINTS]
    is_whole = len(numbers) <= 2 * _MOST_POINTS
    sides = [*pairwise([*points, points[0]] if is_whole else points)]
    if len(points) < _LEAST_POINTS or all(x1 <= x2 and y1 <= y2 for (x1, y1), (x2, y2) in pairwise(points)):
        return False
    return not any(_cross(*one, *other) for number, one in enumerate(sides) for other in sides[number + 2 :])


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
