"""Grey images: JPEGs without colour have one channel."""

import numpy as np
import pytest
import simplejpeg

from wdstream.pixels.grey import encode_jpeg, has_no_colour


@pytest.mark.parametrize("channels", [3, 4])
def test_grey_is_stored_as_grey(channels: int) -> None:
    plane = np.arange(100 * 80, dtype=np.uint32).reshape(100, 80, 1) % 251
    grey = np.repeat(plane, channels, axis=2).astype(np.uint8)
    grey[..., 3:] = 7  # the unused byte may hold anything
    assert has_no_colour(grey)
    assert simplejpeg.decode_jpeg_header(encode_jpeg(grey, 90))[:3] == (100, 80, "Gray")
    for place in ((0, 0, 1), (99, 79, 2), (70, 3, 0)):
        coloured = grey.copy()
        coloured[place] ^= 1
        assert not has_no_colour(coloured)
        assert not has_no_colour(coloured[:, ::-1])
    height, width, space, subsampling = simplejpeg.decode_jpeg_header(encode_jpeg(coloured, 90))
    assert (height, width, space, subsampling) == (100, 80, "YCbCr", "420")


def test_a_bit_of_one_channel_is_colour() -> None:
    for value in range(256):
        grey = np.uint32(value * 0x010101 | (255 - value) << 24)
        for bit in range(24):
            pixels = np.full((1, 2), grey, "<u4")
            assert has_no_colour(pixels.view(np.uint8).reshape(1, 2, 4))
            pixels[0, 1] ^= np.uint32(1 << bit)
            assert not has_no_colour(pixels.view(np.uint8).reshape(1, 2, 4)), (value, bit)


@pytest.mark.parametrize(("channels", "colour"), [(3, [255, 0, 0]), (4, [0, 0, 255])])
def test_colours_keep_their_channels(channels: int, colour: list[int]) -> None:
    first = np.zeros((64, 64, channels), np.uint8)
    first[..., 0] = 255
    decoded = simplejpeg.decode_jpeg(encode_jpeg(first, 95))
    assert np.abs(decoded.astype(int) - colour).max() <= 2


def test_no_pixels() -> None:
    with pytest.raises(ValueError, match="Invalid argument"):
        encode_jpeg(np.zeros((0, 5, 3), np.uint8), 90)
    assert has_no_colour(np.zeros((5, 0, 4), np.uint8))
