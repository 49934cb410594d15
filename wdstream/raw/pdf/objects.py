"""The objects that a PDF page draws, in their order: texts, images, and what may cover a text drawn before it."""

import ctypes
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.calls import pdfium_calls
from wdstream.raw.pdf.places import are_over

Matrix = NDArray[np.float64]
_TEXT, _PATH, _IMAGE, _SHADING, _FORM = 1, 2, 3, 4, 5
_MAX_DEPTH = 30
_EDGE = 0.15
"""Of the lower side of a text's box: covers that reach less far over it are next to it."""
_COVERS_AT_ONCE = 512
_THICK = 3.0
"""Pixels: what is thinner covers no readable letter."""
MIN_FONT_PIXELS = 3.0
"""Height of a font's em in pixels of the rendered page, under which no text is readable: its small letters are one
pixel high, and no two of them look different. Judged by the font, since dots and accents are small in any; and by the
tallest glyph of the text, too, since fonts made of bitmaps may have an em of one unit."""
_ROUNDED = 1.01
_VANISHED = 0.25
"""Pixels: no sign of a font that can be read is lower, or narrower."""
_ORDER = 4


@dataclass(kw_only=True)
class PageObjects:
    """What a page draws; forms are opened. Orders count all texts and areas; a later one is above.

    Attributes:
        found_texts: the text objects.
        spaces: the transforms of their spaces to pixels.
        odd_texts: texts with an invisible or clipping render mode, or with transparency.
        images, covers: (k, 5) left, top, right, bottom in pixels of the rendered page, and order. Covers are filled
            paths, thick strokes, shadings and images that come after the first text.
        cover_handles: (k,) addresses of the covers.
        annotations: of texts in annotations, by address, the number of the annotation.
    """

    found_texts: "FoundObjects"
    spaces: list[Matrix]
    odd_texts: set[int] = field(default_factory=set)
    annotations: dict[int, int] = field(default_factory=dict)
    images: NDArray[np.float32]
    covers: NDArray[np.float32]
    cover_handles: NDArray[np.int64]

    @cached_property
    def texts(self) -> dict[int, int]:
        """Order of each text object, by its address."""
        return dict(zip(self.found_texts.handles, self.found_texts.orders, strict=True))

    @cached_property
    def text_boxes(self) -> NDArray[np.float32]:
        """(k, 5) as `covers`, of the texts in the order of `texts`."""
        return self.found_texts.areas(self.spaces)

    @property
    def has_forms(self) -> bool:
        """Whether some of it is drawn by forms."""
        return len(self.spaces) > 1

    @cached_property
    def least_font_size(self) -> float:
        """How high or, if that is less, how wide the smallest em of the texts is, in pixels; infinite without texts."""
        found, calls = self.found_texts, pdfium_calls()
        if not (count := len(found.handles)):
            return math.inf
        sizes, matrices = np.zeros(count, np.float32), np.zeros((count, 6), np.float32)
        for call, values in ((calls.object_font_size, sizes), (calls.object_matrix, matrices)):
            start, width = values.ctypes.data, values.strides[0]
            deque(map(call, found.handles, range(start, start + count * width, width)), maxlen=0)
        ems = matrices[:, :4].reshape(count, 2, 2) @ np.array(self.spaces)[found.spaces, :, :2].transpose(0, 2, 1)
        areas = np.abs(ems[:, 0, 0] * ems[:, 1, 1] - ems[:, 0, 1] * ems[:, 1, 0])
        longest = np.maximum(np.hypot(ems[..., 0], ems[..., 1]).max(axis=1), 1e-9)
        return float((areas / longest * np.abs(sizes)).min())

    def has_tiny_text(self) -> bool:
        """Whether a text has a font that is too small to read, or one of bitmaps, whose em may be one unit."""
        return self.least_font_size < MIN_FONT_PIXELS * _ROUNDED

    def has_covered_text(self) -> bool:
        """Whether a cover is over a part of the box of an earlier text, more than at its edge."""
        covers = self.covers
        if not len(covers):
            return False
        boxes = self.text_boxes
        boxes = boxes[boxes[:, _ORDER] < covers[-1, _ORDER]]
        edge = (boxes[:, 2:4] - boxes[:, :2]).min(axis=1, keepdims=True) * _EDGE
        inner = np.concatenate([boxes[:, :2] + edge, boxes[:, 2:4] - edge], axis=1)
        for start in range(0, len(covers), _COVERS_AT_ONCE):
            part = covers[start : start + _COVERS_AT_ONCE]
            if (are_over(inner, part) & (boxes[:, _ORDER:] < part[:, _ORDER])).any():
                return True
        return False

    def has_vanished_text(self) -> bool:
        """Whether a text is scaled to nothing. PDFium gives its characters no spans.

        Texts of spaces have no height; in annotations that is only a reason to look more closely.
        """
        sides = self.text_boxes[:, 2:4] - self.text_boxes[:, :2]
        lower = sides.min(axis=1)
        if self.annotations:
            return bool((lower < _VANISHED).any())
        return bool(((lower < _VANISHED) & (lower > 0)).any()) and self.has_tiny_text()

    def clipped_texts(self) -> set[int]:
        """Texts inside a clipping path."""
        calls = pdfium_calls()
        return {handle for handle in self.texts if calls.count_clips(calls.clip_path(handle)) > 0}


def read_objects(page: int, to_pixels: Matrix, num_own: int | None = None) -> PageObjects:
    """Walk the objects of a page.

    Args:
        page: its address.
        to_pixels: (2, 3) transform from its space.
        num_own: how many come before those of annotations; None when there are none of these.
    """
    walk = _Walk()
    calls = pdfium_calls()
    count = calls.count_objects(page)
    num_own = count if num_own is None else num_own
    walk.visit([*map(calls.object_of_page, repeat(page), range(min(num_own, count)))], to_pixels, 0)
    annotations: dict[int, int] = {}
    for number in range(num_own, count):
        for handle, matrix in walk.parts(calls.object_of_page(page, number), to_pixels):
            known = len(walk.texts.handles)
            walk.visit([handle], matrix, 1)
            annotations.update(dict.fromkeys(walk.texts.handles[known:], len(annotations)))
    return walk.found(annotations)


@dataclass(slots=True)
class FoundObjects:
    """Objects of one kind with their orders and the spaces that they are in, by number."""

    handles: list[int] = field(default_factory=list)
    orders: list[int] = field(default_factory=list)
    spaces: list[int] = field(default_factory=list)

    def add(self, handle: int, order: int, space: int) -> None:
        """Put an object with its order and the number of its space after the others."""
        self.handles.append(handle)
        self.orders.append(order)
        self.spaces.append(space)

    def areas(self, spaces: list[Matrix]) -> NDArray[np.float32]:
        """(k, 5) the box of each in pixels and its order; a box of zeros where PDFium has none."""
        count = len(self.handles)
        bounds = np.zeros((count, 4), np.float32)  # left, bottom, right, top, as PDFium writes them
        start = bounds.ctypes.data
        places = (range(start + at, start + at + 16 * count, 16) for at in range(0, 16, 4))
        deque(map(pdfium_calls().bounds, self.handles, *places), maxlen=0)
        left, bottom, right, top = bounds.T.astype(np.float64)
        matrices = np.array(spaces)[self.spaces] if len(spaces) > 1 else np.array(spaces)
        found = np.empty((count, 5), np.float32)
        found[:, _ORDER] = self.orders
        for axis in (0, 1):
            of_x, of_y, shift = matrices[:, axis].T
            x, y = (of_x * left, of_x * right), (of_y * bottom, of_y * top)
            found[:, axis] = np.minimum(*x) + np.minimum(*y) + shift
            found[:, axis + 2] = np.maximum(*x) + np.maximum(*y) + shift
        found[~bounds.any(axis=1), :_ORDER] = 0
        return found


class _Walk:
    """One walk through the tree of objects."""

    def __init__(self) -> None:
        self.texts = FoundObjects()
        self._areas = FoundObjects()
        self._kinds: list[int] = []
        self._odd_texts: set[int] = set()
        self._spaces: list[Matrix] = []
        self._calls = pdfium_calls()
        self._order = 0
        self._reals = (ctypes.c_float * 6)()
        self._numbers = (ctypes.c_int * 2)()

    def visit(self, handles: list[int], matrix: Matrix, depth: int) -> None:
        """The objects of one container, whose space `matrix` takes to pixels."""
        texts, space, calls = self.texts, len(self._spaces), self._calls
        self._spaces.append(matrix)
        seen: list[int] = []
        for handle, kind in zip(handles, map(calls.kind, handles), strict=True):
            if kind == _TEXT:
                self._order += 1
                texts.handles.append(handle)
                texts.orders.append(self._order)
                seen.append(handle)
            elif kind == _FORM:
                texts.spaces += [space] * (len(texts.handles) - len(texts.spaces))
                if depth < _MAX_DEPTH and (parts := [*self.parts(handle, matrix)]):
                    self.visit([part for part, _ in parts], parts[0][1], depth + 1)
            elif kind == _IMAGE or (texts.handles and kind in (_PATH, _SHADING)):
                self._order += 1
                self._areas.add(handle, self._order, space)
                self._kinds.append(kind)
        texts.spaces += [space] * (len(texts.handles) - len(texts.spaces))
        for handle, mode, is_clear in zip(
            seen, map(calls.render_mode, seen), map(calls.has_transparency, seen), strict=True
        ):
            if mode >= 3 or is_clear:
                self._odd_texts.add(handle)

    def parts(self, handle: int, matrix: Matrix) -> Iterator[tuple[int, Matrix]]:
        """The objects in a form and the transform of its space to pixels; PDFium has all annotations in one form."""
        calls = self._calls
        if calls.kind(handle) != _FORM or not calls.object_matrix(handle, ctypes.addressof(self._reals)):
            return
        a, b, c, d, e, f = self._reals
        inner = matrix[:, :2] @ np.array([[a, c, e], [b, d, f]])
        inner[:, 2] += matrix[:, 2]
        for number in range(calls.count_in_form(handle)):
            yield calls.object_of_form(handle, number), inner

    def found(self, annotations: dict[int, int]) -> PageObjects:
        """All that was seen, placed on the picture."""
        areas = self._areas.areas(self._spaces) if self._areas.handles else np.zeros((0, 5), np.float32)
        kinds, handles = np.array(self._kinds, np.int8), np.array(self._areas.handles, np.int64)
        thick = np.minimum(areas[:, 2] - areas[:, 0], areas[:, 3] - areas[:, 1]) >= _THICK
        for number in np.flatnonzero(thick & (kinds == _PATH)):
            thick[number] = self._fills(int(handles[number]))
        first = self.texts.orders[0] if self.texts.orders else np.inf
        covers = thick & (areas[:, _ORDER] > first)
        return PageObjects(
            found_texts=self.texts,
            spaces=self._spaces,
            odd_texts=self._odd_texts,
            annotations=annotations,
            images=areas[thick & (kinds == _IMAGE)],
            covers=areas[covers],
            cover_handles=handles[covers],
        )

    def _fills(self, handle: int) -> bool:
        """Whether a path fills an area, or strokes as thick as one in its own units."""
        fill = ctypes.addressof(self._numbers)
        if not self._calls.draw_mode(handle, fill, fill + 4):
            return False
        if self._numbers[0]:
            return True
        width = ctypes.addressof(self._reals)
        return bool(self._numbers[1] and self._calls.stroke_width(handle, width) and self._reals[0] >= _THICK / 2)
