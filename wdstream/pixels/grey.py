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
_INVERSE_OF_ONES = np.uint32(pow(0x010101, -1, 1 << 32))


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
    if has_no_colour(pixels):
        return bytes(simplejpeg.encode_jpeg(_one_channel(pixels), quality, "GRAY"))
    colorspace = "RGB" if pixels.shape[2] == 3 else "BGRX"
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, colorspace, "420"))


def _one_channel(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 1) the first channel of an image, contiguous."""
    if pixels.shape[2] == 4 and pixels.flags.c_contiguous:
        return pixels.view("<u4").astype(np.uint8)  # the lowest byte of each word, in a fifth of the time
    return np.ascontiguousarray(pixels[..., :1])


def has_no_colour(pixels: NDArray[np.uint8]) -> bool:
    """Whether red, green and blue are equal in every pixel; goes block by block, as colour mostly shows early."""
    blocks = (pixels[top : top + _ROWS_AT_ONCE] for top in range(0, len(pixels), _ROWS_AT_ONCE))
    if pixels.shape[2] == 4 and pixels.flags.c_contiguous:
        buffer = np.empty((_ROWS_AT_ONCE, pixels.shape[1]), "<u4")
        return all(_words_are_grey(block.view("<u4")[..., 0], buffer[: len(block)]) for block in blocks)
    return all(
        np.array_equal(block[..., 0], block[..., 1]) and np.array_equal(block[..., 0], block[..., 2])
        for block in blocks
    )


def _words_are_grey(words: NDArray[np.uint32], buffer: NDArray[np.uint32]) -> bool:
    """Whether the three lower bytes of each word are equal.

    A grey word is 0x010101 times its grey, below its upper byte. Times the inverse of 0x010101, modulo 2 ** 32, it is
    the grey and the upper byte with nothing between them; any other word has something there, since no two words have
    the same product. So one pass multiplies and one looks, where shifts of bytes take two and one.
    """
    np.multiply(words, _INVERSE_OF_ONES, out=buffer)
    return not int(np.bitwise_or.reduce(buffer, axis=None)) & 0x00FFFF00
