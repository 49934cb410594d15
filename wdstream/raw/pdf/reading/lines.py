"""Lines of a page: which characters make one, and lines that marks or small jumps broke, put together again."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.characters import PUT_IN_SPACE, PageCharacters, reordered
from wdstream.raw.pdf.layer import TextLayer
from wdstream.raw.pdf.objects import PageObjects
from wdstream.raw.pdf.places import Boxes, distinct, extent_of, median_of
from wdstream.text.script import combining_marks, is_east_asian, right_to_left_letters

_SPACE, _LINE_FEED, _RETURN, _SOFT_HYPHEN, _HYPHEN = 0x20, 0x0A, 0x0D, 0xAD, 0x2D
_WIDE_SPACE = 0x3000
_SPACES = (_SPACE, _WIDE_SPACE)
_IS_IN_TEXT = np.ones(0x10000, np.bool_)
_IS_IN_TEXT[[0, 0x02, 0x03, 0x93, 0x94, 0x96, 0x97, 0x98, 0xFFFE]] = False
_HYPHEN_MARK = 0xFFFE
BROKEN_WORD = 0x02
"""PDFium's code for a hyphen that breaks a word at a line end, if the character is mapped."""
_SURROGATES = 0xD800 >> 11  # code points outside the first plane come as two
_EMPTY_CELL, _NO_GAP = 0.8, 0.1  # of the em: less between two letters is not a wide space of the file; not a space
_FEWEST_PARTED = 4
_GAP = 1.5  # of the height: parts of one line are not further apart
_NARROW = 3.0  # times as high as wide, at least: a line that is turned
_TURNED = 5.0  # degrees
_REACH = 6  # how many lines away the parts of one line are looked for
_INITIAL, _NEXT_TO_INITIAL = 1.6, 1.2  # times as high as the lines next to it; of their height, how far these are away
_INITIAL_WIDTH, _MOST_INITIALS = 2.5, 8  # of its height, with a quote before it; of a page, that are looked at
_NEAR_INITIAL = 0.3  # of their height: how far they may reach under the slope of an A, or before the foot of an L
_INDENTED = 0.15  # of their height: how much further the first of them begins, after a word of one letter
_LEADING = 2.0  # of the height of a line: how far the next one is below it
_NO_CUT = (-np.inf, -np.inf, np.inf, np.inf)
_AT_EDGE = 1.0  # pixels: how far over the edge of a clipping path a text may be that is next to it
_WORDS_OF_A_LETTER = frozenset("AIO")

Line = NDArray[np.intp]
"""Numbers of the characters of one line, in PDFium's order, without the line end."""


def kept_numbers(codes: NDArray[np.uint32], is_put_in: NDArray[np.bool_], keep: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Numbers of the characters that make the text: those kept, and of what PDFium put in what still parts two of them.

    Args:
        codes: (n,) of the characters of a page.
        is_put_in: (n,) by PDFium.
        keep: (n,) which characters count; what PDFium put in is not looked at.
    """
    if (keep | is_put_in).all():
        return np.arange(len(codes))
    kept, dropped = np.flatnonzero(keep & ~is_put_in), np.flatnonzero(~(keep | is_put_in))
    stays = np.zeros(len(codes), np.bool_)
    if len(kept):
        stays[kept[0] : kept[-1] + 1] = True
    gaps = distinct(kept.searchsorted(dropped))
    for at in gaps[(gaps > 0) & (gaps < len(kept))].tolist():
        stays[kept[at - 1] + 1 : kept[at]] = False
        stays[_between(codes, kept[at - 1], kept[at])] = True
    return np.flatnonzero(stays)


def _between(codes: NDArray[np.uint32], before: np.intp, after: np.intp) -> NDArray[np.intp]:
    """What parts two kept characters between which others were dropped, by number: one line end or space, unless one of
    the two is a space."""
    numbers = np.arange(before + 1, after)
    is_parted = _SPACE in codes[[before, after]]
    for wanted in ((_RETURN, _LINE_FEED), (_LINE_FEED,), () if is_parted else (_SPACE,)):
        found = [np.flatnonzero(codes[numbers] == code)[:1] for code in wanted]
        if found and all(len(one) for one in found):
            return numbers[np.concatenate(found)]
    return numbers[:0]


def without_spaces_inside(characters: PageCharacters, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """The numbers without spaces between Han letters or kana that the picture does not have.

    PDFium puts some in where letters are set apart to fill a line, and files have some where they only move on.
    """
    codes = characters.codes[numbers]
    is_space = np.isin(codes, _SPACES)
    before = np.flatnonzero(~is_space[:-1] & is_space[1:] & is_east_asian(codes[:-1]))
    printed = np.append(np.flatnonzero(~is_space), len(codes))
    after = printed[np.searchsorted(printed, before, side="right")]
    inside = after < len(codes)
    before, after = before[inside], after[inside]
    inside = is_east_asian(codes[after])
    before, after = before[inside], after[inside]
    if not len(before):
        return numbers
    em = characters.objects.font_sizes[characters.object_number[numbers[before]]]
    gaps = characters.boxes[numbers[after], 0] - characters.boxes[numbers[before], 2]
    is_wide = codes[before + 1] == _WIDE_SPACE
    are_put_in = characters.is_generated[numbers[before + 1]]
    is_spread = _is_spread(codes, before)
    is_none = gaps < em * np.where(are_put_in | is_spread, 1, np.where(is_wide, _EMPTY_CELL, _NO_GAP))
    gone = [np.arange(start + 1, end) for start, end in zip(before[is_none], after[is_none], strict=True)]
    return np.delete(numbers, np.concatenate([np.arange(0), *gone]))


def _is_spread(codes: NDArray[np.uint32], parted: NDArray[np.intp]) -> NDArray[np.bool_]:
    """(k,) whether a letter that a space follows is of a line in which spaces follow most letters of East Asia."""
    line = np.cumsum(np.isin(codes, (_LINE_FEED, _RETURN)))
    count = int(line[-1]) + 1
    pairs = is_east_asian(codes[:-1]) & is_east_asian(codes[1:])
    together, apart = np.bincount(line[:-1][pairs], minlength=count), np.bincount(line[parted], minlength=count)
    spread: NDArray[np.bool_] = (apart >= _FEWEST_PARTED) & (apart > 2 * together)
    return spread[line[parted]]


def split_lines(characters: PageCharacters, numbers: NDArray[np.intp]) -> list[Line]:
    """The lines that PDFium sees, empty ones left out."""
    codes = characters.codes[numbers]
    is_end = (codes == _LINE_FEED) | (codes == _RETURN)
    number = np.cumsum(is_end)[~is_end]  # of the line of each character
    return [line for line in np.split(numbers[~is_end], np.flatnonzero(np.diff(number)) + 1) if len(line)]


def has_lines_down(spans: NDArray[np.float32]) -> bool:
    """Whether two or more of (k, 4) spans are as narrow and high as lines that are turned."""
    sides = spans[:, 2:] - spans[:, :2]
    high = sides[sides[:, 1] > _NARROW * sides[:, 0], 1]  # among them strokes and brackets
    return len(high) > 1 and bool((high > _NARROW * median_of(sides.min(axis=1))).sum() > 1)


def order_lines_down(
    characters: PageCharacters, keep: NDArray[np.bool_], orders: Mapping[int, int]
) -> tuple[PageCharacters, NDArray[np.bool_]]:
    """The characters of a page with its lines that run down in the file's order, from right to left.

    PDFium sorts texts that begin at one height from left to right, as if they were one line.

    Args:
        characters: of the page, n of them.
        keep: (n,) which count.
        orders: of the text objects on the page, by their addresses.
    """
    lines = split_lines(characters, np.arange(len(characters)))
    if len(lines) < 2:
        return characters, keep
    owners = [line[characters.object_number[line] >= 0] for line in lines]
    angles = [characters.objects.angles[characters.object_number[line]] for line in owners]
    is_down = np.array([len(angle) > 0 and bool((np.abs(angle - 90) < _TURNED).all()) for angle in angles])
    boxes = np.array([_extent(characters.boxes[line]) for line in lines], np.float32)
    handles = characters.objects.handles
    firsts = [orders.get(handles[characters.object_number[line[0]]], 0) if len(line) else 0 for line in owners]
    steps = (boxes[1:, 0] > boxes[:-1, 0]) & is_down[1:] & is_down[:-1] & (np.diff(firsts) < 0)
    steps &= np.abs(np.diff(boxes[:, 1])) < (boxes[1:, 2] - boxes[1:, 0])
    if not steps.any():
        return characters, keep
    ends = [int(line[0]) for line in lines[1:]] + [len(characters)]
    after = [np.arange(line[-1] + 1, end) for line, end in zip(lines, ends, strict=True)]
    order = [*range(int(lines[0][0]))]
    for run in np.split(np.arange(len(lines)), np.flatnonzero(~steps) + 1):
        for number, at in zip(run[::-1].tolist(), run.tolist(), strict=True):
            order += [*lines[number].tolist(), *after[at].tolist()]
    return reordered(characters, keep, order)


def may_have_initials(spans: NDArray[np.float32]) -> bool:
    """Whether one of (k, 4) spans may be an initial: one letter or two, high and narrow, with two lines next to it."""
    left, top, right, bottom = spans.T
    heights = bottom - top
    high = np.flatnonzero(heights > _INITIAL * median_of(heights)) if len(spans) > 2 else ()
    if not len(high):
        return False
    narrow = high[(right - left)[high] < _INITIAL_WIDTH * heights[high]]
    if not 0 < len(narrow) <= _MOST_INITIALS:
        return False
    return any(len(_next_to(spans, spans[number], heights)) > 1 for number in narrow.tolist())


def _next_to(boxes: Boxes, initial: Boxes, heights: NDArray[np.float32]) -> NDArray[np.intp]:
    """Which of (k, 4) boxes, of lines of these heights, begin right of an initial (4,), from the highest."""
    gaps, middles = boxes[:, 0] - initial[2], (boxes[:, 1] + boxes[:, 3]) / 2
    fits = (gaps > -_NEAR_INITIAL * heights) & (gaps < _NEXT_TO_INITIAL * heights)
    fits &= (middles > initial[1]) & (middles < initial[3]) & (_INITIAL * heights < initial[3] - initial[1])
    found = np.flatnonzero(fits)
    return found[np.argsort(middles[found], kind="stable")]


def place_initials(characters: PageCharacters, keep: NDArray[np.bool_]) -> tuple[PageCharacters, NDArray[np.bool_]]:
    """The characters of a page with initials over several lines in the words that they begin, and which count.

    PDFium has them as lines of their own, where the file draws them: before their paragraph, or all before the text.

    Args:
        characters: of the page, n of them.
        keep: (n,) which count.
    """
    is_printed = keep & ~characters.is_generated & (characters.codes > _SPACE) & (characters.object_number >= 0)
    sizes = characters.objects.font_sizes[characters.object_number]
    lines = []
    for line in split_lines(characters, np.arange(len(characters))):
        printed = line[is_printed[line]]  # PDFium may have an initial and two lines next to it as one line
        low, high = (
            np.minimum(sizes[printed[1:]], sizes[printed[:-1]]),
            np.maximum(sizes[printed[1:]], sizes[printed[:-1]]),
        )
        lines += [part for part in np.split(printed, np.flatnonzero(high > _INITIAL * low) + 1) if len(part)]
    firsts = np.array([line[0] for line in lines], np.intp)
    boxes = np.array([extent_of(characters.boxes[line]) for line in lines], np.float32).reshape(-1, 4)
    heights, order = boxes[:, 3] - boxes[:, 1], np.arange(len(characters)).tolist()
    texts = ["".join(map(chr, characters.codes[line].tolist())) for line in lines]
    words = Counter("".join(map(chr, characters.codes.tolist())).lower().split())
    for number, text in enumerate(texts):
        if not _is_initial(text) or abs(characters.objects.angles[characters.object_number[firsts[number]]]) > _TURNED:
            continue
        near = _next_to(boxes, boxes[number], heights)
        if len(near) < 2 or not (word := _begun_word(characters.codes, int(firsts[near[0]]))):
            continue
        if not _runs_on_under(boxes, boxes[number], boxes[near[-1]], heights):
            continue
        first, second = near[:2]
        is_indented = bool(boxes[first, 0] - boxes[second, 0] > _INDENTED * heights[first])
        is_apart = is_indented or _begins_with_space(characters, int(firsts[first]))
        is_apart = is_apart or (text in _WORDS_OF_A_LETTER and len(word) > 1 and words[word] > 1)
        order = _moved(order, lines[number].tolist(), int(firsts[first]), is_printed, is_apart=is_apart)
    return reordered(characters, keep, order)


def _runs_on_under(boxes: Boxes, initial: Boxes, last: Boxes, heights: NDArray[np.float32]) -> bool:
    """Whether one of (k, 4) boxes, of lines of these heights, begins under an initial (4,), next after the last line
    that is next to it, (4,): a list next to a large letter ends there."""
    height = last[3] - last[1]
    is_under = (np.abs(boxes[:, 0] - initial[0]) < height) & (boxes[:, 1] > (last[1] + last[3]) / 2)
    is_under &= (boxes[:, 1] < last[3] + _LEADING * height) & (heights * _INITIAL < initial[3] - initial[1])
    return bool(is_under.any())


def _begins_with_space(characters: PageCharacters, start: int) -> bool:
    """Whether the file has a space before a character in the same text, as after an initial that is a word."""
    owners = characters.object_number
    return bool(start > 0 and characters.codes[start - 1] == _SPACE and owners[start - 1] == owners[start])


def _is_initial(text: str) -> bool:
    """Whether a line is a capital, maybe after an opening quote."""
    return len(text) < 3 and text[-1].isupper() and not text[:-1].isalnum()


def _begun_word(codes: NDArray[np.uint32], start: int) -> str:
    """What follows an initial, in small letters or in capitals; empty where it is no rest of a word."""
    rest = "".join(map(chr, codes[start : start + 20].tolist())).split()
    word = rest[0].rstrip(",.;:!?") if rest else ""
    is_rest = word[:1].islower() or word[:1] in ("'", "’") or (word.isupper() and len(word) > 1)
    return word.lower() if is_rest else ""


def _moved(
    order: list[int], initial: list[int], before: int, is_printed: NDArray[np.bool_], *, is_apart: bool
) -> list[int]:
    """The order with an initial, and without the blanks after it, before a character."""
    end = order.index(initial[-1]) + 1
    while end < len(order) and (order[end] < 0 or not is_printed[order[end]]):
        end += 1
    start = order.index(initial[0])
    rest = order[:start] + order[end:]
    at = rest.index(before)
    return rest[:at] + initial + [PUT_IN_SPACE] * is_apart + rest[at:]


def _extent(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(4,) around those of (k, 4) boxes that have a place; zeros where there are none."""
    placed = boxes[boxes.any(axis=1)]
    return extent_of(placed) if len(placed) else np.zeros(4, np.float32)


def characters_text(characters: PageCharacters, numbers: NDArray[np.intp]) -> str:
    """The characters as PDFium's text has them: U+FFFE for a hyphen that breaks a word, some unmapped codes left out.

    A soft hyphen that is drawn is a hyphen.
    """
    codes, boxes = characters.codes[numbers], characters.boxes[numbers]
    is_broken_word = (codes == BROKEN_WORD) & characters.is_mapped[numbers]
    is_drawn = (codes == _SOFT_HYPHEN) & (boxes[:, 2] > boxes[:, 0])
    text_codes = np.where(is_drawn, _HYPHEN, np.where(is_broken_word, _HYPHEN_MARK, codes))
    text_codes = text_codes[~left_out(characters, numbers)]
    text: str = text_codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    if (text_codes >> 11 == _SURROGATES).any():
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def left_out(characters: PageCharacters, numbers: NDArray[np.intp]) -> NDArray[np.bool_]:
    """(k,) which characters PDFium leaves out of the text: codes without meaning, unmapped hyphens."""
    codes = characters.codes[numbers]
    is_hyphen = (codes == BROKEN_WORD) & characters.is_mapped[numbers]
    found: NDArray[np.bool_] = ~(_IS_IN_TEXT[np.minimum(codes, 0xFFFF)] | is_hyphen)
    return found


@dataclass(slots=True)
class _Part:
    """A line of PDFium's: where its letters are, in pixels; only marks if it has none."""

    line: Line
    box: tuple[float, float, float, float]
    em: float
    is_right: bool
    is_marks: bool

    def continues_in(self, other: "_Part") -> bool:
        """Whether `other` is printed on the same line next to this part."""
        left, top, right, bottom = self.box
        near = max(left, other.box[0]) - min(right, other.box[2])
        overlap = min(bottom, other.box[3]) - max(top, other.box[1])
        width = min(right - left, other.box[2] - other.box[0])
        height = min(bottom - top, other.box[3] - other.box[1])
        em = max(self.em, other.em)
        return overlap >= 0.5 * height and -0.5 * width <= near < _GAP * em and (self.is_right or other.is_right)

    def distance_to(self, other: "_Part") -> float:
        """How far the middle of this part, which is marks, is from the letters of `other`, in pixels."""
        across, down = (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2
        left, top, right, bottom = other.box
        return max(left - across, across - right, 0) + max(top - down, down - bottom, 0)

    def join(self, other: "_Part") -> None:
        """Take the characters of `other`."""
        self.line = np.concatenate([self.line, other.line])
        self.is_right |= other.is_right
        if not other.is_marks:
            boxes = np.array([self.box, other.box])
            self.box = tuple([*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()])


def joined_lines(characters: PageCharacters, lines: Sequence[Line]) -> list[Line]:
    """Lines that were broken within one printed line, together again.

    PDFium breaks lines of right-to-left scripts at marks, and at letters that are set a little higher or lower. Lines
    without such a script next to them stay as they are.
    """
    is_right, is_mark = right_to_left_letters(characters.codes), combining_marks(characters.codes)
    parts: list[_Part] = []
    marks: list[tuple[int, _Part]] = []
    for line in lines:
        part = _part(characters, line, is_right, is_mark)
        if part.is_marks:
            marks.append((len(parts), part))
            continue
        near_part = next((near for near in parts[: -1 - _REACH : -1] if part.continues_in(near)), None)
        if near_part is None:
            parts.append(part)
        else:
            near_part.join(part)
    for at, part in marks:
        near = parts[max(0, at - _REACH) : at + _REACH]
        if near:
            min(near, key=part.distance_to).join(part)
    return [part.line for part in parts]


def _part(characters: PageCharacters, line: Line, is_right: NDArray[np.bool_], is_mark: NDArray[np.bool_]) -> _Part:
    printed = line[
        ~characters.is_generated[line] & characters.boxes[line].any(axis=1) & (characters.codes[line] != _SPACE)
    ]
    letters = printed[~is_mark[printed]]
    boxes = characters.boxes[letters if len(letters) else printed]
    numbers = characters.object_number[printed]
    return _Part(
        line,
        (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()) if len(boxes) else (0.0,) * 4,
        float(characters.objects.font_sizes[numbers[numbers >= 0]].max(initial=0)),
        bool(is_right[letters].any()),
        len(letters) == 0 and len(printed) > 0 and bool(is_right[printed].any()),
    )


def next_to_cuts(layer: TextLayer, codes: NDArray[np.uint32], objects: PageObjects) -> Line:
    """Characters that follow, with no blank between, one whose text a clipping path cuts off before them: cells of a
    table cut their texts, and the next cell may begin right there."""
    handles = layer.unplaced.objects.handles
    ends = objects.edges | objects.cuts
    cuts = np.array([*(ends.get(handle, _NO_CUT) for handle in handles), _NO_CUT])
    box_of = dict(zip(objects.found_texts.handles, objects.text_boxes[:, :4], strict=True))
    boxes = np.array([*(box_of.get(handle, _NO_CUT) for handle in handles), _NO_CUT])
    owners = layer.unplaced.object_number
    first, second = owners[:-1], owners[1:]
    is_next = (first != second) & (codes[:-1] > _SPACE) & (codes[1:] > _SPACE)
    is_cut = (boxes[first, 2] > cuts[first, 2]) & (boxes[second, 0] > cuts[first, 2] - _AT_EDGE)
    is_cut |= (boxes[second, 0] < cuts[second, 0]) & (boxes[first, 2] < cuts[second, 0] + _AT_EDGE)
    after: Line = np.flatnonzero(is_next & is_cut & (cuts[first] != cuts[second]).any(axis=1)) + 1
    return after
