"""East Asian text in the order in which it is read: columns that are written downwards, and ruby."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.blanks import is_blank_code
from wdstream.raw.pdf.characters import PUT_IN_LINE, PUT_IN_SPACE, PageCharacters, placed_at, reordered
from wdstream.raw.pdf.places import CharacterMask
from wdstream.raw.pdf.reading.columns import Units, WrittenColumn, blocks_of, column_numbers, units_of
from wdstream.raw.pdf.reading.ruby import find_ruby
from wdstream.text.characters import beyond_ascii
from wdstream.text.script import is_east_asian, one_of

_OF_COLUMNS = (
    {0xFE10 + at: ord(sign) for at, sign in enumerate("，、。：；！？〖〗…") if sign}
    | {0xFE30 + at: ord(sign) for at, sign in enumerate("‥—–＿＿（）｛｝〔〕【】《》〈〉「」『』")}
    | {0xFE47: ord("［"), 0xFE48: ord("］")}
)
_OPEN, _CLOSE = -0xFF08, -0xFF09
_SPACES = (0x20, 0x3000)
_LINE_ENDS = (0x0A, 0x0D)
_EASTERN = one_of((0x2E80, 0xFFEF))
_EMPTY_CELL = 1.6  # in ems: centres of letters with an empty cell between them are as far apart
_TALL, _SMALL = 1.6, 0.75  # of the other side of a span; of the height of the span under it
_SPACE, _SPACE_IF_PARTED = 0.45, 0.3  # in ems: a gap between turned letters that is a space; where PDFium parts them


def order_east_asian(
    characters: PageCharacters, keep: CharacterMask
) -> tuple[PageCharacters, CharacterMask, NDArray[np.bool_]]:
    """The characters of a page with its columns from right to left and ruby after its letters, in parentheses.

    Args:
        characters: of the page, n of them, in PDFium's order.
        keep: (n,) which count.

    Returns:
        The characters in their new order, which count, and which are written downwards.
    """
    units = units_of(characters, keep)
    numbers = column_numbers(units)
    found = find_ruby(characters, units, numbers)
    if numbers is None and not found:
        return characters, keep, np.zeros(len(characters), np.bool_)
    ruby = {units.members(word.last)[-1]: [at for unit in word.units for at in units.members(unit)] for word in found}
    blocks = []
    if numbers is not None:
        numbers[[unit for word in found for unit in word.units]] = -1
        blocks = blocks_of(units, numbers)
    order = _Order(characters, keep, units, ruby, blocks)
    order.build()
    placed, kept = reordered(characters, keep, order.numbers)
    placed = replace(placed, codes=_upright(placed.codes))
    at, hosts = np.array(order.signs, np.intp), np.array(order.hosts, np.intp)
    is_down = np.zeros(len(kept), np.bool_)
    is_down[order.down] = True
    return placed_at(placed, at, hosts), kept, is_down


def _upright(codes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Code points with signs for columns as those of lines: they are the same signs, turned."""
    found = codes.copy()
    for at in np.flatnonzero((codes >= 0xFE10) & (codes <= 0xFE48)):
        found[at] = _OF_COLUMNS.get(int(codes[at]), codes[at])
    return found


class _Order:
    """The new order of a page's characters, as `reordered` takes it.

    Attributes:
        numbers: of characters, negative for what is put in.
        signs: places in `numbers` of ruby and its parentheses; hosts: of the letters that they belong to.
        down: places in `numbers` of what is written downwards.
    """

    def __init__(
        self,
        characters: PageCharacters,
        keep: CharacterMask,
        units: Units,
        ruby: dict[int, list[int]],
        blocks: list[list[WrittenColumn]],
    ) -> None:
        self._characters = characters
        self._units = units
        self._ruby = ruby
        self._block_of = np.full(len(characters), -1, np.intp)
        for number, block in enumerate(blocks):
            members = [at for column in block for unit in column.units for at in units.members(unit)]
            self._block_of[members] = number
        self._blocks = blocks
        self._is_ruby = np.zeros(len(characters), np.bool_)
        self._is_ruby[[at for word in ruby.values() for at in word]] = True
        self._is_blank = keep & (characters.is_generated | is_blank_code(characters.codes))
        self._printed = keep & ~self._is_blank
        self.numbers: list[int] = []
        self.signs: list[int] = []
        self.hosts: list[int] = []
        self.down: list[int] = []

    def build(self) -> None:
        """Fill the lists.

        A block comes where PDFium has its first letter, but after the line that it would part.
        """
        seen: set[int] = set()
        waiting: list[int] = []
        last, blanks = -1, list[int]()
        for number in range(len(self._characters)):
            block = int(self._block_of[number])
            if self._is_ruby[number] or block in seen:
                continue
            if block >= 0:
                seen.add(block)
                waiting.append(block)
            elif self._is_blank[number]:
                blanks.append(number)
            else:
                if self._printed[number]:
                    if waiting and (last < 0 or not self._continues(last, number)):
                        self._add_blocks(waiting, is_first=last < 0)
                        self.numbers += PUT_IN_LINE
                    else:
                        self.numbers += self._between(last, number, blanks)
                    last, blanks = number, []
                self._add(number)
        if waiting:
            self._add_blocks(waiting, is_first=last < 0)
        else:
            self.numbers += blanks

    def _add_blocks(self, waiting: list[int], *, is_first: bool) -> None:
        for at, block in enumerate(waiting):
            self.numbers += PUT_IN_LINE if at or not is_first else ()
            self._add_block(self._blocks[block])
        waiting.clear()

    def _between(self, last: int, number: int, blanks: list[int]) -> list[int]:
        """What parts two printed characters that follow each other now."""
        if blanks == [*range(last + 1, number)]:
            return blanks  # as PDFium has them
        if not blanks or last < 0:
            return []
        if self._continues(last, number):
            codes = self._characters.codes[[last, number]]
            is_word = not is_east_asian(codes).any() or bool((self._characters.codes[blanks] == _SPACES[0]).any())
            return [] if is_east_asian(codes).all() or not is_word else [PUT_IN_SPACE]
        has_line = np.isin(self._characters.codes[blanks], _LINE_ENDS).any()
        return [*PUT_IN_LINE] if has_line else blanks[:1]

    def _continues(self, last: int, number: int) -> bool:
        """Whether a character is printed on the line of the one before, next to it."""
        before, after = self._characters.boxes[[last, number]].tolist()
        em = float(self._characters.objects.font_sizes[self._characters.object_number[last]])
        is_same = abs((before[1] + before[3]) - (after[1] + after[3])) < em
        return bool(is_same and -0.3 * em < after[0] - before[2] < 2 * em)

    def _add(self, number: int) -> None:
        host = len(self.numbers)
        self.numbers.append(number)
        word = self._ruby.get(number)
        if word:
            self.numbers += [_OPEN, *word, _CLOSE]
            self.signs += range(host + 1, len(self.numbers))
            self.hosts += [host] * (len(word) + 2)

    def _add_block(self, block: list[WrittenColumn]) -> None:
        start = len(self.numbers)
        before: WrittenColumn | None = None
        for column in block:
            if before is not None:
                self.numbers += [] if abs(before.axis - column.axis) < 0.5 * column.em else PUT_IN_LINE
            for at, unit in enumerate(column.units):
                if at:
                    self.numbers += self._space_between(column.units[at - 1], unit)
                for number in self._units.members(unit):
                    self._add(number)
            before = column
        self.down += range(start, len(self.numbers))

    def _space_between(self, before: int, after: int) -> list[int]:
        """What parts two units of a column: a space between words that are turned, an empty cell of the file."""
        units, codes = self._units, self._characters.codes
        between = [*range(units.members(before)[-1] + 1, int(units.first[after]))]
        is_parted = bool(between) and bool(self._is_blank[between].all())
        em = float(units.em[before])
        if units.is_cell[before] or units.is_cell[after]:
            step = float(units.centres[after, 1] - units.centres[before, 1])
            spaces = [at for at in between if codes[at] in _SPACES]
            return spaces[:1] if is_parted and step > _EMPTY_CELL * em else []
        gap = float(units.boxes[after, 1] - units.boxes[before, 3])
        is_space = is_parted and not np.isin(codes[between], _LINE_ENDS).any()
        return [PUT_IN_SPACE] if is_space or gap > (_SPACE_IF_PARTED if is_parted else _SPACE) * em else []


def may_need_order(text: str, spans: Callable[[], NDArray[np.float32]]) -> bool:
    """Whether a page may have columns that are written downwards, or ruby; cheap where it has not.

    Args:
        text: of the page.
        spans: gives (k, 4) boxes around what follows each other in one text object, in pixels.
    """
    if not _EASTERN.search(beyond_ascii(text)) or len(_EASTERN.findall(text)) <= 1:
        return False
    boxes = spans()
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    return _goes_down(boxes) or _has_small_over_large(boxes)


def _goes_down(boxes: NDArray[np.float32]) -> bool:
    """Whether spans are tall, or follow each other downwards, one letter each."""
    sides = boxes[:, 2:] - boxes[:, :2]
    size = float(np.median(sides.min(axis=1))) if len(sides) else 0.0
    if (sides[:, 1] > np.maximum(_TALL * sides[:, 0], _TALL * size)).any():
        return True
    em = np.maximum(sides.max(axis=1)[1:], sides.max(axis=1)[:-1])
    across, down = np.abs(np.diff(boxes[:, :2] + boxes[:, 2:], axis=0) / 2).T
    return bool(((across < 0.6 * em) & (down > 0.4 * em) & (down < 2.5 * em)).sum() >= 3)


def _has_small_over_large(boxes: NDArray[np.float32]) -> bool:
    """Whether a span is close above one that is much higher."""
    heights = boxes[:, 3] - boxes[:, 1]
    small = np.flatnonzero(heights < _SMALL * heights.max(initial=0))
    for numbers in np.array_split(small, len(small) // 200 + 1):
        ratio = heights[numbers][:, None] / heights
        away = (boxes[:, 1] - boxes[numbers, 3][:, None]) / heights
        shared = np.minimum(boxes[:, 2], boxes[numbers, 2][:, None]) - np.maximum(
            boxes[:, 0], boxes[numbers, 0][:, None]
        )
        close = (ratio > 0.2) & (ratio < _SMALL) & (away > -0.4) & (away < 0.5) & (shared > 0)
        if close.any():
            return True
    return False
