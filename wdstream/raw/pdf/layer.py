"""The text layer of a drawn page: what is cheap at once, all of its characters only where something looks wrong."""

import ctypes
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.calls import address, pdfium_calls, pointer_to, written_by
from wdstream.raw.pdf.characters import (
    PageCharacters,
    find_span,
    is_lone_surrogate,
    read_boxes,
    read_characters,
    read_spans,
    read_unplaced,
)
from wdstream.text.characters import beyond_ascii

_SPACE = 0x20
_TURNED = 5.0
"""In degrees: text that is turned by more from a right angle is not at one."""
_HYPHEN_MARK = "\ufffe"
"""In PDFium's text, a hyphen that breaks a word; or no character at all."""
_AWAY = 1.0
"""In ems: characters that are further from their text object than this are not where PDFium says."""


class TextLayer:
    """The n characters of an open text page, for as long as it is open.

    Attributes:
        text: what PDFium gives as the page's text, not normalised.
        num_characters: n.
        may_hide_spaces: whether spaces may be gaps inside texts, which PDFium takes for kerning.
    """

    def __init__(self, text_page: Any, num_characters: int, to_pixels: NDArray[np.float64]) -> None:
        self._text_page = text_page
        self._to_pixels = to_pixels
        self.num_characters = num_characters
        self.may_hide_spaces = False
        self.text = str(text_page.get_text_range()) if num_characters else ""

    @cached_property
    def text_codes(self) -> NDArray[np.uint32]:
        """Code points of the text."""
        return np.frombuffer(self.text.encode("utf-32-le", "surrogatepass"), "<u4")

    @cached_property
    def codes(self) -> NDArray[np.uint32]:
        """(n,) code points; where PDFium's text has one for each character they are those of the text."""
        if len(self.text) == self.num_characters:
            return self.text_codes
        code, handle = pdfium_calls().code, pointer_to(self._text_page.raw)
        return np.fromiter((code(handle, number) for number in range(self.num_characters)), np.uint32)

    @cached_property
    def others(self) -> str:
        """The different ones of `codes` that are not of ASCII, in any order; U+FFFD where a code is not one."""
        if len(self.text) == self.num_characters:
            return beyond_ascii(self.text)
        return beyond_ascii(self.codes.astype("<u4").tobytes().decode("utf-32-le", "replace"))

    @cached_property
    def has_unmapped(self) -> bool:
        """Whether one of the characters, other than spaces, has no map to Unicode in its font, or one to nothing."""
        map_error, handle = pdfium_calls().map_error, pointer_to(self._text_page.raw)
        numbers = np.flatnonzero(self.codes != _SPACE).tolist()  # a sixth fewer, of the longest look at most pages
        return any(map(map_error, repeat(handle), numbers)) or self._has_empty_maps

    @cached_property
    def _has_empty_maps(self) -> bool:
        """Whether a font maps a character to U+0000, which the text has as a hyphen, or to half of a pair of
        surrogates, which it does not have."""
        if len(self.text) == self.num_characters:
            if _HYPHEN_MARK not in self.others:
                return False
            code, handle = pdfium_calls().code, pointer_to(self._text_page.raw)
            return 0 in map(code, repeat(handle), np.flatnonzero(self.text_codes == ord(_HYPHEN_MARK)).tolist())
        return bool((self.codes == 0).any() or is_lone_surrogate(self.codes).any())

    @cached_property
    def spans(self) -> NDArray[np.float32]:
        """(k, 4) boxes around the characters of each text object, in pixels."""
        return read_spans(self._text_page, self._to_pixels)

    def text_of_object(self, handle: int) -> str:
        """The characters of a text object, by its address."""
        ask, page = pdfium_calls().object_text, address(self._text_page.raw)
        buffer = ctypes.create_string_buffer(ask(handle, page, None, 0))
        ask(handle, page, ctypes.addressof(buffer), len(buffer))
        return buffer.raw.decode("utf-16-le", "surrogatepass").rstrip("\0")

    def texts_of_spans(self, numbers: Sequence[int]) -> list[str]:
        """The text where each of some spans is, by number."""
        if not numbers:
            return []
        # PDFium numbers those that were counted last
        pdfium_calls().count_rects(pointer_to(self._text_page.raw), 0, -1)
        return [str(self._text_page.get_text_bounded(*self._text_page.get_rect(number))) for number in numbers]

    def characters_of_spans(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """The characters of some of the spans, by number; each costs a few dozen calls."""
        found = [find_span(self._text_page, number, self.num_characters) for number in numbers.tolist()]
        return np.concatenate([np.arange(0), *(np.arange(*ends) for ends in found)])

    @cached_property
    def boxes(self) -> NDArray[np.float32]:
        """(n, 4), as `PageCharacters.boxes`."""
        return read_boxes(self._text_page, range(self.num_characters), self._to_pixels)

    def boxes_of(self, numbers: NDArray[np.intp]) -> NDArray[np.float32]:
        """(k, 4) boxes of some characters, by number; a few take far less time than all."""
        if "boxes" in self.__dict__:  # all were read before
            return self.boxes[numbers]
        return read_boxes(self._text_page, numbers.tolist(), self._to_pixels)

    def cells_of(self, numbers: NDArray[np.intp]) -> NDArray[np.float64]:
        """(k, 4) left, bottom, right and top of what the fonts give some characters, by number, in the page's space:
        as wide as the next one is away, as high as a line; zeros for what has no place."""
        handle = pointer_to(self._text_page.raw)
        cells = written_by(
            pdfium_calls().cell, repeat(handle), numbers.tolist(), kind=ctypes.c_float
        )  # left, top, right, bottom
        return cells[:, [0, 3, 2, 1]].astype(np.float64)

    def quarters_of(self, numbers: NDArray[np.intp]) -> NDArray[np.int8]:
        """(k,) right angles, clockwise, by which some characters are turned in the page's space; -1 for others."""
        angle, handle = pdfium_calls().angle, pointer_to(self._text_page.raw)
        angles = np.degrees(np.fromiter(map(angle, repeat(handle), numbers.tolist()), np.float64, len(numbers)))
        quarters = np.round(angles / 90)
        return np.where(np.abs(angles - 90 * quarters) < _TURNED, quarters % 4, -1).astype(np.int8)

    def are_put_in(self, numbers: NDArray[np.intp]) -> NDArray[np.bool_]:
        """(k,) which of some blanks, by number, PDFium has put in."""
        is_generated, handle = pdfium_calls().is_generated, pointer_to(self._text_page.raw)
        return np.fromiter((is_generated(handle, number) == 1 for number in numbers.tolist()), np.bool_, len(numbers))

    def put_in_place(self, handles: Sequence[int], boxes: NDArray[np.float32]) -> bool:
        """Give characters that are far from what draws them its place: PDFium forgets that a form is moved or scaled
        where a text is named (`/ActualText`), as browsers name joined letters.

        Args:
            handles: addresses of k text objects.
            boxes: (k, 4) of these in pixels.

        Returns:
            Whether some were moved; then `boxes` and `characters` are other ones.
        """
        characters = self.characters
        place = {handle: number for number, handle in enumerate(handles)}
        numbers = np.array([*(place.get(handle, -1) for handle in characters.objects.handles), -1], np.intp)
        drawn_by = numbers[characters.object_number]
        has_box = (self.boxes[:, 2:] > self.boxes[:, :2]).all(axis=1)
        known = np.flatnonzero((drawn_by >= 0) & has_box)
        ours, theirs = self.boxes[known], boxes[drawn_by[known]]
        away = np.maximum(ours[:, :2] - theirs[:, 2:], theirs[:, :2] - ours[:, 2:]).max(axis=1)
        wrong = away > _AWAY * characters.objects.font_sizes[characters.object_number[known]]
        if not wrong.any():
            return False
        self.boxes = self.boxes.copy()
        self.boxes[known[wrong]] = theirs[wrong]
        self.characters = replace(characters, boxes=self.boxes)
        return True

    @cached_property
    def unplaced(self) -> PageCharacters:
        """The characters without their places and looks, as `read_unplaced` has them."""
        return read_unplaced(self._text_page, self.text_codes, self.num_characters)

    @cached_property
    def characters(self) -> PageCharacters:
        """All that is known of each character; takes a few microseconds per character."""
        return read_characters(self._text_page, self.unplaced, self._to_pixels, self.boxes)
