"""Grey images: one plane seen as three channels in memory, and stored as one in a JPEG.

Decode makes views whose channel stride is 0, so (h, w, 3) costs (h, w) bytes; resize and patchify know them, all other
code sees plain RGB. They are to be read only: a write to one channel would show in all three.
"""

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from wdstream.records import Pixels

MAX_JPEG_SIDE = 65_500  # libjpeg's limit
_ROWS_AT_ONCE = 64
_INVERSE_OF_ONES = pow(0x010101, -1, 1 << 32)
_SHIFTED_INVERSE = np.uint32(_INVERSE_OF_ONES << 8 & 0xFFFFFFFF)


def grey_as_rgb(plane: NDArray[np.uint8]) -> Pixels:
    """A grey (h, w) plane seen as (h, w, 3)."""
    # Not `broadcast_to`: its result is marked read-only, and torch warns about every such array it is given.
    return np.lib.stride_tricks.as_strided(plane, (*plane.shape, 3), (*plane.strides, 0))


def is_grey(image: Pixels) -> bool:
    """Whether the three channels of (h, w, 3) are one plane in memory; see `has_no_colour` for any grey image."""
    return image.strides[2] == 0


def encode_jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """JPEG, 4:2:0, of uint8 (height, width, 3) RGB or (height, width, 4) BGR and an unused byte.

    An image whose three channels are equal everywhere is stored as one grey channel.

    Raises:
        ValueError: a side is 0 or above `MAX_JPEG_SIDE`.
    """
    plane = _grey_plane(pixels)
    if plane is not None:
        return bytes(simplejpeg.encode_jpeg(plane[..., None], quality, "GRAY"))
    colorspace = "RGB" if pixels.shape[2] == 3 else "BGRX"
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, colorspace, "420"))


def has_no_colour(pixels: NDArray[np.uint8]) -> bool:
    """Whether red, green and blue are equal in every pixel."""
    return _grey_plane(pixels) is not None


def _grey_plane(pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """(h, w) the one channel of an image without colour, contiguous; None for one with colour.

    It goes block by block: colour mostly shows early, and a block is still at hand when its channel is taken.
    """
    plane = np.empty(pixels.shape[:2], np.uint8)
    is_words = pixels.shape[2] == 4 and pixels.flags.c_contiguous
    buffer = np.empty((_ROWS_AT_ONCE, pixels.shape[1] if is_words else 0), "<u4")
    for top in range(0, len(pixels), _ROWS_AT_ONCE):
        block = pixels[top : top + _ROWS_AT_ONCE]
        if is_words:
            words = block.view("<u4")[..., 0]
            if not _words_are_grey(words, buffer[: len(block)]):
                return None
            np.copyto(plane[top : top + _ROWS_AT_ONCE], words, casting="unsafe")  # the lowest byte of each
        elif np.array_equal(block[..., 0], block[..., 1]) and np.array_equal(block[..., 0], block[..., 2]):
            plane[top : top + _ROWS_AT_ONCE] = block[..., 0]
        else:
            return None
    return plane


def _words_are_grey(words: NDArray[np.uint32], buffer: NDArray[np.uint32]) -> bool:
    """Whether the three lower bytes of each word are equal.

    A grey word is 0x010101 times its grey, below its upper byte. Times the inverse of 0x010101, modulo 2 ** 32, it is
    the grey and the upper byte with nothing between them; any other word has something there, since no two words have
    the same product. Times 2 ** 8 more, the upper byte is gone, and what is between is above the grey. So one pass
    multiplies and one takes the largest, which is the fastest look at all of an array that numpy has.
    """
    np.multiply(words, _SHIFTED_INVERSE, out=buffer)
    return int(np.maximum.reduce(buffer, axis=None, initial=0)) <= 0xFF00
