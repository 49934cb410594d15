"""The objects that a PDF page draws, in their order: texts, images, and what may cover a text drawn before it."""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.calls import pdfium_calls
from wdstream.raw.pdf.places import shared_areas

Matrix = NDArray[np.float64]
_TEXT, _PATH, _IMAGE, _SHADING, _FORM = 1, 2, 3, 4, 5
_MAX_DEPTH = 30
_EDGE = 0.15
"""Of the lower side of a text's box: covers that reach less far over it are next to it."""
_COVERS_AT_ONCE = 512
_THICK = 3.0
"""Pixels: what is thinner covers no readable letter."""


@dataclass(slots=True, kw_only=True)
class PageObjects:
    """What a page draws; forms are opened. Orders count all texts, images and covers; a later one is above.

    Attributes:
        texts: order of each text object, by its address.
        odd_texts: texts with an invisible or clipping render mode, or with transparency.
        clipped_texts: texts inside a clipping path.
        images, covers: (k, 5) left, top, right, bottom in pixels of the rendered page, and order. Covers are filled
            paths, thick strokes, shadings and images that come after the first text.
        annotations: of texts in annotations, by address, the number of the annotation.
        text_boxes: (k, 5) the same of the texts, in the order of `texts`.
    """

    texts: dict[int, int] = field(default_factory=dict)
    odd_texts: set[int] = field(default_factory=set)
    clipped_texts: set[int] = field(default_factory=set)
    annotations: dict[int, int] = field(default_factory=dict)
    images: NDArray[np.float32]
    covers: NDArray[np.float32]
    text_boxes: NDArray[np.float32]

    def has_covered_text(self) -> bool:
        """Whether a cover is over a part of the box of an earlier text, more than at its edge."""
        covers, boxes = self.covers, self.text_boxes
        if not len(covers):
            return False
        boxes = boxes[boxes[:, 4] < covers[-1, 4]]
        edge = (boxes[:, 2:4] - boxes[:, :2]).min(axis=1, keepdims=True) * _EDGE
        inner = np.concatenate([boxes[:, :2] + edge, boxes[:, 2:4] - edge], axis=1)
        for start in range(0, len(covers), _COVERS_AT_ONCE):
            part = covers[start : start + _COVERS_AT_ONCE]
            if ((shared_areas(inner, part[:, :4]) > 0) & (boxes[:, 4:] < part[:, 4])).any():
                return True
        return False


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
    walk.visit((calls.object_of_page(page, number) for number in range(min(num_own, count))), to_pixels, 0)
    annotations: dict[int, int] = {}
    for number in range(num_own, count):
        for handle, matrix in walk.parts(calls.object_of_page(page, number), to_pixels):
            known = len(walk.texts)
            walk.visit(iter([handle]), matrix, 1)
            annotations.update(dict.fromkeys([*walk.texts][known:], len(annotations)))
    return PageObjects(
        texts=walk.texts,
        odd_texts=walk.odd_texts,
        clipped_texts=walk.clipped_texts,
        annotations=annotations,
        images=_array(walk.images),
        covers=_array(walk.covers),
        text_boxes=_array(walk.text_boxes),
    )


class _Walk:
    """One walk through the tree of objects."""

    def __init__(self) -> None:
        self.texts: dict[int, int] = {}
        self.odd_texts: set[int] = set()
        self.clipped_texts: set[int] = set()
        self.images: list[tuple[float, ...]] = []
        self.covers: list[tuple[float, ...]] = []
        self.text_boxes: list[tuple[float, ...]] = []
        self._calls = pdfium_calls()
        self._order = 0
        self._reals = (ctypes.c_float * 6)()
        self._numbers = (ctypes.c_int * 2)()

    def visit(self, handles: Iterator[int], matrix: Matrix, depth: int) -> None:
        """The objects of one container, whose space `matrix` takes to pixels."""
        for handle in handles:
            kind = self._calls.kind(handle)
            if kind == _TEXT:
                self._text(handle, matrix)
            elif kind == _FORM and depth < _MAX_DEPTH:
                self._form(handle, matrix, depth)
            elif kind == _IMAGE or (self.texts and (kind == _SHADING or (kind == _PATH and self._fills(handle)))):
                self._area(handle, matrix, is_image=kind == _IMAGE)

    def _text(self, handle: int, matrix: Matrix) -> None:
        calls = self._calls
        self._order += 1
        self.texts[handle] = self._order
        self.text_boxes.append((*(self._box(handle, matrix) or (0.0,) * 4), float(self._order)))
        if calls.render_mode(handle) >= 3 or calls.has_transparency(handle):
            self.odd_texts.add(handle)
        if calls.count_clips(calls.clip_path(handle)) > 0:
            self.clipped_texts.add(handle)

    def _form(self, handle: int, matrix: Matrix, depth: int) -> None:
        parts = [*self.parts(handle, matrix)]
        if parts:
            self.visit((part for part, _ in parts), parts[0][1], depth + 1)

    def parts(self, handle: int, matrix: Matrix) -> Iterator[tuple[int, Matrix]]:
        """The objects in a form and the transform of its space to pixels; PDFium has all annotations in one form."""
        calls = self._calls
        if calls.kind(handle) != _FORM or not calls.form_matrix(handle, ctypes.addressof(self._reals)):
            return
        a, b, c, d, e, f = self._reals
        inner = matrix[:, :2] @ np.array([[a, c, e], [b, d, f]])
        inner[:, 2] += matrix[:, 2]
        for number in range(calls.count_in_form(handle)):
            yield calls.object_of_form(handle, number), inner

    def _fills(self, handle: int) -> bool:
        """Whether a path fills an area, or strokes as thick as one in its own units."""
        fill = ctypes.addressof(self._numbers)
        if not self._calls.draw_mode(handle, fill, fill + 4):
            return False
        if self._numbers[0]:
            return True
        width = ctypes.addressof(self._reals)
        return bool(self._numbers[1] and self._calls.stroke_width(handle, width) and self._reals[0] >= _THICK / 2)

    def _box(self, handle: int, matrix: Matrix) -> tuple[float, float, float, float] | None:
        """The box of an object in pixels: left, top, right, bottom."""
        start = ctypes.addressof(self._reals)
        if not self._calls.bounds(handle, start, start + 4, start + 8, start + 12):
            return None
        left, bottom, right, top = self._reals[:4]
        (a, c, e), (b, d, f) = matrix.tolist()
        across = sorted((a * left, a * right)), sorted((b * left, b * right))
        up = sorted((c * bottom, c * top)), sorted((d * bottom, d * top))
        return (
            across[0][0] + up[0][0] + e,
            across[1][0] + up[1][0] + f,
            across[0][1] + up[0][1] + e,
            across[1][1] + up[1][1] + f,
        )

    def _area(self, handle: int, matrix: Matrix, *, is_image: bool) -> None:
        box = self._box(handle, matrix)
        if box is None or min(box[2] - box[0], box[3] - box[1]) < _THICK:
            return
        self._order += 1
        area = (*box, float(self._order))
        if is_image:
            self.images.append(area)
        if self.texts:
            self.covers.append(area)


def _array(areas: list[tuple[float, ...]]) -> NDArray[np.float32]:
    return np.array(areas, np.float32).reshape(-1, 5)
