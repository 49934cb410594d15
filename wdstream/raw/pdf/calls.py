"""Functions of PDFium, called with addresses as plain integers, and the memory that it draws in.

pypdfium2 checks and converts the arguments of each call, which costs more than most calls themselves; where they are
made for every object of a page, these are three times as fast. Those of characters convert nothing at all, which halves
their time again: they take pointers as they are (`pointer_to`). The memory of the last picture serves the
next, where it is large enough: memory that is fresh from the system costs a tenth of drawing a page.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
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
_spare: list[Any] = []


def address(pointer: Any) -> int:
    """The address that a ctypes pointer of pypdfium2 holds; 0 for a null pointer."""
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def pointer_to(pointer: Any) -> Any:
    """The same as an argument that any of the calls takes as it is."""
    return ctypes.c_void_p.from_param(address(pointer))


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfiumCalls:
    """Each takes addresses, numbers, and addresses where it writes; failing returns 0, or -1 as PDFium says.

    The first seven take the text page as `pointer_to` has it, and numbers; `box` and `rect` write by reference
    (`ctypes.byref`).
    """

    code: _Call
    box: _Call
    is_generated: _Call
    map_error: _Call
    text_object: _Call
    count_rects: _Call
    rect: _Call
    matrix: _Call
    font_size: _Call
    fill: _Call
    stroke: _Call
    cell: _Call
    angle: _Call
    render_mode: _Call
    font: _Call
    page_to_device: _Call
    count_objects: _Call
    object_of_page: _Call
    count_in_form: _Call
    object_of_form: _Call
    kind: _Call
    bounds: _Call
    object_matrix: _Call
    object_font_size: _Call
    count_marks: _Call
    has_transparency: _Call
    draw_mode: _Call
    stroke_width: _Call
    clip_path: _Call
    count_clips: _Call
    set_active: _Call


@lru_cache
def pdfium_calls() -> PdfiumCalls:
    """The functions, bound once."""
    with needs_extra("reading PDFs", "pdf"):
        import pypdfium2.raw as pdfium

    def bound(function: Any, result: Any, *arguments: Any) -> _Call:
        # PYFUNCTYPE keeps the interpreter's lock: these calls are too short to give it away.
        call: _Call = ctypes.PYFUNCTYPE(result, *arguments)(address(function))
        return call

    pointer, number, real = ctypes.c_void_p, ctypes.c_int, ctypes.c_double
    character = (pointer, number)
    return PdfiumCalls(
        code=bound(pdfium.FPDFText_GetUnicode, ctypes.c_uint),
        box=bound(pdfium.FPDFText_GetCharBox, number),
        is_generated=bound(pdfium.FPDFText_IsGenerated, number),
        map_error=bound(pdfium.FPDFText_HasUnicodeMapError, number),
        text_object=bound(pdfium.FPDFText_GetTextObject, ctypes.c_size_t),
        count_rects=bound(pdfium.FPDFText_CountRects, number),
        matrix=bound(pdfium.FPDFText_GetMatrix, number, *character, pointer),
        font_size=bound(pdfium.FPDFText_GetFontSize, real, *character),
        fill=bound(pdfium.FPDFText_GetFillColor, number, *character, *(pointer,) * 4),
        stroke=bound(pdfium.FPDFText_GetStrokeColor, number, *character, *(pointer,) * 4),
        rect=bound(pdfium.FPDFText_GetRect, number),
        cell=bound(pdfium.FPDFText_GetLooseCharBox, number, *character, pointer),
        angle=bound(pdfium.FPDFText_GetCharAngle, ctypes.c_float, *character),
        render_mode=bound(pdfium.FPDFTextObj_GetTextRenderMode, number, pointer),
        font=bound(pdfium.FPDFTextObj_GetFont, ctypes.c_size_t, pointer),
        page_to_device=bound(pdfium.FPDF_PageToDevice, number, pointer, *(number,) * 5, real, real, pointer, pointer),
        count_objects=bound(pdfium.FPDFPage_CountObjects, number, pointer),
        object_of_page=bound(pdfium.FPDFPage_GetObject, pointer, *character),
        count_in_form=bound(pdfium.FPDFFormObj_CountObjects, number, pointer),
        object_of_form=bound(pdfium.FPDFFormObj_GetObject, pointer, pointer, ctypes.c_ulong),
        kind=bound(pdfium.FPDFPageObj_GetType, number, pointer),
        bounds=bound(pdfium.FPDFPageObj_GetBounds, number, *(pointer,) * 5),
        object_matrix=bound(pdfium.FPDFPageObj_GetMatrix, number, pointer, pointer),
        object_font_size=bound(pdfium.FPDFTextObj_GetFontSize, number, pointer, pointer),
        count_marks=bound(pdfium.FPDFPageObj_CountMarks, number, pointer),
        has_transparency=bound(pdfium.FPDFPageObj_HasTransparency, number, pointer),
        draw_mode=bound(pdfium.FPDFPath_GetDrawMode, number, *(pointer,) * 3),
        stroke_width=bound(pdfium.FPDFPageObj_GetStrokeWidth, number, pointer, pointer),
        clip_path=bound(pdfium.FPDFPageObj_GetClipPath, pointer, pointer),
        count_clips=bound(pdfium.FPDFClipPath_CountPaths, number, pointer),
        set_active=bound(pdfium.FPDFPageObj_SetIsActive, number, pointer, number),
    )


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
    if not _spare and len(buffer) <= _MAX_SPARE_BYTES:
        _spare.append(buffer)
