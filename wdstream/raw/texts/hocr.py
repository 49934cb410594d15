"""hOCR, as programs write it: HTML whose classes say what is a page, a paragraph, a line and a word.

Lines and paragraphs (`ocr_par`, else `ocr_carea`) come in document order. A line is what its class says, or all of a
paragraph, an area or a table in which no lines are marked. Words are set apart by a space, whatever is between their
elements.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING

from wdstream.raw.texts.lines import hyphen_shown, join_words
from wdstream.raw.texts.page_text import FoundText, LineBox, TextLine
from wdstream.raw.texts.tree import NUMBER, share

if TYPE_CHECKING:
    from wdstream.raw.texts.tree import Element

_MARK = re.compile(rb"""class\s*=\s*["']?[^"'<>]{0,200}\bocrx?_(?:page|line|word|par|carea)\b""", re.IGNORECASE)
_LINES = {"ocr_line", "ocrx_line", "ocr_header", "ocr_footer", "ocr_caption", "ocr_textfloat", "ocr_pageno"}
_PARAGRAPHS = {"ocr_par", "ocrx_block"}
_AREAS = {"ocr_carea", "ocr_column"}
_OTHERS = {"ocr_table", "ocr_float", "ocr_display", "ocr_blockquote", "ocr_math", "ocr_chem"}
_UNITS = _LINES | _PARAGRAPHS | _AREAS | _OTHERS
_WORDS = {"ocrx_word", "ocr_word", "ocr_xword"}
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_APART = {"br", "td", "th", "tr", "li", "p", "div"}
_NOT_SHOWN = {"script", "style", "head", "title"}


def is_hocr(data: bytes) -> bool:
    """Whether an HTML file is hOCR, by the classes in it."""
    return _MARK.search(data.replace(b"\0", b"")) is not None  # of UTF-16, too


def read_hocr(root: "Element") -> list[FoundText]:
    """The text of each page of an hOCR file, `root` being its `html`."""
    pages = [element for element in _elements(root) if "ocr_page" in _classes(element)]
    return [_read_page(page) for page in pages or [root]]


def _read_page(page: "Element") -> FoundText:
    kept = [*_elements(page)]  # lxml keeps them, and so their identity, while we do
    lines = [*_innermost(page)] or [page]
    origin = _box(page)
    blocks = [[_read_line(line, origin) for line in block] for _, block in groupby(lines, key=_block_of)]
    confidences = [value for word in kept if (value := _confidence(word)) is not None]
    languages = Counter(filter(None, (_language_of(line) for line in lines)))
    return FoundText.of_blocks(
        blocks,
        text_from="hocr",
        extent=(origin[2] - origin[0], origin[3] - origin[1]) if origin else None,
        confidences=confidences,
        language=next((name for name, _ in languages.most_common(1)), None),
        tags=(name for line in lines for name in _classes(line) & (_LINES - {"ocr_line", "ocrx_line"})),
    )


def _elements(root: "Element") -> "Iterator[Element]":
    """All elements of a tree, in document order."""
    return (element for element in root.iter() if isinstance(element.tag, str))


def _classes(element: "Element") -> set[str]:
    return {*element.get("class", "").split()}


def _innermost(page: "Element") -> "Iterator[Element]":
    """The elements with lines or more that have none of them inside: a header may be a line, or hold lines.

    Inside of a line only lines count, so that a formula does not take its line's place.
    """
    found = [element for element in _elements(page) if element is not page and _classes(element) & _UNITS]
    lines = {id(element) for element in found if _classes(element) & _LINES}
    units = [
        unit for unit in found if id(unit) in lines or not any(id(around) in lines for around in unit.iterancestors())
    ]
    outer = {id(around) for unit in units for around in unit.iterancestors()}
    return (unit for unit in units if id(unit) not in outer)


def _block_of(line: "Element") -> int:
    """Which paragraph a line is in, else which area; lines of none are together."""
    for names in (_PARAGRAPHS, _AREAS):
        for around in (line, *line.iterancestors()):
            if _classes(around) & names:
                return id(around)
    return 0


def _read_line(line: "Element", page: LineBox | None) -> TextLine:
    box = _box(line)
    if box and page:
        box = box[0] - page[0], box[1] - page[1], box[2] - page[0], box[3] - page[1]
    return TextLine(text=hyphen_shown(join_words("".join(_texts(line)).split())), box=box)


def _texts(element: "Element") -> Iterable[str]:
    """All that an element shows, with a space before each word: after it there may be its hyphen."""
    if not isinstance(element.tag, str) or element.tag.lower() in _NOT_SHOWN:
        return
    if element.tag.lower() == "del" and "alt" in _classes(element):  # what a word may be instead
        return
    space = " " if element.tag.lower() in _APART or _classes(element) & _WORDS else ""
    yield space
    yield element.text or ""
    for child in element:
        yield from _texts(child)
        yield child.tail or ""


def _properties(element: "Element") -> Mapping[str, str]:
    """What the title of an element says: `bbox 1 2 3 4; x_wconf 90`."""
    pairs = (part.strip().partition(" ") for part in element.get("title", "").split(";"))
    return {name: value.strip() for name, _, value in pairs}


def _box(element: "Element") -> LineBox | None:
    values = [float(value) for value in NUMBER.findall(_properties(element).get("bbox", ""))]
    if len(values) != 4 or not (values[0] < values[2] and values[1] < values[3]):
        return None
    return values[0], values[1], values[2], values[3]


def _confidence(word: "Element") -> float | None:
    return share(_properties(word).get("x_wconf"), 100.0) if _classes(word) & _WORDS else None


def _language_of(line: "Element") -> str | None:
    """The language of a line or of what it is in."""
    named = (around.get("lang") or around.get(_XML_LANG) for around in (line, *line.iterancestors()))
    return next((name for name in named if name), None)
