"""Lines of a page in the order of its layout: columns one after the other, from the top, whatever order the file has.

The analysis is pdfminer.six's, over PDFium's characters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import needs_extra
from wdstream.raw.pdf.characters import PageCharacters, quarters_of, upright_boxes
from wdstream.raw.pdf.places import CharacterMask
from wdstream.raw.pdf.reading.lines import BROKEN_WORD, Line, split_lines
from wdstream.text.script import right_to_left_letters

_WITHOUT_PLACE = (0x20, 0x200C)  # spaces, and the zero-width non-joiner
_ONE_LINE = 2.0  # of its highest character
_NEAR = 1.5  # of the line's height
_SPACING, _DOWN_SPACING = 0.5, 1.2  # of it, between lines of one block: columns leave room for ruby
_numbers = count()


def layout_lines(characters: PageCharacters, numbers: NDArray[np.intp], is_down: CharacterMask) -> list[Line]:
    """The lines of a page in layout order: for each the numbers of its characters.

    Columns of a page that is mostly right-to-left go from the right. Characters of a line go from left to right, those
    of right-to-left lines in PDFium's order, with the spaces that PDFium put between them. Text that is turned by right
    angles, or written downwards, is laid out by itself, the direction of most characters first.

    Args:
        characters: of the page, n of them.
        numbers: those that count, with what PDFium put in.
        is_down: (n,) which are written downwards.

    Raises:
        ConfigError: pdfminer.six is not installed.
    """
    put_in = characters.is_generated | ~characters.boxes.any(axis=1)  # spaces without a place, too
    quarters = np.where(is_down, 1, quarters_of(characters)).astype(np.int8)
    by_quarter: dict[int, list[Line]] = {}
    for line in _lines(characters, numbers):
        printed = line[~put_in[line]]
        if len(printed):
            by_quarter.setdefault(int(np.bincount(quarters[printed]).argmax()), []).append(line)
    found: list[Line] = []
    for quarter, lines in sorted(by_quarter.items(), key=lambda item: -sum(map(len, item[1]))):
        turned = replace(characters, boxes=upright_boxes(characters, np.full(len(characters), quarter, np.int8)))
        found += _laid_out(turned, lines, numbers, put_in, is_down=bool(is_down[np.concatenate(lines)].any()))
    return found


def _laid_out(
    characters: PageCharacters,
    lines: Sequence[Line],
    numbers: NDArray[np.intp],
    put_in: CharacterMask,
    *,
    is_down: bool,
) -> list[Line]:
    """Lines of one direction, in the order of their layout; the boxes are as if it were to the right."""
    boxes = _line_boxes(characters, lines, put_in)
    from_right = bool(right_to_left_letters(characters.codes[numbers]).mean() > 0.5)
    printed = [line[~put_in[line]] for line in lines]
    printed = [line[np.argsort(boxes[line, 0] * (-1 if from_right else 1), kind="stable")] for line in printed]
    spacing = _DOWN_SPACING if is_down else _SPACING
    found = _analysed(np.concatenate(printed), boxes, spacing, from_right=from_right)
    return [_with_spaces(characters, line, numbers, put_in, is_ordered=is_down) for line in found]


def _lines(characters: PageCharacters, numbers: NDArray[np.intp]) -> Iterator[Line]:
    """PDFium's lines; it has no line end after a hyphen that breaks a word."""
    for line in split_lines(characters, numbers):
        is_break = (characters.codes[line] == BROKEN_WORD) & characters.is_mapped[line]
        yield from (part for part in np.split(line, np.flatnonzero(is_break) + 1) if len(part))


def _line_boxes(characters: PageCharacters, lines: Sequence[Line], put_in: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, 4) boxes of the page's characters, as high as their line, and wide up to the next one where that is near.

    So neither low signs nor leaders of points fall out of their line, and columns stay apart.
    """
    boxes = characters.boxes.astype(np.float64)
    for line in lines:
        inked = line[~put_in[line]]
        heights = boxes[inked, 3] - boxes[inked, 1]
        top, bottom = boxes[inked, 1].min(), boxes[inked, 3].max()
        if bottom - top > _ONE_LINE * heights.max():
            continue  # written downwards, or in several lines for all that PDFium says
        boxes[line, 1], boxes[line, 3] = top, bottom
        inked = inked[np.argsort(boxes[inked, 0], kind="stable")]
        gaps = boxes[inked[1:], 0] - boxes[inked[:-1], 2]
        near = (gaps > 0) & (gaps < _NEAR * (boxes[inked[0], 3] - boxes[inked[0], 1]))
        boxes[inked[:-1][near], 2] = boxes[inked[1:][near], 0]
    return boxes


def _analysed(
    numbers: NDArray[np.intp], boxes: NDArray[np.float64], spacing: float, *, from_right: bool
) -> Iterator[Line]:
    """Lines as pdfminer.six finds them, each from left to right; `spacing` is the most between those of one block."""
    with needs_extra("reading order by layout", "layout"):
        from pdfminer import layout
        from pdfminer.layout import LAParams, LTChar, LTComponent, LTPage, LTTextBox, LTTextLine
    vars(layout)["id"] = _number_of  # in place of Python's

    class Character(LTChar):
        """A character by its box alone: the analysis asks for no more."""

        def __init__(self, number: int, box: tuple[float, float, float, float]) -> None:
            LTComponent.__init__(self, box)
            self.number, self._text, self.upright, self.size = number, "x", True, box[3] - box[1]

    boxes = boxes - np.tile(boxes[numbers, :2].min(axis=0), 2).clip(max=0)  # turned ones are negative
    right, bottom = boxes[numbers, 2].max(), boxes[numbers, 3].max()
    page = LTPage(1, (0, 0, right, bottom))
    for number in numbers.tolist():
        left, top, end, low = boxes[number].tolist()
        across = (right - end, right - left) if from_right else (left, end)
        page.add(Character(number, (across[0], bottom - low, across[1], bottom - top)))
    page.analyze(LAParams(line_margin=spacing))
    for box in page:
        for line in box if isinstance(box, LTTextBox) else ():
            if isinstance(line, LTTextLine):
                yield np.array([item.number for item in line if isinstance(item, Character)], np.intp)


def _number_of(component: object) -> int:
    """Which of its components pdfminer asked for first: of pairs of blocks that are equally near, it joins those of the
    lowest `id` first, which in Python is an address and another one in each process."""
    number: int = vars(component).setdefault("wdstream_number", next(_numbers))
    return number


def _with_spaces(
    characters: PageCharacters, line: Line, numbers: NDArray[np.intp], put_in: NDArray[np.bool_], *, is_ordered: bool
) -> Line:
    """A line from left to right (by number if right-to-left or ordered) with the spaces that PDFium put in it."""
    centres = characters.boxes[line, 0] + characters.boxes[line, 2]
    is_right = right_to_left_letters(characters.codes[line]).any()
    ordered = np.sort(line) if is_right or is_ordered else line[np.lexsort((line, centres))]
    counted = set(numbers.tolist())
    found: list[int] = []
    for number in ordered.tolist():
        if found and number > found[-1] + 1:
            between = range(found[-1] + 1, number)
            if all(put_in[at] for at in between):
                found += [at for at in between if at in counted and characters.codes[at] in _WITHOUT_PLACE]
        found.append(number)
    return np.array(found, np.intp)
