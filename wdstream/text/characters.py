"""Text as it is stored (line ends, hyphen marks and controls of PDF text layers, lone surrogates), what is taken for
one and is none, and text as it is shown.

Nothing that comes from a file reaches a terminal as it is: names, suffixes, keys and errors of libraries are shown by
`printable`, and where they are one word of a line by `short_name`.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

# PDFium ends a line broken inside a word with U+0002, in some encodings with U+FFFE, and drops the line end after it.
_LINE_END_HYPHENS = "\u0002\ufffe"
_LINE_END = re.compile("\r\n|\r|\x0b|\x0c|\u2028|\u2029")
_OTHER_LINE_END = re.compile("[\x0b\x0c\u2028\u2029]")
_LAST_OF_PLANES = "".join(chr(plane + 0xFFFE) + chr(plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000))
_CONTROL = re.compile(f"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ufdd0-\ufdef{_LAST_OF_PLANES}]")
_SOFT_HYPHEN_AT_LINE_END = re.compile("\u00ad+(?=[ \t\u00a0]*(?:[\r\n\x0b\x0c\u2028\u2029]|$))")
# Latin and Armenian ligatures, Hebrew and Arabic presentation forms, radicals of Han letters that are letters, too, and
# print alike: many fonts have one glyph for both, and programs name the radical. Signs that stand for a phrase stay.
_RADICALS = dict(
    zip(
        "⺠⻁⻄⻅⻆⻋⻑⻓⻔⻘⻙⻚⻛⻜⻝⻢⻣⻤⻥⻦⻧⻨⻩⻪⻫⻬⻭⻮⻯⻰⻱⻲",
        "民虎西见角车長长门青韦页风飞食马骨鬼鱼鸟卤麦黄黾斉齐歯齿竜龙龜亀",
        strict=True,
    )
)
_FORMS = re.compile(
    f"[{''.join(_RADICALS)}\u2e9f\u2ef3\u2f00-\u2fd5\ufb00-\ufb06\ufb13-\ufb17\ufb1d-\ufbb1\ufbd3-\ufd3d\ufd50-\ufdc7\ufdf0-\ufdf9\ufe70-\ufefc]"
)
_BLANKS = " \t\u00a0"
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNREADABLE_CATEGORIES = frozenset({"Cc", "Cn", "Co", "Cs"})
_READABLE_CONTROLS = frozenset("\t\n\r\x0c\x02\ufffe")
_SHOWN_CONTROLS = "\n\t"
# Written out, because they reorder or hide what is around them: marks of direction that open a range, and others that
# have no width. Those that right-to-left text needs (U+200E, U+200F, joiners) stay.
_WRITTEN_OUT = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF, 0x2028, 0x2029, *range(0xE0000, 0xE0080)}
_FIRST_CONTROL_PICTURE = 0x2400
_MAX_NAME = 160
_ASCII = bytes(range(0x80))
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


def replace_surrogates(text: str) -> str:
    """Make text storable as UTF-8: every lone surrogate becomes U+FFFD, every other character stays."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


@lru_cache(maxsize=2)
def kinds_of(text: str) -> str:
    """The different characters of a text, in any order: some dozens of thousands, which several questions are about."""
    absent = _ASCII.translate(None, text.encode("ascii", "ignore"))
    return _ASCII.translate(None, absent).decode() + beyond_ascii(text)


@lru_cache(maxsize=2)
def beyond_ascii(text: str) -> str:
    """Those of `kinds_of` a text that are not of ASCII: mostly so few that they tell at once what it does not have."""
    others = text.encode("utf-8", "surrogatepass").translate(None, _ASCII)
    return "".join(set(others.decode("utf-8", "surrogatepass")))


def normalise_text(text: str) -> str:
    """Clean the text of a page: what a reader of the page would see, in lines ended by one newline.

    A hyphen mark at a line end becomes a hyphen and a line end; CR LF, CR, form feed and the Unicode separators become
    a newline; other control characters, byte order marks and space before a line end go; lone surrogates become U+FFFD;
    empty lines at both ends go. Ligatures, presentation forms and radicals become letters; a soft hyphen becomes a
    hyphen at a line end, where it is drawn, and goes elsewhere. Applying it twice changes nothing more.
    """
    if text.isascii():
        plain = text.replace("\r\n", "\n")
        if plain.replace("\n", "").isprintable() and " \n" not in plain:  # as most: nothing to clean, but its ends
            return plain.rstrip(" ").strip("\n")
    kinds = kinds_of(text)  # what a text does not have is not looked for in all of it
    if "\u00ad" in kinds:
        text = _SOFT_HYPHEN_AT_LINE_END.sub("-", text).replace("\u00ad", "")
    if _FORMS.search(kinds):
        text = plain_letters(text)
    for hyphen in _LINE_END_HYPHENS:
        if hyphen in kinds:
            for end in ("\r\n", "\r", "\n", ""):
                text = text.replace(hyphen + end, "-\n")
    if _LINE_END.search(kinds):
        plain = text.replace("\r\n", "\n")  # as PDFium ends all lines
        text = _LINE_END.sub("\n", text) if "\r" in plain or _OTHER_LINE_END.search(kinds) else plain
    if _CONTROL.search(kinds):
        text = _CONTROL.sub("", text)
    if any(blank + "\n" in text or text.endswith(blank) for blank in _BLANKS):
        text = "\n".join([line.rstrip(_BLANKS) for line in text.split("\n")])
    if _SURROGATE.search(kinds):
        text = replace_surrogates(text)
    return text.strip("\n")


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


def plain_letters(text: str) -> str:
    """Ligatures (`ﬁ`), presentation forms of Hebrew and Arabic, and radicals (`⽇`) as the letters that they show."""
    return _FORMS.sub(lambda form: _RADICALS.get(form[0]) or _plain(form[0]), text)


def _plain(form: str) -> str:
    return unicodedata.normalize("NFKC", form).strip() or form


def unreadable_share(text: str) -> float:
    """Share of the characters that mean nothing: controls, private use, unassigned, surrogates, U+FFFD; 0 for no text.

    Taken before `normalise_text`. A PDF whose fonts lack a good Unicode map shows here (facts: above 0.01 is not text).
    """
    if not text:
        return 0.0
    if text.isascii() and text.isprintable():
        return 0.0
    return sum(text.count(kind) for kind in kinds_of(text) if _is_unreadable(kind)) / len(text)


def _is_unreadable(character: str) -> bool:
    is_odd = unicodedata.category(character) in _UNREADABLE_CATEGORIES and character not in _READABLE_CONTROLS
    return is_odd or character == "\ufffd"


def printable(text: str) -> str:
    """A text with every control character written out: U+001B becomes ␛, U+202E becomes <U+202E>."""
    return "".join(map(_printable_char, text)) if any(map(_acts, text)) else text


def one_line(text: str) -> str:
    """`printable`, and line ends and tabs written out too."""
    return printable(text).replace("\n", "⏎").replace("\t", "⇥")


def quoted(value: object, most: int = 60) -> str:
    """A value as Python writes it, for a message: cut where it is longer, with its quote closed."""
    shown = repr(value)
    if len(shown) <= most:
        return shown
    return f"{value[: most // 2]!r}..." if isinstance(value, str | bytes) else f"{shown[:most]}..."


def short_name(name: str, *, most: int = _MAX_NAME) -> str:
    """A name, key or suffix for a message: `one_line`, cut in the middle where it is longer than `most`."""
    shown = one_line(name)
    half = (most - 3) // 2
    return shown if len(shown) <= most else f"{shown[:half]}...{shown[-half:]}"


def _acts(char: str) -> bool:
    return (char not in _SHOWN_CONTROLS and unicodedata.category(char) in ("Cc", "Cs")) or ord(char) in _WRITTEN_OUT


def _printable_char(char: str) -> str:
    if not _acts(char):
        return char
    return chr(_FIRST_CONTROL_PICTURE + ord(char)) if ord(char) < 0x20 else f"<U+{ord(char):04X}>"
