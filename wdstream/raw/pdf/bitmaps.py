"""Memory that pages are drawn in: that of the last picture serves the next, where it is large enough.

Memory that is fresh from the system costs a tenth of drawing a page.
"""

import ctypes
from typing import Any

_MAX_SPARE_BYTES = 64 << 20
_BYTES_PER_PIXEL = 4
_spare: list[Any] = []


def new_bitmap(width: int, height: int, **how: Any) -> Any:
    """A bitmap of pypdfium2 of four bytes per pixel; its other arguments as for its own makers."""
    from pypdfium2 import PdfBitmap

    size = width * height * _BYTES_PER_PIXEL
    spare = _spare.pop() if _spare else b""
    buffer = spare if len(spare) >= size else (ctypes.c_ubyte * size)()
    return PdfBitmap.new_native(width, height, buffer=buffer, **how)


def keep_buffer(buffer: Any) -> None:
    """Keep the buffer of a bitmap that is closed, and of which nothing is looked at any more, for the next."""
    if not _spare and len(buffer) <= _MAX_SPARE_BYTES:
        _spare.append(buffer)
