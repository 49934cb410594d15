"""Line ends and spaces that PDFium puts inside a printed line or word.

PDFium ends a line where two glyphs share no height: at raised numbers, at accents and quotes in code, along text that
is turned. It puts spaces where letters are set apart, and after the joined letters of browsers. Here a blank that it
put in counts only if the places of the letters around it agree: where one glyph begins where the other ends, nothing
is between them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.calls import pdfium_calls
from wdstream.raw.pdf.characters import PUT_IN_SPACE, PageCharacters
from wdstream.raw.pdf.layer import TextLayer
from wdstream.raw.pdf.objects import PageObjects
from wdstream.raw.pdf.places import Boxes, centres_of, extent_of
from wdstream.raw.pdf.reading.lines import next_to_cuts
from wdstream.raw.pdf.reading.single_glyphs import Moves, find_differences, find_moves
from wdstream.text.script import EAST_ASIAN, RIGHT_TO_LEFT, is_east_asian, one_of, right_to_left_letters

_SPACE, _LINE_FEED, _RETURN = 0x20, 0x0A, 0x0D
_BACK, _TOUCHING, _SPACED, _TABBED = -0.25, 0.12, 0.6, 0.8  # of the line's height: gaps between two glyphs
_FIRST_LETTER = 0x41
_FIRST_OTHER = 0x590  # before it no script is East Asian, or read from right to left
_SHARED = 0.3  # of the lower glyph's height, that both have on one line
_TALLER = 3.0  # times: a bracket around fractions, which are above and below the line
_SMALLER, _SHIFTED, _LEVEL = 0.9, 0.55, 0.1
"""Of a glyph's height: raised ones are less high; others that are so far from level are parts of a fraction; and digits
that are level are of one number."""
_CLUSTER_GAP = 0.19  # of the em: less between letters of South and Southeast Asia is not a space
_CLUSTERS = ((0x900, 0xDFF), (0xE80, 0x109F), (0x1780, 0x17FF), (0xA8E0, 0xA8FF), (0xAA60, 0xAA7F))
_CLUSTER = one_of(*_CLUSTERS)
_SET_APART = re.compile(r"(?<!\S)[^\W\d_](?: [^\W\d_]){3,}(?: [,.;:!?])?(?!\S)")  # single letters
_EVEN, _WIDER = 1.35, 1.5  # of the smallest gap, and of the others: gaps inside and between words of letters set apart
_CELLS = 0.5  # of the height: letters that are set apart in one word are nearer to each other
_LEAST_APART, _KERNED, _MOST_KERNED, _MOST_BETWEEN = 0.08, 0.05, 0.13, 0.8
"""Of the line's height: gaps of letters set apart; by how much kerning changes few of them, and one; spaces."""
_EVENLY, _LETTERS = 0.75, 2.5  # share of such gaps that kerning leaves; letters of a word of a title, on average
_SAME_LINE = 0.01  # of its height: how much higher or lower another one of the same font is
_HIDDEN, _NO_SPACE = 0.18, 0.1  # of the height of a glyph's cell: gaps that are spaces; those of the letters around
_NEAR = 0.3  # of the em: how far glyphs of one cluster are apart
_LEAST = 0.1  # pixels

_Numbers = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaks:
    """Blanks of PDFium's that part nothing, by number: those that go, and line ends that are spaces; characters that a
    space of the file is before, which PDFium left out; and characters that are elsewhere in their line."""

    gone: _Numbers
    spaces: _Numbers
    lost: _Numbers
    moves: Moves | None = None

    def mended(self, codes: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Code points of the page with spaces where line ends are."""
        found = codes.copy()
        found[self.spaces] = _SPACE
        return found

    def order(self, count: int) -> NDArray[np.intp]:
        """What stays of `count` characters, as `reordered` takes it."""
        stays = np.ones(count, np.bool_)
        stays[self.gone] = False
        numbers = np.insert(np.arange(count), self.lost, PUT_IN_SPACE)
        numbers = numbers[np.insert(stays, self.lost, True)]
        return numbers if self.moves is None else np.array(self.moves.order(numbers.tolist()), np.intp)


def find_breaks(layer: TextLayer, objects: PageObjects) -> Breaks | None:
    """The blanks of a page, which draws these objects, that part nothing; None where there are none."""
    codes = layer.codes
    printed = np.flatnonzero(codes > _SPACE)
    if len(printed) < 2:
        return None
    gone, spaces = _inside_lines(layer, codes, printed)
    gone += _inside_clusters(layer, codes, objects) + _between_letters_apart(layer, codes, objects)
    unlike, ends, lost = find_differences(layer, codes, objects)
    gone, spaces = [*{*gone} - {*ends}, *unlike], [*{*spaces, *ends}]
    if layer.may_hide_spaces:
        hidden, kerned = _postscript_spaces(layer, codes)
        lost, gone = np.union1d(lost, hidden), gone + kerned.tolist()
    if objects.cuts or objects.edges:
        lost = np.union1d(lost, next_to_cuts(layer, codes, objects))
    moves = find_moves(layer, codes, objects)
    if not gone and not spaces and not len(lost) and moves is None:
        return None
    return Breaks(gone=np.array(sorted({*gone}), np.intp), spaces=np.array(spaces, np.intp), lost=lost, moves=moves)


def _inside_lines(layer: TextLayer, codes: NDArray[np.uint32], printed: _Numbers) -> tuple[list[int], list[int]]:
    """Line ends between two glyphs of one printed line: those that go, and those that are spaces."""
    ends = np.flatnonzero(codes == _RETURN)
    at = np.searchsorted(printed, ends)
    fits = np.asarray((at > 0) & (at < len(printed)))
    fits[1:] &= at[1:] > at[:-1]
    fits[:-1] &= at[1:] > at[:-1]
    ends, at = ends[fits], at[fits]
    before, after = printed[at - 1], printed[at]
    if RIGHT_TO_LEFT.search(layer.others) or EAST_ASIAN.search(layer.others):
        pair = np.stack([codes[before], codes[after]])
        others = (right_to_left_letters(pair) | is_east_asian(pair)).any(axis=0)
        ends, before, after = ends[~others], before[~others], after[~others]
    if not len(ends):
        return [], []
    gaps = _gaps(layer, before, after)
    is_only = after - before == 3
    joined = is_only & (gaps < _TOUCHING) | ~is_only & (gaps < _TABBED)
    spaced = is_only & ~joined & (gaps < _SPACED)
    if spaced.any() and 2 * right_to_left_letters(codes).sum() > len(printed):
        spaced[:] = False  # their lines are put in order by place: parts of a fraction in one line would mix
    gone = [*ends[joined].tolist(), *(ends[joined | spaced] + 1).tolist()]
    return [number for number in gone if codes[number] in (_RETURN, _LINE_FEED)], ends[spaced].tolist()


def _gaps(layer: TextLayer, before: _Numbers, after: _Numbers, *, are_of_height: bool = True) -> NDArray[np.float64]:
    """(k,) how far pairs of glyphs are apart along their line, of its height or in units of the page; infinity where it
    is not one line."""
    found = np.full(len(before), np.inf)
    cells = layer.cells_of(np.concatenate([before, after]))
    first, second = cells[: len(before)], cells[len(before) :]
    apart = np.maximum(first[:, :2], second[:, :2]) - np.minimum(first[:, 2:], second[:, 2:])
    limit = _TABBED * (cells[:, 2:] - cells[:, :2]).max()
    near = np.flatnonzero(apart.max(axis=1) < limit)
    if not len(near):
        return found
    turned = layer.quarters_of(np.concatenate([before[near], after[near]])).reshape(2, -1)
    quarters = np.where(turned[0] == turned[1], turned[0], -1)
    for quarter in sorted({*quarters.tolist()} - {-1}):
        chosen = near[quarters == quarter]
        gap, shared, height = _measures(first[chosen], second[chosen], quarter)
        fits = (gap > _BACK * height) & (gap < _TABBED * height) & (shared > 0)
        if not fits.any():
            continue
        shift = _shifts(layer.cells_of(np.maximum(before[chosen] - 1, 0)), first[chosen], second[chosen], quarter)
        fits &= shift < _SHIFTED
        are_digits = _is_digit(layer.codes[before[chosen]]) & _is_digit(layer.codes[after[chosen]])
        across = 1 if quarter % 2 == 0 else 0
        height_of_first, height_of_second = (box[chosen, across + 2] - box[chosen, across] for box in (first, second))
        is_next = are_digits & ((shift > _LEVEL) | (height_of_first < _SMALLER * height_of_second))
        gap[is_next] = np.maximum(gap, _TOUCHING * height)[is_next]  # cells of a table may touch
        found[chosen[fits]] = (gap / height if are_of_height else gap)[fits]
    return found


def _measures(
    first: NDArray[np.float64], second: NDArray[np.float64], quarter: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(k,) gaps from the first to the second of (k, 4) boxes each, what they share across, and the height of the line,
    for text that is turned by right angles, clockwise."""
    across, side = (1, 0) if quarter % 2 == 0 else (0, 1)
    left, right = (first, second) if quarter in (0, 3) else (second, first)
    gap = right[:, side] - left[:, side + 2]
    heights = np.stack([box[:, across + 2] - box[:, across] for box in (first, second)])
    low, high = heights.min(axis=0), np.maximum(heights.max(axis=0), 1e-6)
    shared = np.minimum(first[:, across + 2], second[:, across + 2]) - np.maximum(first[:, across], second[:, across])
    is_line = (shared >= _SHARED * low) & (high < _TALLER * low)
    return gap, np.where(is_line, shared, 0), high


def _is_digit(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    return np.array([chr(code).isdecimal() for code in codes.tolist()], np.bool_)


def _shifts(
    base: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64], quarter: int
) -> NDArray[np.float64]:
    """(k,) how much higher or lower on the page than the first the second is, of the height; 0 where this means
    nothing: one is small, as raised ones are, or both are at a larger glyph before them (`SO₄²⁻`). Arguments: boxes of
    what is before the first, else as of `_measures`."""
    across = 1 if quarter % 2 == 0 else 0
    of_base, height, other = (box[:, across + 2] - box[:, across] for box in (base, first, second))
    low, high = np.minimum(height, other), np.maximum(np.maximum(height, other), 1e-6)
    is_raised = (low < _SMALLER * high) | (height < _SMALLER * of_base)
    found: NDArray[np.float64] = np.where(is_raised, 0, np.abs(second[:, across] - first[:, across]) / high)
    return found


def _inside_clusters(layer: TextLayer, codes: NDArray[np.uint32], objects: PageObjects) -> list[int]:
    """Spaces next to letters of South and Southeast Asia that nothing parts."""
    if not _CLUSTER.search(layer.others):
        return []
    is_cluster = np.zeros(len(codes), np.bool_)
    for low, high in _CLUSTERS:
        is_cluster |= (codes >= low) & (codes <= high)
    middle = np.arange(1, len(codes) - 1)
    spaces = middle[(codes[1:-1] == _SPACE) & (is_cluster[:-2] | is_cluster[2:])]
    if not len(spaces):
        return []
    clusters = find_clusters(layer.characters, objects)
    characters, centres = clusters.characters, centres_of(clusters.spaces)
    owners, boxes = characters.object_number, characters.boxes
    found = []
    for number in spaces[characters.is_generated[spaces] & (owners[spaces - 1] >= 0)].tolist():
        before, after = boxes[number - 1], boxes[number + 1]
        em = float(characters.objects.font_sizes[owners[number - 1]])
        if after[0] - before[2] < _CLUSTER_GAP * em and not _holds_space(centres, before, after):
            found.append(number)
    return found


def _holds_space(centres: Boxes, left: Boxes, right: Boxes) -> bool:
    """Whether one of (k, 2) spaces is between two boxes (4,) of one line."""
    low, high = min(left[1], right[1]), max(left[3], right[3]) + _LEAST
    across = (centres[:, 0] > (left[0] + left[2]) / 2) & (centres[:, 0] < (right[0] + right[2]) / 2)
    return bool((across & (centres[:, 1] >= low - (high - low)) & (centres[:, 1] <= high + (high - low))).any())


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedClusters:
    """What PDFium leaves out where browsers name glyphs (`/ActualText`): it gives the letters parts of the box of one
    of the glyphs of a name, and the others no characters.

    Attributes:
        characters: of the page, with the boxes of all glyphs of their names.
        spaces: (k, 4) glyphs of spaces without characters, in pixels; they have no width.
    """

    characters: PageCharacters
    spaces: Boxes


def find_clusters(characters: PageCharacters, objects: PageObjects) -> NamedClusters:
    """The clusters of a page, which draws these objects."""
    has_letters = np.unique(characters.object_number[characters.object_number >= 0]).tolist()
    if len(objects.found_texts.handles) == len(has_letters):
        return NamedClusters(characters=characters, spaces=np.zeros((0, 4), np.float32))
    number_of = {characters.objects.handles[number]: number for number in has_letters}
    boxes = objects.text_boxes[:, :4]
    owners = np.array([number_of.get(handle, -1) for handle in objects.found_texts.handles], np.intp)
    is_empty = boxes[:, 2] <= boxes[:, 0]
    found: dict[int, list[Boxes]] = {}
    parts_of_names = np.flatnonzero((owners < 0) & ~is_empty).tolist()
    count_marks, handles = pdfium_calls().count_marks, objects.found_texts.handles
    if not any(count_marks(handles[at]) > 0 for at in parts_of_names):
        parts_of_names = []  # nothing is named: PDFium leaves out glyphs without letters, as those that fill lines
    for at in parts_of_names:
        near = [(_shared_width(boxes[at], boxes[other]), other) for other in _owned_around(owners, is_empty, at)]
        if near:
            found.setdefault(max(near)[1], []).append(boxes[at])
    placed = characters.boxes.copy()
    for at, parts in found.items():
        members = np.flatnonzero(characters.object_number == owners[at])
        near_enough = _NEAR * float(characters.objects.font_sizes[owners[at]])
        placed[members] = _spread(placed[members], parts, near_enough)
    return NamedClusters(characters=replace(characters, boxes=placed), spaces=boxes[(owners < 0) & is_empty])


def _owned_around(owners: _Numbers, is_empty: NDArray[np.bool_], at: int) -> list[int]:
    """The text objects with characters before and after another one, up to a space."""
    found = []
    for step in (-1, 1):
        other = at + step
        while 0 <= other < len(owners) and owners[other] < 0 and not is_empty[other]:
            other += step
        if 0 <= other < len(owners) and not is_empty[other]:
            found.append(other)
    return found


def _shared_width(box: Boxes, other: Boxes) -> float:
    return float(min(box[2], other[2]) - max(box[0], other[0]))


def _spread(boxes: Boxes, parts: Sequence[Boxes], near: float) -> Boxes:
    """(k, 4) boxes that are parts of one, as parts of it and of others (4,) that are near it."""
    own = extent_of(boxes)
    if (np.ptp(boxes[:, [1, 3]], axis=0) > 0).any():
        return boxes
    whole = own
    for part in parts:
        if (part[:2] < whole[2:] + near).all() and (part[2:] > whole[:2] - near).all():
            whole = extent_of(np.stack([whole, part]))
    scale = (whole[2:] - whole[:2]) / np.maximum(own[2:] - own[:2], _LEAST)
    placed: Boxes = (whole[[0, 1, 0, 1]] + (boxes - own[[0, 1, 0, 1]]) * scale[[0, 1, 0, 1]]).astype(np.float32)
    return placed


def _between_letters_apart(layer: TextLayer, codes: NDArray[np.uint32], objects: PageObjects) -> list[int]:
    """Spaces between letters that are set apart, `W I D E T I T L E`, where wider ones are between the words, or, for a
    single word, around it. Spaces that the file has stay, also those for which PDFium puts in its own
    (`find_clusters`)."""
    is_space = codes == _SPACE
    at = np.flatnonzero(is_space[1:-5] & is_space[3:-3] & is_space[5:-1])
    if not len(at) or not (codes[at[:, None] + (0, 2, 4, 6)] >= _FIRST_LETTER).all(axis=1).any():
        return []
    text = codes.astype("<u4").tobytes().decode("utf-32-le", "replace")
    found: list[int] = []
    spread = range(0)
    for match in _SET_APART.finditer(text):
        if match.start() not in spread:
            spread = _line_around(text, match.start())
            found += _inside_spread_words(layer, codes, spread)
        start, stop = match.span()
        if sorted(match[0].split()) == match[0].split():
            continue  # an alphabet
        spaces = np.arange(start + 1, stop, 2)
        around = [at for at in (start - 1, stop) if 0 < at < len(text) - 1 and text[at] == " "]
        around = [at for at in around if not text[at - 1].isspace() and not text[at + 1].isspace()]
        places = np.array([*spaces.tolist(), *around], np.intp)
        gaps = _gaps(layer, places - 1, places + 1, are_of_height=False)
        inner = gaps[: len(spaces)]
        is_inside = inner < _EVEN * inner.min()
        wide = gaps[len(spaces) :] if is_inside.all() else inner[~is_inside]
        wider = _EVEN if is_inside.all() else _WIDER
        if _gaps(layer, spaces - 1, spaces + 1)[is_inside].max(initial=0) > _CELLS:
            continue  # grades or answers in cells of a table
        num_wide = int((~is_inside).sum())
        if len(wide) and is_inside.sum() > num_wide and wide.min() > wider * inner[is_inside].max(initial=0):
            spaces = spaces[is_inside]
            if is_east_asian(codes[start : start + 1]).all():
                spaces = np.union1d(spaces, _as_near(layer, text, start, _EVEN * float(inner.min())))
            inside = spaces[layer.are_put_in(spaces)].tolist()
            clusters = find_clusters(layer.characters, objects)
            boxes, centres = layer.boxes, centres_of(clusters.spaces)
            found += [at for at in inside if not _holds_space(centres, boxes[at - 1], boxes[at + 1])]
    return found


def _line_around(text: str, number: int) -> range:
    """The characters of the line that one is in, by number."""
    first = max(text.rfind("\n", 0, number), text.rfind("\r", 0, number)) + 1
    return range(first, first + len(re.split(r"[\r\n]", text[first:], maxsplit=1)[0]))


def _inside_spread_words(layer: TextLayer, codes: NDArray[np.uint32], line: range) -> list[int]:
    """Spaces of PDFium's inside the words of a line, of one font, whose letters are all set apart by as much, but for
    kerning, and its words by a space more. Lists of single letters have no such gaps, nor words."""
    printed = line.start + np.flatnonzero(codes[line.start : line.stop] > _SPACE)
    cells = layer.cells_of(printed)
    height = float(cells[0, 3] - cells[0, 1])
    if height <= 0 or (np.ptp(cells[:, [1, 3]], axis=0) > _LEVEL * height).any():
        return []
    gaps = (cells[1:, 0] - cells[:-1, 2]) / height
    apart = float(np.median(gaps))
    inside = gaps < 1.5 * apart + _LEAST_APART
    if not _LEAST_APART < apart < _CELLS or (gaps[inside] < apart - _MOST_KERNED).any():
        return []
    between = gaps[~inside] - 2 * apart
    words = np.split(codes[printed], np.flatnonzero(~inside) + 1)
    if not ((between > _LEAST_APART) & (between < _MOST_BETWEEN)).all() or len(printed) < _LETTERS * len(words):
        return []
    are_lists = all((word[1:] > word[:-1]).all() for word in words)
    if len(words) < 2 or are_lists or (np.abs(gaps[inside] - apart) < _KERNED).mean() < _EVENLY:
        return []
    spaces = printed[:-1][inside & (np.diff(printed) == 2)] + 1
    spaces = spaces[codes[spaces] == _SPACE]
    found: list[int] = spaces[layer.are_put_in(spaces)].tolist()
    return found


def _as_near(layer: TextLayer, text: str, start: int, limit: float) -> _Numbers:
    """Spaces between letters of East Asia in the line of a character that part them less than this: shorter words, of
    which nobody would know any more that their line is spread, once its longer ones are joined."""
    places = np.array([at for at in _line_around(text, start)[1:-1] if text[at] == " "], np.intp)
    places = places[is_east_asian(layer.codes[places - 1]) & is_east_asian(layer.codes[places + 1])]
    found: _Numbers = places[_gaps(layer, places - 1, places + 1, are_of_height=False) < limit]
    return found


def _postscript_spaces(layer: TextLayer, codes: NDArray[np.uint32]) -> tuple[_Numbers, _Numbers]:
    """Characters that are further from the one before than their neighbours are from each other, with no blank between:
    spacing of characters (`Tc`) that counts for one letter alone is a space in groff's words, as Ghostscript has them.
    Spaces between letters that touch, with that of words (`Tw`) below 0, are its kerning (`rev erse`)."""
    is_text = (codes > _SPACE) & (codes < _FIRST_OTHER)
    numbers = np.flatnonzero(is_text[:-1] & is_text[1:])
    cells = layer.cells_of(np.arange(len(codes)))
    heights = np.maximum(cells[:, 3] - cells[:, 1], 1e-6)
    is_text &= codes >= _FIRST_LETTER
    spaces = np.flatnonzero((codes[1:-1] == _SPACE) & is_text[:-2] & is_text[2:]) + 1
    gaps = np.full(len(codes), np.inf)  # from each to the next, of the height
    is_line = np.zeros(len(codes), np.bool_)
    for first, second in ((numbers, numbers + 1), (spaces - 1, spaces + 1)):
        is_line[first] = np.abs(cells[second, 1] - cells[first, 1]) < _LEVEL * heights[first]
        gaps[first] = (cells[second, 0] - cells[first, 2]) / heights[first]
    spaces = spaces[is_line[spaces - 1] & (np.abs(gaps[spaces - 1]) < _NO_SPACE)]
    apart = numbers[is_line[numbers] & (gaps[numbers] > _HIDDEN) & (gaps[numbers] < _TABBED)]
    beside = np.stack([apart - 1, np.minimum(apart + 1, len(codes) - 1)])
    are_close = np.abs(gaps[beside]) < _NO_SPACE
    # Next to a letter of another font, lines are of another height; cells of a bitmap font are the ink of each glyph.
    are_close &= is_line[beside] | (np.abs(heights[apart] - heights[apart + 1]) < _SAME_LINE * heights[apart])
    lost = apart[are_close.any(axis=0)] + 1
    return lost, spaces[~layer.are_put_in(spaces)]
