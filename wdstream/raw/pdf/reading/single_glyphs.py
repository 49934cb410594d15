"""Glyphs that a file writes one by one, and what PDFium makes of them.

Browsers do that where letters are set closer or wider than the font has them, or where several letters make one glyph,
or several glyphs one letter (`/ActualText`). They write spaces so, too; PDFium has no characters for what has no ink,
and guesses spaces and line ends by gaps. It takes the glyphs of a line from left to right, and says the letters of a
name again for each glyph that comes after one of others: a sign over a letter, which reaches over the next one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.calls import names_of_texts
from wdstream.raw.pdf.characters import PUT_IN_SPACE
from wdstream.raw.pdf.layer import TextLayer
from wdstream.raw.pdf.objects import PageObjects
from wdstream.raw.pdf.places import Boxes, extent_of
from wdstream.raw.pdf.reading.accent_marks import are_marks, has_mark
from wdstream.text.script import RIGHT_TO_LEFT, is_east_asian, one_of, right_to_left_letters

_SPACE, _LINE_FEED, _RETURN = 0x20, 0x0A, 0x0D
_TIGHT, _WIDE = 0.5, 1.5  # of the height of two glyphs: less may not count for PDFium; more is between words
_SINGLE = 1.6  # times as wide as high, at most: "w" and "m" are wider than they are high
_LEAST_SPACE = 0.1  # of the em: from a space to the next glyph; what has no width parts nothing
_SPACED = 0.6  # of the em: glyphs that are further apart are not of one cluster
_NEAR = 0.3  # of the em: how far glyphs of one line are apart across it, or over each other along it
_FEWEST_APART = 3
_INSIDE_WORD = 0.75  # of the smallest gap that has a space of the file
_NAMED = ((0x300, 0x36F), (0x591, 0x10FF), (0x1780, 0x1CFF), (0xA800, 0xABFF), (0xFB1D, 0xFEFC))
_MAY_BE_NAMED = one_of(*_NAMED)
"""Characters that may be one of several letters that one glyph shows, or one letter of several glyphs."""

_TWICE, _MOST = 2.0, 0.8  # times as high on one line; of a glyph's width: a hole for it
_FEW_OTHERS = 0.05  # of the characters: right-to-left letters that leave no holes of lines
_WORD_GAP = 0.15  # of the em: more between two glyphs is a space
_FITS = 0.25  # of the em: a glyph may reach so far over those at its sides, or be so far from them

_Numbers = NDArray[np.intp]
Differences = tuple[list[int], list[int], _Numbers]
"""Characters that go, line ends that are spaces, and characters before which a space is lost."""
_NO_DIFFERENCES: Differences = [], [], np.arange(0)


def find_differences(layer: TextLayer, codes: NDArray[np.uint32], objects: PageObjects) -> Differences:
    """Where PDFium's characters of a page, (n,) code points, are not what the file has, which draws these objects."""
    may_be_named = _MAY_BE_NAMED.search(layer.others) is not None
    names = names_of_texts(objects.found_texts.handles) if may_be_named else {}
    if not names and len(objects.found_texts.handles) <= len(layer.spans):
        return _NO_DIFFERENCES
    again = _named_again(layer, objects, names)
    boxes = objects.text_boxes[:, :4]
    is_space = (boxes[:, 2] <= boxes[:, 0]) & boxes.any(axis=1)
    solid, spaces = np.flatnonzero(boxes[:, 2] > boxes[:, 0]), np.flatnonzero(is_space)
    at = np.searchsorted(solid, spaces)
    at = at[(at > 0) & (at < len(solid))]
    before, after = boxes[solid[at - 1]], boxes[solid[at]]
    gaps, high = after[:, 0] - before[:, 2], np.maximum(after[:, 3] - after[:, 1], before[:, 3] - before[:, 1])
    is_line = np.minimum(before[:, 3], after[:, 3]) > np.maximum(before[:, 1], after[:, 1])
    may_be = is_line & (gaps > -high) & ((gaps < _TIGHT * high) | (gaps > _WIDE * high))
    for box in (before, after):  # single letters; not words, nor the points of leaders
        may_be &= (box[:, 2] - box[:, 0] < _SINGLE * high) & (box[:, 3] - box[:, 1] > high / 2)
    if not names and not may_be.any():
        return _NO_DIFFERENCES
    are_named = np.zeros(len(codes), np.bool_)
    if names:
        for low, high in _NAMED:
            are_named |= (codes >= low) & (codes <= high)
    return _compared(layer, codes, objects, is_space, again, are_named, _named_boxes(objects, names))


def _named_again(layer: TextLayer, objects: PageObjects, name_of: Mapping[int, int]) -> _Numbers:
    """Characters of names that the first glyph of the name has, too, which is the one that is said."""
    if not name_of:
        return np.arange(0)
    characters = layer.unplaced
    orders = {handle: number for number, handle in enumerate(objects.found_texts.handles)}
    said: dict[int, int] = {}
    again: list[int] = []
    for number, handle in enumerate(characters.objects.handles):
        name = name_of.get(handle, 0)
        if not name:
            continue
        first = said.setdefault(name, number)
        if first != number:
            is_before = orders[handle] < orders[characters.objects.handles[first]]
            again.append(first if is_before else number)
            said[name] = number if is_before else first
    return np.flatnonzero(np.isin(characters.object_number, again))


def _named_boxes(objects: PageObjects, name_of: Mapping[int, int]) -> Boxes:
    """(m, 4) boxes of m text objects, those of one name around all of it."""
    boxes: Boxes = objects.text_boxes[:, :4].copy()
    if not name_of:
        return boxes
    kinds, kind = np.unique([name_of.get(handle, 0) for handle in objects.found_texts.handles], return_inverse=True)
    low, high = np.full((len(kinds), 2), np.inf, np.float32), np.full((len(kinds), 2), -np.inf, np.float32)
    np.minimum.at(low, kind, boxes[:, :2])
    np.maximum.at(high, kind, boxes[:, 2:])
    is_named = kinds[kind] > 0
    boxes[is_named] = np.concatenate([low[kind], high[kind]], axis=1)[is_named]
    return boxes


def _compared(
    layer: TextLayer,
    codes: NDArray[np.uint32],
    objects: PageObjects,
    is_space: NDArray[np.bool_],
    again: _Numbers,
    are_named: NDArray[np.bool_],
    boxes: Boxes,
) -> Differences:
    """`find_differences` of a page, by the texts between its characters.

    Args:
        layer: of the page.
        codes: (n,) of its characters.
        objects: m texts that it draws.
        is_space: (m,) which of these are spaces.
        again: characters that are said again.
        are_named: (n,) characters between which PDFium's spaces and line ends mean nothing.
        boxes: (m, 4) of the texts.
    """
    characters, owners = layer.characters, _orders_of(layer, objects)
    is_printed = (owners >= 0) & (codes > _SPACE)
    is_printed[again] = False
    printed = np.flatnonzero(is_printed)
    first, second = printed[:-1], printed[1:]
    start, stop = owners[first], owners[second]
    ems = characters.objects.font_sizes[characters.object_number[second]]
    gaps = boxes[stop, 0] - boxes[start, 2]
    apart = np.maximum(boxes[start, 1], boxes[stop, 1]) - np.minimum(boxes[start, 3], boxes[stop, 3])
    is_line = (apart < _NEAR * ems) & (gaps > -_NEAR * ems) & (stop > start)
    if RIGHT_TO_LEFT.search(layer.others):
        is_line &= ~_is_right_to_left(codes)[first]
    counts = np.cumsum(is_space)
    has_space = is_line & (counts[stop] > counts[start])
    has_space &= stop - start == counts[stop] - counts[start] + 1
    is_wide = boxes[stop, 0] - boxes[stop - 1, 0] > _LEAST_SPACE * ems
    parts = has_space & is_wide & ~is_east_asian(codes[first]) & ~is_east_asian(codes[second])
    is_lost = parts & (second == first + 1)
    is_end = parts & (second == first + 3) & (codes[first + 1] == _RETURN) & (gaps < _WIDE * ems)
    is_put_in = is_line & (second == first + 2) & (stop == start + 1) & characters.is_generated[first + 1]
    is_put_in &= _are_alone(owners[printed], start) & _are_alone(owners[printed], stop) & (gaps < _WIDE * ems)
    is_put_in = _inside_words(is_put_in, has_space, gaps, np.cumsum(codes == _LINE_FEED)[second])
    is_said = np.ones(len(codes), np.bool_)
    is_said[again] = False
    num_again = np.cumsum(~is_said)
    is_named = are_named[first] | are_named[second] | (num_again[second] > num_again[first])
    is_named &= is_line & (second > first + 1) & (gaps < _SPACED * ems)
    has_space |= is_named & (counts[stop] > counts[start])  # after other glyphs of the name
    ends = (first[is_end] + 1).tolist()
    gone = [*(first[is_put_in] + 1).tolist(), *(first[is_end] + 2).tolist(), *again.tolist()]
    for pair in np.flatnonzero(is_named).tolist():
        between = np.arange(first[pair] + 1, second[pair])
        between = between[is_said[between]]
        if characters.is_generated[between].all():
            num_spaces = int(has_space[pair])
            is_lost[pair] = num_spaces > len(between)
            gone, ends = gone + between[num_spaces:].tolist(), ends + between[:num_spaces].tolist()
    return gone, ends, second[is_lost]


def _is_right_to_left(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """(n,) whether a character is on a line with letters that are read from right to left, whose spaces are found."""
    lines = np.cumsum(codes == _LINE_FEED)
    return np.isin(lines, lines[right_to_left_letters(codes)])


def _are_alone(owners: _Numbers, chosen: _Numbers) -> NDArray[np.bool_]:
    """(k,) which of the chosen texts have one character, where (n,) are those of each character."""
    found: NDArray[np.bool_] = np.bincount(owners, minlength=int(chosen.max(initial=0)) + 1)[chosen] == 1
    return found


def _inside_words(
    is_put_in: NDArray[np.bool_], has_space: NDArray[np.bool_], gaps: NDArray[np.float32], lines: _Numbers
) -> NDArray[np.bool_]:
    """(k,) which of the pairs of glyphs that a space of PDFium's parts are of one word: nearer to each other than those
    of their line that a space of the file parts."""
    least = np.full(int(lines.max(initial=0)) + 1, -np.inf)
    least[lines[has_space]] = np.inf
    np.minimum.at(least, lines[has_space], gaps[has_space])
    inside = is_put_in & (gaps < _INSIDE_WORD * least[lines])
    found: NDArray[np.bool_] = inside & (np.bincount(lines[inside], minlength=len(least))[lines] >= _FEWEST_APART)
    return found


@dataclass(slots=True)
class Moves:
    """Characters that PDFium has at other places of their line than they are printed at.

    Attributes:
        after: by number, those that follow a character.
        gone: those that are said again, and blanks around what moves.
    """

    after: dict[int, list[int]] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)

    def order(self, numbers: Sequence[int]) -> list[int]:
        """Numbers of characters, as `reordered` takes them, in their right order."""
        moved = {*self.gone, *(number for members in self.after.values() for number in members if number >= 0)}
        order: list[int] = []
        for number in numbers:
            waiting = [] if number in moved else [number]
            while waiting:
                order.append(waiting.pop())
                waiting += reversed(self.after.get(order[-1], []))
        return order


def find_moves(layer: TextLayer, codes: NDArray[np.uint32], objects: PageObjects) -> Moves | None:
    """The characters of a page, (n,) code points, that belong elsewhere in their line; None where there are none.

    Letters of another font are often written after the others, into holes that are left for them; marks at a height of
    their own PDFium has at the end of the line; and some producers map them to all letters of their cluster.
    """
    has_marks = has_mark(layer.others)
    may_fill = bool(_go_back(layer.spans).any())
    if not (may_fill or has_marks):
        return None
    is_other = right_to_left_letters(codes)  # their order is found line by line
    may_fill = may_fill and bool(is_other.sum() < _FEW_OTHERS * len(codes))
    owners = _orders_of(layer, objects)
    owners[is_other] = -1
    parts = _parts(codes, owners)
    is_put_in, blanks = np.zeros(len(codes), np.bool_), np.flatnonzero(codes == _SPACE)
    is_put_in[blanks] = layer.are_put_in(blanks)
    moves = Moves()
    if has_marks:
        _move_marks(layer, codes, owners, parts, is_put_in, moves)
    if may_fill:
        _fill_holes(layer, parts, is_put_in, moves)
    return moves if moves.after or moves.gone else None


def _go_back(spans: Boxes) -> NDArray[np.bool_]:
    """(k - 1,) which spans begin before the one before them ends, on its line."""
    before, after = spans[:-1], spans[1:]
    goes_back: NDArray[np.bool_] = after[:, 0] < before[:, 2] - (before[:, 3] - before[:, 1])
    shared = np.minimum(before[:, 3], after[:, 3]) - np.maximum(before[:, 1], after[:, 1])
    of_before, of_after = before[:, 3] - before[:, 1], after[:, 3] - after[:, 1]
    low, high = np.minimum(of_before, of_after), np.maximum(of_before, of_after)
    goes_back &= (shared > low / 2) & (high < _TWICE * low)
    return goes_back


def _orders_of(layer: TextLayer, objects: PageObjects) -> _Numbers:
    """(n,) which text of the page, in the file's order, each character is of; -1 for what is put in."""
    order_of = {handle: number for number, handle in enumerate(objects.found_texts.handles)}
    orders = np.array([*(order_of.get(handle, -1) for handle in layer.unplaced.objects.handles), -1], np.intp)
    return orders[layer.unplaced.object_number]


def _parts(codes: NDArray[np.uint32], owners: _Numbers) -> dict[int, _Numbers]:
    """The characters of each text of the page that has some, in the file's order."""
    printed = np.flatnonzero((owners >= 0) & (codes > _SPACE))
    printed = printed[np.argsort(owners[printed], kind="stable")]
    kinds, first = np.unique(owners[printed], return_index=True)
    if not len(kinds):
        return {}
    return dict(zip(kinds.tolist(), np.split(printed, first[1:]), strict=True))


def _move_marks(
    layer: TextLayer,
    codes: NDArray[np.uint32],
    owners: _Numbers,
    parts: Mapping[int, _Numbers],
    is_put_in: NDArray[np.bool_],
    moves: Moves,
) -> None:
    """Put marks that are texts of their own after what the file has before them, or away where they are said again."""
    is_mark = are_marks(codes)
    before: _Numbers | None = None
    for order, members in parts.items():
        if before is not None and is_mark[members].any():
            if _is_said_again(layer, codes, before, members):
                moves.gone += [*members.tolist(), *_blanks_before(is_put_in, int(members[0]))]
                continue
            between = np.arange(before[-1] + 1, members[0])
            between = between[(owners[between] > order) & ~is_mark[between]]
            if is_mark[members].all() and len(between) and _are_near(layer, int(before[-1]), members):
                moves.after.setdefault(int(before[-1]), []).extend(members.tolist())
                moves.gone += _blanks_before(is_put_in, int(members[0]))
        before = members


def _are_near(layer: TextLayer, number: int, members: _Numbers) -> bool:
    """Whether marks are at a character: not on another line, after letters that are read from right to left."""
    em = float(layer.characters.objects.font_sizes[layer.unplaced.object_number[number]])
    own, other = extent_of(layer.boxes_of(members)), layer.boxes_of(np.array([number]))[0]
    apart = np.maximum(own[:2], other[:2]) - np.minimum(own[2:], other[2:])
    return bool((apart < _SPACED * em).all())


def _is_said_again(layer: TextLayer, codes: NDArray[np.uint32], before: _Numbers, members: _Numbers) -> bool:
    """Whether a text repeats the end of another, and is printed over or under that end."""
    end = before[-len(members) :]
    if len(end) < len(members) or not np.array_equal(codes[end], codes[members]):
        return False
    own, other = extent_of(layer.boxes_of(members)), extent_of(layer.boxes_of(end))
    return bool(own[0] < other[2] - _FITS * (other[2] - other[0]) and own[2] > other[0])


def _blanks_before(is_put_in: NDArray[np.bool_], number: int) -> list[int]:
    """The spaces that PDFium put in right before a character."""
    found = []
    while number > 0 and is_put_in[number - 1]:
        number -= 1
        found.append(number)
    return found


def _fill_holes(layer: TextLayer, parts: Mapping[int, _Numbers], is_put_in: NDArray[np.bool_], moves: Moves) -> None:
    """Put texts whose glyphs fit into holes of the line before them into these holes."""
    boxes, sizes = layer.boxes, layer.characters.objects.font_sizes
    host = np.arange(0)
    for members in parts.values():
        em = float(sizes[layer.unplaced.object_number[members[0]]])
        holes = _holes(boxes, host, members, em)
        if holes is None:
            first, last = boxes[members[0]], boxes[host[-1]] if len(host) else np.zeros(4)
            continues = first[0] > last[0] and min(last[3], first[3]) > max(last[1], first[1])
            host = np.concatenate([host, members]) if continues else members
            continue
        for place, chosen in holes.items():
            _fill(boxes, place, chosen, em, is_put_in, moves)
        inside = np.arange(members[0], members[-1])
        moves.gone += [*inside[is_put_in[inside]].tolist(), *_blanks_before(is_put_in, int(members[0]))]


def _holes(boxes: Boxes, host: _Numbers, members: _Numbers, em: float) -> dict[tuple[int, int], list[int]] | None:
    """The holes of a line that characters fill, by the characters around them; None where not all do."""
    found: dict[tuple[int, int], list[int]] = {}
    for number in members.tolist():
        place = _hole(boxes, host, boxes[number], em)
        if place is None:
            return None
        found.setdefault(place, []).append(number)
    for (first, second), chosen in found.items():
        box = extent_of(boxes[chosen])
        if boxes[second, 0] - boxes[first, 2] > box[2] - box[0] + em:
            return None  # a gap of a table
    return found


def _hole(boxes: Boxes, host: _Numbers, box: Boxes, em: float) -> tuple[int, int] | None:
    """The two characters of a line between which a box (4,) fits; None where there are none."""
    own = boxes[host]
    if not len(own) or own[0, 0] >= box[0] or box[2] >= own[-1, 2] or (np.diff(own[:, 0]) < 0).any():
        return None
    if own[:, 1].min() - em > box[1] or box[3] > own[:, 3].max() + em:
        return None
    right = int(np.searchsorted(own[:, 0], (box[0] + box[2]) / 2))
    if not 0 < right < len(host):
        return None
    first, second = int(host[right - 1]), int(host[right])
    fits = box[0] > boxes[first, 2] - _FITS * em and box[2] < boxes[second, 0] + _FITS * em
    is_wide = boxes[second, 0] - boxes[first, 2] > _MOST * (box[2] - box[0])
    return (first, second) if fits and is_wide else None


def _fill(
    boxes: Boxes, place: tuple[int, int], members: list[int], em: float, is_put_in: NDArray[np.bool_], moves: Moves
) -> None:
    """Put characters between two others, with spaces where they are apart and the file has none."""
    first, second = place
    box = extent_of(boxes[members])
    between = np.arange(first + 1, second)
    spaces = between[~is_put_in[between]]
    before = spaces[boxes[spaces, 0] < box[0]].tolist()
    at = before[-1] if before else first
    filling = list(members)
    if not before and box[0] - boxes[first, 2] > _WORD_GAP * em:
        filling.insert(0, PUT_IN_SPACE)
    if len(before) == len(spaces) and boxes[second, 0] - box[2] > _WORD_GAP * em:
        filling.append(PUT_IN_SPACE)
    moves.after.setdefault(at, []).extend(filling)
    moves.gone += between[is_put_in[between]].tolist()
