"""ALTO, versions 1 to 4: the text of each page, line by line.

A line is its Strings in order, set apart by spaces, then its hyphen (HYP); a TextBlock is a paragraph. Blocks come in
the order that the file states, by a ReadingOrder (4.3) or by IDNEXT, else as they are written, margins at the top and
left before the print space and the others after it, as they are seen. A divided word stays as the picture shows it,
`Ver-` at one line's end and `waltung` on the next; `--join-hyphens` writes SUBS_CONTENT at its first part instead.

Of several ReadingOrders the first that names something of the page counts; words and glyphs in it do not.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from wdstream.raw.texts.lines import box_of_points, hyphen_shown, join_words, union
from wdstream.raw.texts.page_text import FoundText, LineBox, TextLine
from wdstream.raw.texts.tree import children, descendants, name_of, number, share

if TYPE_CHECKING:
    from wdstream.raw.texts.tree import Element

_SPACES = ("TopMargin", "LeftMargin", "PrintSpace", "RightMargin", "BottomMargin")
_GROUPS = ("OrderedGroup", "UnorderedGroup")
_HYPHENS = ("-", "\u2010", "\u2e17", "\u2e40", "=")
"""Signs that are printed as hyphens; what else HYP may say (U+00AC, U+00AD, nothing) means one."""


@dataclass(slots=True)
class _Block:
    """A TextBlock, its own ID and those of the blocks around it, and what comes next."""

    element: "Element"
    ids: tuple[str, ...]
    next_id: str | None
    lines: "list[Element]" = field(default_factory=list)


def read_alto(root: "Element", *, join_hyphens: bool = False) -> list[FoundText]:
    """The text of each page of an ALTO file.

    Args:
        root: `alto`.
        join_hyphens: write divided words whole, where the file says what they are.
    """
    unit = next((element.text or "" for element in descendants(root, "MeasurementUnit")), "pixel")
    tags = {tag.get("ID", ""): tag.get("LABEL", "") for group in children(root, "Tags") for tag in children(group)}
    orders = [group for order in children(root, "ReadingOrder") for group in children(order, *_GROUPS)]
    pages = [page for layout in children(root, "Layout") for page in children(layout, "Page")]
    return [_read_page(page, unit.strip(), tags, orders, join_hyphens=join_hyphens) for page in pages]


def _read_page(
    page: "Element", unit: str, tags: Mapping[str, str], orders: "Sequence[Element]", *, join_hyphens: bool
) -> FoundText:
    spaces = sorted(children(page, *_SPACES), key=lambda space: _SPACES.index(name_of(space)))
    blocks = [block for space in [*spaces, page] for block in _blocks_of(space, ())]
    blocks = _in_stated_order(_in_linked_order(blocks), orders)
    reader = _LineReader(join_hyphens=join_hyphens)
    lines = [[reader.read(line) for line in block.lines] for block in blocks]
    width, height = number(page.get("WIDTH")), number(page.get("HEIGHT"))
    extent = (width, height) if width and height and width > 0 and height > 0 else None
    if extent is None and unit not in ("pixel", ""):  # where the lines are in the picture is not known
        lines = [[TextLine(text=line.text) for line in block] for block in lines]
    confidence = share(page.get("PC"))
    return FoundText.of_blocks(
        lines,
        text_from="alto",
        extent=extent,
        confidences=reader.confidences or ([confidence] if confidence is not None else []),
        language=_language_of(page, blocks),
        tags=_tags_of(blocks, tags),
    )


def _blocks_of(space: "Element", around: tuple[str, ...]) -> Iterator[_Block]:
    """The text blocks in a space of a page or a composed block, in document order; so are lines without one."""
    for kind, members in groupby(children(space, "TextBlock", "ComposedBlock", "TextLine"), key=name_of):
        if kind == "TextLine":
            yield _Block(element=space, ids=around, next_id=None, lines=[*members])
            continue
        for child in members:
            yield from _blocks_in(child, around)


def _blocks_in(child: "Element", around: tuple[str, ...]) -> Iterator[_Block]:
    """A text block, or those in a composed block."""
    ids = (*around, child.get("ID", ""))
    if name_of(child) == "TextBlock":
        yield _Block(element=child, ids=ids, next_id=child.get("IDNEXT"), lines=[*children(child, "TextLine")])
        return
    inner = [*_blocks_of(child, ids)]
    if inner:
        inner[-1].next_id = inner[-1].next_id or child.get("IDNEXT")
    yield from inner


def _in_linked_order(blocks: list[_Block]) -> list[_Block]:
    """Blocks by their links to the next one; a block that none leads to begins a chain, in document order."""
    by_id: dict[str, int] = {}
    for place, block in enumerate(blocks):
        for name in filter(None, block.ids):
            by_id.setdefault(name, place)
    following = {place: by_id[block.next_id] for place, block in enumerate(blocks) if block.next_id in by_id}
    reached = {*following.values()}
    starts = [place for place in range(len(blocks)) if place not in reached]
    ordered: dict[int, None] = {}
    for start in [*starts, *range(len(blocks))]:  # of a ring, the first in the document
        at: int | None = start
        while at is not None and at not in ordered:
            ordered[at] = None
            at = following.get(at)
    return [blocks[place] for place in ordered]


def _in_stated_order(blocks: list[_Block], orders: "Sequence[Element]") -> list[_Block]:
    """Blocks, or parts of them, as a ReadingOrder has them; what it does not name comes after, in order."""
    lines = {id(line): block for block in blocks for line in block.lines}
    by_id: dict[str, list[Element]] = {}
    for block in blocks:
        for name in filter(None, block.ids):
            by_id.setdefault(name, []).extend(block.lines)
        for line in block.lines:
            by_id.setdefault(line.get("ID", ""), [line])
    for order in orders:
        named = [name for ref in descendants(order, "ElementRef") for name in ref.get("REF", "").split()]
        wanted = {id(line): line for name in named for line in by_id.get(name, ())}
        if wanted:
            rest = {id(line): line for block in blocks for line in block.lines if id(line) not in wanted}
            return _grouped([*wanted.values(), *rest.values()], lines)
    return blocks


def _grouped(ordered: "list[Element]", blocks: Mapping[int, _Block]) -> list[_Block]:
    """Lines in their order, as blocks: those of one block that follow each other stay together."""
    grouped: list[_Block] = []
    for line in ordered:
        block = blocks[id(line)]
        if not grouped or grouped[-1].element is not block.element:
            grouped.append(_Block(element=block.element, ids=block.ids, next_id=None))
        grouped[-1].lines.append(line)
    return grouped


class _LineReader:
    """Reads lines one after the other, for a word may be divided between two; collects confidences of words.

    Args:
        join_hyphens: write divided words whole at their first part, and leave the second part out.
    """

    def __init__(self, *, join_hyphens: bool) -> None:
        self.confidences: list[float] = []
        self._join_hyphens = join_hyphens
        self._is_joined = False
        """Whether the last word was written whole, so that its second part is to be left out."""

    def read(self, line: "Element") -> TextLine:
        """The text of a TextLine and its place."""
        words: list[str] = []
        for part in children(line, "String", "HYP"):
            if name_of(part) == "HYP":
                words = self._with_hyphen(words, part.get("CONTENT", ""))
                continue
            confidence = share(part.get("WC"))
            self.confidences += [confidence] if confidence is not None else []
            words += self._shown(part)
        return TextLine(text=hyphen_shown(join_words(words)), box=_box_of_line(line))

    def _shown(self, string: "Element") -> list[str]:
        """The text of a String: its content, or of a divided word all or nothing where such are joined."""
        kind, whole = string.get("SUBS_TYPE", ""), string.get("SUBS_CONTENT", "")
        if self._join_hyphens and whole and kind == "HypPart1":
            self._is_joined = True
            return [whole]
        if self._is_joined and kind == "HypPart2":
            self._is_joined = False
            return []
        return [string.get("CONTENT", "")]

    def _with_hyphen(self, words: list[str], hyphen: str) -> list[str]:
        """Words of a line with the hyphen at its end, unless the last word has it already, or is written whole."""
        if not words or self._is_joined or words[-1].endswith(_HYPHENS):
            return words
        shown = hyphen.strip() if hyphen.strip() in _HYPHENS else "-"
        return [*words[:-1], words[-1] + shown]


def _box_of_line(line: "Element") -> LineBox | None:
    """The box of a line, from its own place, its shape, or its words."""
    return _box_of(line) or union(_box_of(word) for word in children(line, "String"))


def _box_of(element: "Element") -> LineBox | None:
    left, top = number(element.get("HPOS")), number(element.get("VPOS"))
    width, height = number(element.get("WIDTH")), number(element.get("HEIGHT"))
    if left is None or top is None or width is None or height is None:
        return box_of_points(next((shape.get("POINTS") for shape in _polygons(element)), None))
    return left, top, left + width, top + height


def _polygons(element: "Element") -> "Iterator[Element]":
    return (polygon for shape in children(element, "Shape") for polygon in children(shape, "Polygon"))


def _language_of(page: "Element", blocks: Sequence[_Block]) -> str | None:
    """The language of the page, or of most lines."""
    languages: Counter[str] = Counter()
    for block in blocks:
        of_block = block.element.get("LANG") or block.element.get("language")
        languages.update(filter(None, (line.get("LANG") or of_block for line in block.lines)))
    return page.get("LANG") or next((name for name, _ in languages.most_common(1)), None)


def _tags_of(blocks: Sequence[_Block], tags: Mapping[str, str]) -> list[str]:
    """The labels of the tags that blocks and lines have."""
    elements = [element for block in blocks for element in (block.element, *block.lines)]
    return [label for element in elements for name in element.get("TAGREFS", "").split() if (label := tags.get(name))]
