"""The objects that a PDF page draws, in their order: texts, images, and what may cover a text drawn before it."""

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.calls import argument_of, clip_outlines, is_rectangle, last_clip, pdfium_calls, written_by
from wdstream.raw.pdf.places import Boxes, are_inside, are_over, extent_of

Matrix = NDArray[np.float64]
_PATH, _IMAGE, _SHADING, _FORM = 2, 3, 4, 5
_NO_TEXT, _OUTLINED, _FIRST_ODD_MODE = -1, 1, 3
"""Render modes: what PDFium says of an object that is not a text; an outline alone; invisible, and above it those that
clip."""
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
_MOST_SEGMENTS, _MOST_PAIRS, _MAX_SEGMENTS, _FEWEST_SEGMENTS = 20_000, 1_000_000, 1000, 64
"""Of clipping paths, of which more are not read: of a page, with all points that are compared with them, of one, and of
one where the page has had its share."""
_OPAQUE = 255
OF_PATTERNS = 191
"""Red, green and blue that PDFium says of a text that is filled with a pattern."""
_ROUNDED = 1.01
_VANISHED = 0.25
"""Pixels: no sign that can be read is lower, or narrower."""
_NEAR = 1.0
"""Pixels around the box of a text that PDFium's box of its characters may reach."""
_ORDER = 4
_EVERYWHERE = np.array([-np.inf, -np.inf, np.inf, np.inf], np.float32)
_NOTHING = np.zeros((1, 4), np.float32)  # an outline that has no edges


@dataclass(kw_only=True)
class PageObjects:
    """What a page draws; forms are opened. Orders count all texts and areas; a later one is above.

    Attributes:
        found_texts: the text objects.
        spaces: the transforms of their spaces to pixels.
        odd_texts: texts with an invisible or clipping render mode, or with transparency, of their own or of a form.
        outlined: texts whose letters are drawn by their outlines alone.
        clipped_forms: forms inside a clipping path, which their texts do not have: address, number of the space that
            each is in, and its texts by number.
        images, covers: (k, 5) left, top, right, bottom in pixels of the rendered page, and order. Covers are filled
            paths, thick strokes, shadings and images that come after the first text.
        cover_handles: (k,) addresses of the covers.
        annotations: of texts in annotations, by address, the number of the annotation.
        edges: once `cuts` are known, the same of texts over the left or right edge of a rectangle, be it only a little.
    """

    found_texts: "FoundObjects"
    spaces: list[Matrix]
    odd_texts: set[int] = field(default_factory=set)
    outlined: set[int] = field(default_factory=set)
    clipped_forms: list[tuple[int, int, range]] = field(default_factory=list)
    annotations: dict[int, int] = field(default_factory=dict)
    edges: dict[int, Boxes] = field(default_factory=dict)
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
    def paths(self) -> NDArray[np.float32]:
        """(k, 5) those of `covers` that are not images."""
        return self.covers[~np.isin(self.covers[:, _ORDER], self.images[:, _ORDER])]

    @property
    def has_forms(self) -> bool:
        """Whether some of it is drawn by forms."""
        return len(self.spaces) > 1

    def least_font_size(self, numbers: NDArray[np.intp] | None = None) -> float:
        """How high or, if that is less, how wide the smallest em of the texts, or of these by number, is, in pixels;
        infinite without texts."""
        found, calls = self.found_texts, pdfium_calls()
        numbers = np.arange(len(found.handles)) if numbers is None else numbers
        if not (count := len(numbers)):
            return math.inf
        handles = [argument_of(found.handles[number]) for number in numbers.tolist()]
        sizes, matrices = (
            written_by(call, handles, kind=ctypes.c_float, num_numbers=num_numbers)
            for call, num_numbers in ((calls.object_font_size, 1), (calls.object_matrix, 6))
        )
        spaces = np.array(found.spaces)[numbers]
        ems = matrices[:, :4].reshape(count, 2, 2) @ np.array(self.spaces)[spaces, :, :2].transpose(0, 2, 1)
        areas = np.abs(ems[:, 0, 0] * ems[:, 1, 1] - ems[:, 0, 1] * ems[:, 1, 0])
        longest = np.maximum(np.hypot(ems[..., 0], ems[..., 1]).max(axis=1), 1e-9)
        return float((areas / longest * np.abs(sizes[:, 0])).min())

    def has_tiny_text(self, boxes: NDArray[np.float32]) -> bool:
        """Whether a text has a font that is too small to read, or one of bitmaps, whose em may be one unit.

        Args:
            boxes: (k, 4) where it would be, in pixels: of each text the size is asked for, so those elsewhere are not.
        """
        numbers = None
        if not self.has_forms:  # PDFium has some text in forms elsewhere than it is drawn
            around = boxes + np.array([-_NEAR, -_NEAR, _NEAR, _NEAR], np.float32)
            are_near = are_over(around, self.text_boxes)
            numbers = np.flatnonzero(are_near.any(axis=0)) if are_near.any(axis=1).all() else None
        return self.least_font_size(numbers) < MIN_FONT_PIXELS * _ROUNDED

    def texts_under_images(self) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
        """Texts that have a later image over a part of their box, more than at its edge, and these covers, by number;
        None where something else is over a text."""
        covers = self.covers
        if not len(covers):
            return np.arange(0), np.arange(0)
        boxes = self.text_boxes
        boxes = boxes[boxes[:, _ORDER] < covers[-1, _ORDER]]
        inner, texts, over = _without_edges(boxes), np.zeros(len(boxes), np.bool_), np.zeros(len(covers), np.bool_)
        for start in range(0, len(covers), _COVERS_AT_ONCE):
            part = covers[start : start + _COVERS_AT_ONCE]
            pairs = are_over(inner, part) & (boxes[:, _ORDER:] < part[:, _ORDER])
            if pairs.any():
                texts |= pairs.any(axis=1)
                found = pairs.any(axis=0)
                over[start : start + len(part)] = found
                if not np.isin(part[found, _ORDER], self.images[:, _ORDER]).all():
                    return None
        return texts.nonzero()[0], over.nonzero()[0]

    def flat_texts(self) -> list[int]:
        """Texts without height or without width, by address: scaled to nothing, of a font that is not in the file and
        whose letters no other has, or spaces. In annotations those with neither count, too."""
        left, top, right, bottom, _ = self.text_boxes.T
        width, height = right - left, bottom - top
        is_flat = np.minimum(width, height) < _VANISHED
        is_flat &= bool(self.annotations) | (np.maximum(width, height) > 0)
        return [self.found_texts.handles[number] for number in is_flat.nonzero()[0].tolist()]

    def colours(self) -> NDArray[np.int32]:
        """(k, 3) red, green and blue that each text is filled with, or outlined."""
        calls, handles = pdfium_calls(), self.found_texts.handles
        found = _colours(calls.object_fill, handles)
        if self.outlined:
            outlined, found = [number for number, handle in enumerate(handles) if handle in self.outlined], found.copy()
            found[outlined] = _colours(calls.object_stroke, [handles[number] for number in outlined])
        return found

    @cached_property
    def clipped_texts(self) -> list[int]:
        """Texts inside a clipping path, by number."""
        calls = pdfium_calls()
        paths = map(calls.clip_path, self.found_texts.handles)
        return [number for number, path in enumerate(paths) if calls.count_clips(path) > 0]

    @cached_property
    def cuts(self) -> dict[int, Boxes]:
        """Of texts of whose box a clipping path leaves out more than an edge, or may, by address: (4,) around what the
        paths leave of the page, in pixels. Figures of which a part is shown have the rest of their text under the
        page's own."""
        if not self.clipped_texts and not self.clipped_forms:
            return {}
        found, boxes = self.found_texts, self.text_boxes[:, :4]
        are_boxes, spaces = [*map(any, boxes.tolist())], found.spaces
        are_upright = [not (matrix[0, 1] or matrix[1, 0]) for matrix in self.spaces]
        groups: dict[tuple[float, ...], list[int]] = {}
        rectangles: dict[int, tuple[float, ...]] = {}
        for number in self.clipped_texts:
            clip = last_clip(found.handles[number]) if are_boxes[number] else None
            if clip is not None and are_upright[spaces[number]] and is_rectangle(clip):
                rectangles[number] = clip[2:4] + clip[6:8]
            elif clip is not None:
                groups.setdefault((spaces[number], *clip), []).append(number)
        cuts = self._cut_by_rectangles(rectangles)
        left_to_read = _MOST_SEGMENTS
        clipped = [(found.handles[numbers[0]], spaces[numbers[0]], numbers) for numbers in groups.values()]
        for form, space, texts in self.clipped_forms:
            if numbers := [number for number in texts if are_boxes[number]]:
                clipped.append((form, space, numbers))
        for handle, space, numbers in clipped:
            if left_to_read < -_MOST_SEGMENTS:  # paths in paths in paths: the picture tells
                cuts.update((found.handles[number], _EVERYWHERE) for number in numbers)
                continue
            inner = _without_edges(boxes[numbers], least=_NEAR)
            corners = np.concatenate([inner[:, [x, y]] for x in (0, 2) for y in (1, 3)])
            most = max(_FEWEST_SEGMENTS, min(_MAX_SEGMENTS, _MOST_PAIRS // len(corners), left_to_read))
            outlines = clip_outlines(handle, self.spaces[space], most)
            left_to_read -= sum(map(len, outlines))
            inside = np.logical_and.reduce([are_inside(corners, outline) for outline in outlines])
            is_cut = ~inside.reshape(4, -1).all(axis=0)
            if is_cut.any():
                shown = [outline.astype(np.float32) if len(outline) else _NOTHING for outline in outlines]
                extents = np.array([*map(extent_of, shown)])
                left = np.append(extents[:, :2].max(axis=0), extents[:, 2:].min(axis=0))
                cuts.update((found.handles[number], left) for number in np.array(numbers)[is_cut].tolist())
        return cuts

    def _cut_by_rectangles(self, rectangles: dict[int, tuple[float, ...]]) -> dict[int, Boxes]:
        """The same of texts, by number, in one clipping path with two opposite corners at these places."""
        numbers = [*rectangles]
        if not numbers:
            return {}
        matrices = np.array([self.spaces[self.found_texts.spaces[number]] for number in numbers])
        scales, moves = matrices[:, [0, 1], [0, 1]], matrices[:, :, 2]
        corners = np.array([*rectangles.values()]).reshape(-1, 2, 2) * scales[:, None] + moves[:, None]
        left = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
        boxes = self.text_boxes[numbers]
        is_over = np.maximum(left[:, 0] - boxes[:, 0], boxes[:, 2] - left[:, 2]) > _VANISHED
        self.edges = {self.found_texts.handles[numbers[at]]: left[at] for at in np.flatnonzero(is_over).tolist()}
        inner = _without_edges(boxes, least=_NEAR)
        is_cut = np.concatenate([inner[:, :2] < left[:, :2], inner[:, 2:] > left[:, 2:]], axis=1).any(axis=1)
        return {self.found_texts.handles[numbers[at]]: left[at] for at in np.flatnonzero(is_cut).tolist()}


def read_objects(page: int, to_pixels: Matrix, num_own: int | None = None, *, has_masks: bool = False) -> PageObjects:
    """Walk the objects of a page.

    Args:
        page: its address.
        to_pixels: (2, 3) transform from its space.
        num_own: how many come before those of annotations; None when there are none of these.
        has_masks: whether the document has masks for what forms draw.
    """
    walk = _Walk(has_masks=has_masks)
    calls = pdfium_calls()
    count, of_page = calls.count_objects(page), argument_of(page)
    num_own = count if num_own is None else num_own
    walk.visit([*map(calls.object_of_page, repeat(of_page), range(min(num_own, count)))], to_pixels, 0)
    annotations: dict[int, int] = {}
    for number in range(num_own, count):
        for handle, matrix in walk.parts(calls.object_of_page(of_page, number), to_pixels):
            known = len(walk.texts.handles)
            walk.visit([handle], matrix, 1)
            annotations.update(dict.fromkeys(walk.texts.handles[known:], len(annotations)))
    return walk.found(annotations)


def _colours(call: Callable[..., Any], handles: Sequence[int]) -> NDArray[np.int32]:
    """(k, 3) as `PageObjects.colours`."""
    return written_by(call, map(argument_of, handles), kind=ctypes.c_uint, num_places=4)[:, :3].view(np.int32)


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
        arguments = map(argument_of, self.handles)
        bounds = written_by(pdfium_calls().bounds, arguments, kind=ctypes.c_float, num_places=4)
        left, bottom, right, top = bounds.T.astype(np.float64)
        matrices = np.array(spaces)[self.spaces] if len(spaces) > 1 else np.array(spaces)
        found = np.empty((len(bounds), 5), np.float32)
        found[:, _ORDER] = self.orders
        for axis in (0, 1):
            of_x, of_y, shift = matrices[:, axis].T
            x, y = (of_x * left, of_x * right), (of_y * bottom, of_y * top)
            found[:, axis] = np.minimum(*x) + np.minimum(*y) + shift
            found[:, axis + 2] = np.maximum(*x) + np.maximum(*y) + shift
        found[(left == 0) & (bottom == 0) & (right == 0) & (top == 0), :_ORDER] = 0
        return found


def _without_edges(boxes: NDArray[np.float32], *, least: float = 0.0) -> NDArray[np.float32]:
    """(k, 4) what is left of (k, 4 or more) boxes without edges of at least `least` pixels."""
    edges = np.maximum((boxes[:, 2:4] - boxes[:, :2]).min(axis=1, keepdims=True) * _EDGE, np.float32(least))
    return np.concatenate([boxes[:, :2] + edges, boxes[:, 2:4] - edges], axis=1)


class _Walk:
    """One walk through the tree of objects."""

    def __init__(self, *, has_masks: bool) -> None:
        self._has_masks = has_masks
        self.texts = FoundObjects()
        self._areas = FoundObjects()
        self._kinds: list[int] = []
        self._odd_texts: set[int] = set()
        self._outlined: set[int] = set()
        self._clipped_forms: list[tuple[int, int, range]] = []
        self._spaces: list[Matrix] = []
        self._calls = pdfium_calls()
        self._order = 1  # of the next object
        self._reals = (ctypes.c_float * 6)()
        self._numbers = (ctypes.c_int * 2)()

    def visit(self, handles: list[int], matrix: Matrix, depth: int) -> None:
        """The objects of one container, whose space `matrix` takes to pixels."""
        space, calls = len(self._spaces), self._calls
        self._spaces.append(matrix)
        modes = [*map(calls.render_mode, handles)]
        others = [number for number, mode in enumerate(modes) if mode == _NO_TEXT]
        first_text = next((number for number, mode in enumerate(modes) if mode != _NO_TEXT), len(modes))
        begin = 0
        for at, kind in zip(others, map(calls.kind, [handles[number] for number in others]), strict=True):
            if kind == _FORM:
                self._add_texts(handles[begin:at], modes[begin:at], space)
                begin = at + 1
                if depth < _MAX_DEPTH and (parts := [*self.parts(handles[at], matrix)]):
                    known = len(self.texts.handles)
                    self.visit([part for part, _ in parts], parts[0][1], depth + 1)
                    end = len(self.texts.handles)
                    if end > known and calls.count_clips(calls.clip_path(handles[at])) > 0:
                        self._clipped_forms.append((handles[at], space, range(known, end)))
                    if self._may_fade(handles[at]):
                        self._odd_texts.update(self.texts.handles[known:])
            elif kind == _IMAGE or (kind in (_PATH, _SHADING) and (first_text < at or self.texts.handles)):
                self._areas.add(handles[at], self._order + at - begin, space)
                self._kinds.append(kind)
        self._add_texts(handles[begin:], modes[begin:], space)

    def _may_fade(self, form: int) -> bool:
        """Whether a form may be drawn with less than full opacity. PDFium does not tell a mask from a group."""
        opacity = written_by(self._calls.object_fill, [argument_of(form)], kind=ctypes.c_uint, num_places=4)[0, 3]
        return bool(opacity < _OPAQUE or (self._has_masks and self._calls.has_transparency(form)))

    def _add_texts(self, handles: list[int], modes: list[int], space: int) -> None:
        """The texts among objects that follow each other, none of which is a form."""
        are_texts = [mode != _NO_TEXT for mode in modes]
        texts = [*compress(handles, are_texts)]
        self.texts.handles += texts
        self.texts.orders += compress(range(self._order, self._order + len(handles)), are_texts)
        self.texts.spaces += [space] * len(texts)
        self._order += len(handles)
        self._odd_texts.update(compress(texts, map(self._calls.has_transparency, texts)))
        if max(modes, default=_NO_TEXT) >= _FIRST_ODD_MODE:
            self._odd_texts.update(compress(handles, [mode >= _FIRST_ODD_MODE for mode in modes]))
        if _OUTLINED in modes:
            self._outlined.update(compress(handles, [mode == _OUTLINED for mode in modes]))

    def parts(self, handle: int, matrix: Matrix) -> Iterator[tuple[int, Matrix]]:
        """The objects in a form and the transform of its space to pixels; PDFium has all annotations in one form."""
        calls = self._calls
        if calls.kind(handle) != _FORM or not calls.object_matrix(argument_of(handle), ctypes.byref(self._reals)):
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
            outlined=self._outlined,
            clipped_forms=self._clipped_forms,
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
