"""Functions of PDFium, called with addresses as plain integers, and the memory that it draws in.

pypdfium2 checks and converts the arguments of each call, which costs more than most calls themselves; where they are
made for every object of a page, these are three times as fast. Those of characters convert nothing at all, which halves
their time again: they take pointers as they are (`pointer_to`). The memory of the last picture serves the
next, where it is large enough: memory that is fresh from the system costs a tenth of drawing a page.
"""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import SourceError, needs_extra
from wdstream.raw.pdf.places import PictureArea
from wdstream.records import Size

_Call = Callable[..., Any]
_MAX_SPARE_BYTES = 64 << 20
_BYTES_PER_PIXEL = 4
_WHITE = 0xFF
_AS_NUMPY: dict[Any, np.dtype[Any]] = {
    ctypes.c_float: np.dtype(np.float32),
    ctypes.c_double: np.dtype(np.float64),
    ctypes.c_uint: np.dtype(np.uint32),
}
_NAME, _LONGEST_NAME = b"ActualText", 1 << 16
_MOVE_TO, _FEW = 2, 5  # kind of a segment; points of a closed rectangle
_spare: list[Any] = []
_FROM_RIGHT = b"R2L\0"
_WITHOUT_PREFERENCES = b"""%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R/ViewerPreferences<<>>>> endobj
2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>> endobj
trailer <</Root 1 0 R>>
%%EOF"""


def address(pointer: Any) -> int:
    """The address that a ctypes pointer of pypdfium2 holds; 0 for a null pointer."""
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def pointer_to(pointer: Any) -> Any:
    """The same as an argument that any of the calls takes as it is."""
    return argument_of(address(pointer))


argument_of: Callable[[int], Any] = ctypes.c_void_p.from_param
"""An address as such an argument."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfiumCalls:
    """Each takes addresses, numbers, and addresses where it writes; failing returns 0, or -1 as PDFium says.

    The first fourteen take a page or object as `pointer_to` or `argument_of` have it, and numbers; `written_by` calls
    those that write numbers.
    """

    code: _Call
    box: _Call
    is_generated: _Call
    map_error: _Call
    text_object: _Call
    count_rects: _Call
    rect: _Call
    cell: _Call
    bounds: _Call
    object_matrix: _Call
    object_font_size: _Call
    object_fill: _Call
    object_stroke: _Call
    object_of_page: _Call
    matrix: _Call
    font_size: _Call
    fill: _Call
    stroke: _Call
    angle: _Call
    render_mode: _Call
    font: _Call
    object_text: _Call
    page_to_device: _Call
    count_objects: _Call
    count_in_form: _Call
    object_of_form: _Call
    kind: _Call
    count_marks: _Call
    mark: _Call
    kind_in_mark: _Call
    text_in_mark: _Call
    remove_mark: _Call
    has_transparency: _Call
    draw_mode: _Call
    stroke_width: _Call
    clip_path: _Call
    count_clips: _Call
    count_segments: _Call
    segment: _Call
    segment_kind: _Call
    point: _Call
    set_active: _Call


_POINTER, _NUMBER, _REAL = ctypes.c_void_p, ctypes.c_int, ctypes.c_double
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "code": ("FPDFText_GetUnicode", ctypes.c_uint),
    "box": ("FPDFText_GetCharBox", _NUMBER),
    "is_generated": ("FPDFText_IsGenerated", _NUMBER),
    "map_error": ("FPDFText_HasUnicodeMapError", _NUMBER),
    "text_object": ("FPDFText_GetTextObject", ctypes.c_size_t),
    "count_rects": ("FPDFText_CountRects", _NUMBER),
    "matrix": ("FPDFText_GetMatrix", _NUMBER, _POINTER, _NUMBER, _POINTER),
    "font_size": ("FPDFText_GetFontSize", _REAL, _POINTER, _NUMBER),
    "fill": ("FPDFText_GetFillColor", _NUMBER, _POINTER, _NUMBER, _POINTER, _POINTER, _POINTER, _POINTER),
    "stroke": ("FPDFText_GetStrokeColor", _NUMBER, _POINTER, _NUMBER, _POINTER, _POINTER, _POINTER, _POINTER),
    "rect": ("FPDFText_GetRect", _NUMBER),
    "cell": ("FPDFText_GetLooseCharBox", _NUMBER),
    "bounds": ("FPDFPageObj_GetBounds", _NUMBER),
    "object_matrix": ("FPDFPageObj_GetMatrix", _NUMBER),
    "object_font_size": ("FPDFTextObj_GetFontSize", _NUMBER),
    "object_fill": ("FPDFPageObj_GetFillColor", _NUMBER),
    "object_stroke": ("FPDFPageObj_GetStrokeColor", _NUMBER),
    "object_of_page": ("FPDFPage_GetObject", _POINTER),
    "angle": ("FPDFText_GetCharAngle", ctypes.c_float, _POINTER, _NUMBER),
    "render_mode": ("FPDFTextObj_GetTextRenderMode", _NUMBER, _POINTER),
    "font": ("FPDFTextObj_GetFont", ctypes.c_size_t, _POINTER),
    "object_text": ("FPDFTextObj_GetText", ctypes.c_ulong, _POINTER, _POINTER, _POINTER, ctypes.c_ulong),
    "page_to_device": ("FPDF_PageToDevice", _NUMBER, _POINTER, *[_NUMBER] * 5, _REAL, _REAL, _POINTER, _POINTER),
    "count_objects": ("FPDFPage_CountObjects", _NUMBER, _POINTER),
    "count_in_form": ("FPDFFormObj_CountObjects", _NUMBER, _POINTER),
    "object_of_form": ("FPDFFormObj_GetObject", _POINTER, _POINTER, ctypes.c_ulong),
    "kind": ("FPDFPageObj_GetType", _NUMBER, _POINTER),
    "count_marks": ("FPDFPageObj_CountMarks", _NUMBER, _POINTER),
    "mark": ("FPDFPageObj_GetMark", ctypes.c_size_t, _POINTER, ctypes.c_ulong),
    "kind_in_mark": ("FPDFPageObjMark_GetParamValueType", _NUMBER, _POINTER, ctypes.c_char_p),
    "text_in_mark": (
        *("FPDFPageObjMark_GetParamStringValue", _NUMBER, _POINTER, ctypes.c_char_p),
        *(_POINTER, ctypes.c_ulong, _POINTER),
    ),
    "remove_mark": ("FPDFPageObj_RemoveMark", _NUMBER, _POINTER, _POINTER),
    "has_transparency": ("FPDFPageObj_HasTransparency", _NUMBER, _POINTER),
    "draw_mode": ("FPDFPath_GetDrawMode", _NUMBER, _POINTER, _POINTER, _POINTER),
    "stroke_width": ("FPDFPageObj_GetStrokeWidth", _NUMBER, _POINTER, _POINTER),
    "clip_path": ("FPDFPageObj_GetClipPath", _POINTER, _POINTER),
    "count_clips": ("FPDFClipPath_CountPaths", _NUMBER, _POINTER),
    "count_segments": ("FPDFClipPath_CountPathSegments", _NUMBER, _POINTER, _NUMBER),
    "segment": ("FPDFClipPath_GetPathSegment", _POINTER, _POINTER, _NUMBER, _NUMBER),
    "segment_kind": ("FPDFPathSegment_GetType", _NUMBER, _POINTER),
    "point": ("FPDFPathSegment_GetPoint", _NUMBER, _POINTER, _POINTER, _POINTER),
    "set_active": ("FPDFPageObj_SetIsActive", _NUMBER, _POINTER, _NUMBER),
}
"""Of each call the function of PDFium, what it returns and, where they are to be converted, its arguments."""


@lru_cache
def pdfium_calls() -> PdfiumCalls:
    """The functions, bound once."""
    with needs_extra("reading PDFs", "pdf"):
        import pypdfium2.raw as pdfium

    def bound(function: str, result: Any, *arguments: Any) -> _Call:
        # PYFUNCTYPE keeps the interpreter's lock: these calls are too short to give it away.
        call: _Call = ctypes.PYFUNCTYPE(result, *arguments)(address(getattr(pdfium, function)))
        return call

    return PdfiumCalls(**{name: bound(*of_pdfium) for name, of_pdfium in _FUNCTIONS.items()})


def written_by(
    call: _Call,
    *arguments: Iterable[Any],
    kind: type[ctypes.c_double] | type[ctypes.c_float] | type[ctypes.c_uint],
    num_numbers: int = 4,
    num_places: int = 1,
) -> NDArray[Any]:
    """(k, n) numbers that each of k calls writes, zeros where it has nothing to write.

    Args:
        call: takes these arguments, and then references.
        arguments: of each call, such as a text page and the number of a character.
        kind: of the numbers.
        num_numbers: n.
        num_places: how many references: n where each is to one number, 1 where it is to all.
    """
    written, size = (kind * num_numbers)(), ctypes.sizeof(kind)
    places = [repeat(ctypes.byref(written, at * size)) for at in range(num_places)]
    copied, none = memoryview(written).cast("B").tobytes, bytes(num_numbers * size)
    found = [copied() if is_found else none for is_found in map(call, *arguments, *places)]
    numbers: NDArray[Any] = np.frombuffer(b"".join(found), _AS_NUMPY[kind])
    return numbers.reshape(-1, num_numbers)


@contextmanager
def drawn_page(page: Any, size: Size, area: PictureArea) -> Iterator[NDArray[np.uint8]]:
    """A part of an open page of pypdfium2 on white, with its form fields and annotations, for the block.

    What pypdfium2's own `render` draws, in memory that is used again and made white in a third of the time. In the
    order of red, green and blue PDFium would take a sixth longer.

    Args:
        page: the page.
        size: (width, height) in pixels at which all of it would be drawn.
        area: the part.

    Yields:
        (height, width, 4) blue, green, red and an unused byte.

    Raises:
        SourceError: there is no picture of this size.
    """
    import pypdfium2.raw as pdfium

    left, top, right, bottom = area
    width, height = right - left, bottom - top
    num_bytes = width * height * _BYTES_PER_PIXEL
    spare = _spare.pop() if _spare else b""
    buffer: Any = spare if len(spare) >= num_bytes else (ctypes.c_ubyte * num_bytes)()
    ctypes.memset(buffer, _WHITE, num_bytes)
    bitmap = pdfium.FPDFBitmap_CreateEx(width, height, pdfium.FPDFBitmap_BGRx, buffer, width * _BYTES_PER_PIXEL)
    if not bitmap:
        raise SourceError(f"page cannot be drawn: PDFium makes no picture of {width}x{height} pixels")
    try:
        arguments = (bitmap, page.raw, -left, -top, *size, 0, pdfium.FPDF_ANNOT)
        pdfium.FPDF_RenderPageBitmap(*arguments)
        if page.formenv:
            pdfium.FPDF_FFLDraw(page.formenv, *arguments)
        yield np.frombuffer(buffer, np.uint8, num_bytes).reshape(height, width, _BYTES_PER_PIXEL)
    finally:
        pdfium.FPDFBitmap_Destroy(bitmap)
    if len(buffer) <= _MAX_SPARE_BYTES and (not _spare or len(_spare[0]) < len(buffer)):
        _spare[:] = [buffer]  # a part that was drawn meanwhile needed less


def names_of_texts(handles: Sequence[int]) -> dict[int, int]:
    """What names text objects (`/ActualText`), by address; it is one for all of the glyphs that it names."""
    calls, found = pdfium_calls(), dict[int, int]()
    counts = [*map(calls.count_marks, handles)]  # none, or those of a tagged document, which nearly all have no name
    for number in range(max(counts, default=0)):
        marked = [*compress(handles, map(number.__lt__, counts))]
        marks = [*map(calls.mark, marked, repeat(number))]
        are_names = map((0).__lt__, map(calls.kind_in_mark, marks, repeat(_NAME)))
        found.update(compress(zip(marked, marks, strict=True), are_names))
    return found


def texts_of_names(marks: Iterable[int], least: int) -> dict[int, str]:
    """What those of `names_of_texts` say that have this many characters or more, by address."""
    size, buffer, found = ctypes.c_ulong(), ctypes.create_string_buffer(_LONGEST_NAME), dict[int, str]()
    read, at, at_size = pdfium_calls().text_in_mark, ctypes.addressof(buffer), ctypes.addressof(size)
    for mark in marks:
        if read(mark, _NAME, at, _LONGEST_NAME, at_size) and 2 * least < size.value <= _LONGEST_NAME:
            found[mark] = ctypes.string_at(at, size.value).decode("utf-16-le", "replace").rstrip("\0")
    return found


def last_clip(handle: int) -> tuple[float, ...]:
    """How many clipping paths an object has, less one, and how many points the last of them has, with all of these
    where they are few, as of rectangles, which nearly all are; else with some; and the same of the others with two
    points, opposite corners of rectangles. Texts that have this in common have the same paths: to read all points of
    each text takes longer than all else."""
    calls, points = pdfium_calls(), (ctypes.c_float * (2 * _FEW))()
    path, at = calls.clip_path(handle), ctypes.addressof(points)
    last = calls.count_clips(path) - 1
    count = calls.count_segments(path, last)
    for number in range(min(count, _FEW)):
        calls.point(calls.segment(path, last, number), at + 8 * number, at + 8 * number + 4)
    inner, others = [*points], list[float]()
    for outer in range(last):
        for segment in (0, 2):
            calls.point(calls.segment(path, outer, segment), at, at + 4)
            others += points[:2]
        others.append(calls.count_segments(path, outer))
    return (last, count, *inner, *others)


def is_rectangle(clip: tuple[float, ...]) -> bool:
    """Whether a `last_clip` is all that clips, and a rectangle that is not turned."""
    last, count, *points = clip
    if last or count not in (4, _FEW) or (count == _FEW and points[:2] != points[8:]):
        return False
    x, y, x_end, y_end = points[0], points[1], points[4], points[5]
    return points[2:4] + points[6:8] in ([x, y_end, x_end, y], [x_end, y, x, y_end])


def clip_outlines(handle: int, matrix: NDArray[np.float64], most: int) -> list[NDArray[np.float64]]:
    """Of each clipping path of an object its (k, 4) edges from x, y to x, y in pixels, at about even distances where
    these are more. Those of curves lead over their control points."""
    calls, point = pdfium_calls(), (ctypes.c_float * 2)()
    path, at = calls.clip_path(handle), ctypes.addressof(point)
    outlines = []
    for number in range(calls.count_clips(path)):
        parts: list[list[tuple[float, float]]] = []
        count = calls.count_segments(path, number)
        for segment in range(0, count, max(1, -(-count // most))):
            found = calls.segment(path, number, segment)
            calls.point(found, at, at + 4)
            if not parts or calls.segment_kind(found) == _MOVE_TO:
                parts.append([])
            parts[-1].append((point[0], point[1]))
        edges = [(*begin, *end) for part in parts for begin, end in zip(part, [*part[1:], part[0]], strict=True)]
        placed = np.array(edges, np.float64).reshape(-1, 2) @ matrix[:, :2].T + matrix[:, 2]
        outlines.append(placed.reshape(-1, 4))
    return outlines


def read_from_left(document: Any) -> None:
    """Take from an open document of pypdfium2 the preference that its pages are bound on the right: PDFium turns the
    words of all lines then, of Latin ones, too. Those of right-to-left lines are put in order by their places."""
    import pypdfium2

    pdfium = pypdfium2.raw
    said = ctypes.create_string_buffer(len(_FROM_RIGHT))
    pdfium.FPDF_VIEWERREF_GetName(document.raw, b"Direction", said, len(said))
    if said.raw == _FROM_RIGHT:
        with closing(pypdfium2.PdfDocument(_WITHOUT_PREFERENCES)) as other:
            pdfium.FPDF_CopyViewerPreferences(document.raw, other.raw)
