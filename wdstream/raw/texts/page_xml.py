"""PAGE XML, 2009 to 2019: the text of its page, line by line.

Regions come in the order of ReadingOrder: ordered groups by their indexes, unordered ones and what no group names as
they are written; without one, by `readingOrder {index:n;}` of `custom`, as Transkribus writes it. A region is a
paragraph. Its lines are in the order of `index` or `custom` if all have it, else as they are written; cells of a table
by row and column. The text of a line is its TextEquiv of the lowest index that has any, Unicode before PlainText;
without one, that of its words. A region gives its own text where neither its lines nor regions inside of it have any,
or where it says more than its lines, of which some have none.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from wdstream.raw.texts.lines import around, box_of_points, hyphen_shown, join_words
from wdstream.raw.texts.page_text import FoundText, LineBox, TextLine
from wdstream.raw.texts.tree import children, name_of, number, share

if TYPE_CHECKING:
    from wdstream.raw.texts.tree import Element

_CUSTOM_INDEX = re.compile(r"readingOrder\s*\{[^}]*?index\s*:\s*(\d{1,9})")
_MAX_CUSTOM = 10_000
_GROUPS = ("OrderedGroup", "UnorderedGroup", "OrderedGroupIndexed", "UnorderedGroupIndexed")
_REFS = ("RegionRef", "RegionRefIndexed")


def read_page_xml(root: "Element") -> list[FoundText]:
    """The text of each page of a PAGE file, `root` being `PcGts`; the format has one."""
    return [_read_page(page) for page in children(root, "Page")]


def _read_page(page: "Element") -> FoundText:
    regions = [*_ordered_regions(page)]
    confidences: list[float] = []
    blocks = [_lines_of(region, confidences) for region in regions]
    width, height = number(page.get("imageWidth")), number(page.get("imageHeight"))
    return FoundText.of_blocks(
        blocks,
        text_from="page xml",
        extent=(width, height) if width and height and width > 0 and height > 0 else None,
        confidences=confidences,
        language=_language_of(page, regions),
        tags=(kind for region in regions if (kind := region.get("type"))),
    )


def _language_of(page: "Element", regions: "Sequence[Element]") -> str | None:
    """The language of the page, or of most lines; a region without lines counts as one."""
    languages: Counter[str] = Counter()
    for region in regions:
        lines = [*children(region, "TextLine")] or [region]
        named = (line.get("primaryLanguage") or region.get("primaryLanguage") for line in lines)
        languages.update(filter(None, named))
    return page.get("primaryLanguage") or next((name for name, _ in languages.most_common(1)), None)


def _is_region(element: "Element") -> bool:
    name = name_of(element)
    return name.endswith("Region") or name == "TableCell"


def _ordered_regions(page: "Element") -> "Iterator[Element]":
    """All regions of a page in reading order, those inside of others after these."""
    regions = [region for region in page.iterdescendants() if _is_region(region)]  # lxml keeps them while we do
    by_id = {name: region for region in regions if (name := region.get("id"))}
    names = [name for order in children(page, "ReadingOrder") for name in _named_regions(order)]
    named = {id(by_id[name]): by_id[name] for name in names if name in by_id}
    seen: set[int] = set()
    for region in [*named.values(), *_in_order([region for region in regions if region.getparent() is page])]:
        yield from _with_inner(region, {*named}, seen)


def _with_inner(region: "Element", named: set[int], seen: set[int]) -> "Iterator[Element]":
    """A region that was not seen, and those inside of it, except those that have a place of their own."""
    if id(region) in seen:
        return
    seen.add(id(region))
    yield region
    for inner in _in_order([child for child in region if _is_region(child)]):
        if id(inner) not in named:
            yield from _with_inner(inner, named, seen)


def _named_regions(group: "Element") -> Iterator[str]:
    """IDs of the regions that a group of the reading order names, its own first, in order."""
    if own := group.get("regionRef"):
        yield own
    members = [*children(group, *_GROUPS, *_REFS)]
    if name_of(group).startswith("Ordered"):
        members.sort(key=_index)  # stable: members without an index come last, as they are written
    for member in members:
        yield from _named_regions(member)


def _index(element: "Element") -> float:
    value = number(element.get("index"))
    return float("inf") if value is None else value


def _in_order(elements: "Sequence[Element]") -> "Sequence[Element]":
    """Regions or lines of one parent by their cells, `index` or `custom`, where all have one; else as they are."""
    for key in (_cell, _line_index, _custom_index):
        places = [key(element) for element in elements]
        if all(place is not None for place in places):
            numbered = sorted(range(len(elements)), key=lambda n: places[n] or ())
            return [elements[n] for n in numbered]
    return elements


def _cell(element: "Element") -> tuple[float, ...] | None:
    """Row and column of a cell, which since 2019 are those of its role."""
    role = next((role for roles in children(element, "Roles") for role in children(roles, "TableCellRole")), None)
    names = ("row", "col") if role is None else ("rowIndex", "columnIndex")
    row, column = (number((element if role is None else role).get(name)) for name in names)
    return None if row is None or column is None else (row, column)


def _line_index(element: "Element") -> tuple[float, ...] | None:
    value = number(element.get("index"))
    return None if value is None else (value,)


def _custom_index(element: "Element") -> tuple[float, ...] | None:
    found = _CUSTOM_INDEX.search(element.get("custom", "")[:_MAX_CUSTOM])
    return (float(found[1]),) if found else None


def _lines_of(region: "Element", confidences: list[float]) -> list[TextLine]:
    """The lines of a region, or its own text, without places, where that says more than they do."""
    lines = _in_order([*children(region, "TextLine")])
    of_lines: list[float] = []
    read = [TextLine(text=_text_of_line(line, of_lines), box=_box(line)) for line in lines]
    of_region: list[float] = []
    own = [TextLine(text=hyphen_shown(line)) for line in _own_text(region, of_region).splitlines()]
    if _has_text_inside(region) or (read and all(line.text.strip() for line in read)):
        own = []
    is_own = _num_characters(own) > _num_characters(read)
    confidences += of_region if is_own else of_lines
    return own if is_own else read


def _has_text_inside(region: "Element") -> bool:
    """Whether regions inside of one have texts, of which its own is the sum."""
    inner = (child for child in region.iterdescendants() if _is_region(child))
    return any(text.text and text.text.strip() for child in inner for text in child.iterdescendants("Unicode"))


def _num_characters(lines: "Sequence[TextLine]") -> int:
    return sum(len("".join(line.text.split())) for line in lines)


def _text_of_line(line: "Element", confidences: list[float]) -> str:
    """The text of a line; confidences of its words count before the line's."""
    words = [*children(line, "Word")]
    of_words: list[float] = []
    texts = [_own_text(word, of_words) or _text_of_glyphs(word, of_words) for word in words]
    of_line: list[float] = []
    text = _own_text(line, of_line) or join_words(texts)
    confidences += of_words or of_line
    return hyphen_shown(text)


def _text_of_glyphs(word: "Element", confidences: list[float]) -> str:
    return "".join(_own_text(glyph, confidences) for glyph in children(word, "Glyph"))


def _own_text(element: "Element", confidences: list[float]) -> str:
    """The text of an element itself: its TextEquiv of the lowest index that has text, or the first one."""
    for equivalent in sorted(children(element, "TextEquiv"), key=_index):
        forms = {name_of(form): "".join(form.itertext()) for form in children(equivalent, "Unicode", "PlainText")}
        text = forms.get("Unicode") or forms.get("PlainText") or ""
        if text.strip():
            confidence = share(equivalent.get("conf"))
            confidences += [confidence] if confidence is not None else []
            return text
    return ""


def _box(line: "Element") -> LineBox | None:
    """The box around the outline of a line, which was written as elements before 2013."""
    for coords in children(line, "Coords"):
        points = [(number(point.get("x")), number(point.get("y"))) for point in children(coords, "Point")]
        if points:
            return around([(x, y) for x, y in points if x is not None and y is not None])
        return box_of_points(coords.get("points"))
    return None
