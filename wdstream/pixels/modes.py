"""Pixels of any mode Pillow knows -> grey or RGB, 8 bits, on white paper.

    mode                      rule
    1                         black 0, white 255 (Pillow has turned a TIFF's "white is zero" already)
    L                         grey as it is; 2 and 4 bits were spread over 0..255 by Pillow
    P                         its palette's colours; grey when all that are used are grey; a TIFF's palette of 8-bit
                              colours, which belong into 16 bits, counts as if they were there
    LA, RGBA, La, RGBa, PA,   composed on white: c a + 255 (1 - a), rounded
      any mode with tRNS
    RGB                       as it is; 16-bit RGB keeps its high byte: within 1 of value 255 / 65535
    I;16, any byte order      scaled, not clipped: value 255 / (2^bits - 1), rounded; bits are 16, or what a TIFF
                              declares (12, say); "white is zero" is turned
    I (32-bit, signed or      values within 0..65535 are 16-bit data in a wide mode and scaled like it (PGM, say);
      unsigned)               others are stretched from their own least and greatest value to 0..255
    F (float)                 within 0..1: times 255; within 0..255: rounded; others stretched like I; NaN, inf: white
                              (of I and F, too, "white is zero" is turned)
    CMYK (TIFF)               R = (255 - C)(255 - K) / 255
    LAB                       CIE L*a*b* with white D50 to sRGB, by LittleCMS
    YCbCr, HSV, RGBX          Pillow's conversion

Embedded ICC profiles are ignored, see `decode.py`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

_BAND_PIXELS = 1 << 18
_BITS_PER_SAMPLE, _PHOTOMETRIC, _COLOR_MAP, _SAMPLE_FORMAT = 258, 262, 320, 339  # TIFF 6.0 tags
_WHITE_IS_ZERO, _UNSIGNED = 0, 1


def to_grey_or_rgb(image: "Image.Image") -> NDArray[np.uint8]:
    """The pixels of a loaded Pillow image, writable and contiguous: (h, w) for grey modes, (h, w, 3) for all others."""
    if image.mode.startswith("I;16"):
        return _from_16_bit(image)
    if image.mode in ("I", "F"):
        return _from_32_bit(image)
    _mend_palette(image)
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode == "L":
        return np.array(image)
    if image.mode == "1":  # unpacked while it is copied; `convert` would make one more image of the page
        return np.frombuffer(image.tobytes("raw", "L"), np.uint8).reshape(image.height, image.width).copy()
    if image.mode == "P" and (levels := _grey_palette(image)) is not None:
        return np.take(levels, np.array(image))
    if image.mode == "LAB":
        return np.array(_lab_to_rgb(image))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def in_bands(pixels: NDArray[Any], convert: Callable[[NDArray[Any]], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """`convert` of (h, w) or (h, w, c) pixels, some rows at a time: its wide numbers would take many times the page."""
    rows = max(1, _BAND_PIXELS // pixels.shape[1])
    return np.concatenate([convert(pixels[top : top + rows]) for top in range(0, len(pixels), rows)])


def _mend_palette(image: "Image.Image") -> None:
    """Old writers of TIFF put 8-bit colours where 16 bits belong; of such a palette Pillow makes black."""
    colors = getattr(image, "tag_v2", {}).get(_COLOR_MAP, ())
    if image.mode in ("P", "PA") and colors and max(colors) < 256:
        image.putpalette(np.array(colors, np.uint8).reshape(3, -1).T.tobytes())


def _grey_palette(image: "Image.Image") -> NDArray[np.uint8] | None:
    """The grey level of each index of a palette image, uint8 (256,); None when a colour is used."""
    colors = np.zeros((256, 3), np.uint8)  # an index beyond the palette is black
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    colors[: len(palette)] = palette
    used = colors[np.array(image.histogram()) > 0]
    return colors[:, 0] if (used == used[:, :1]).all() else None


def _on_white(image: "Image.Image") -> NDArray[np.uint8]:
    """An image with alpha, or with a transparent colour, composed on white."""
    from PIL import Image

    if image.mode == "La":  # Pillow has no way from it to RGBA
        image = image.convert("LA")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    paper = Image.new("RGB", image.size, (255, 255, 255))
    paper.paste(rgba, mask=rgba.getchannel("A"))
    return np.array(paper)


def _from_16_bit(image: "Image.Image") -> NDArray[np.uint8]:
    """16-bit grey scaled to 8; a colour that a PNG names transparent becomes white."""
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    highest = (1 << bits) - 1
    values: NDArray[np.uint16] = np.asarray(image)
    transparent = image.info.get("transparency")

    def scaled(band: NDArray[np.uint16]) -> NDArray[np.uint8]:
        wide = np.minimum(band.astype(np.uint32), highest)
        grey: NDArray[np.uint8] = ((wide * 255 + highest // 2) // highest).astype(np.uint8)
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            np.subtract(255, grey, out=grey)
        if isinstance(transparent, int):
            grey[band == transparent] = 255
        return grey

    return in_bands(values, scaled)


def _from_32_bit(image: "Image.Image") -> NDArray[np.uint8]:
    """32-bit integers or floats scaled to 8 bits; Pillow neither turns "white is zero" nor knows unsigned integers."""
    tags: Any = getattr(image, "tag_v2", {})
    values: NDArray[Any] = np.asarray(image)
    if image.mode == "I" and tags.get(_BITS_PER_SAMPLE) == (32,) and tags.get(_SAMPLE_FORMAT, (1,))[0] == _UNSIGNED:
        values = values.view(np.uint32)
    grey = _from_wide(values, is_float=image.mode == "F")
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = np.where(np.isfinite(values), np.subtract(255, grey), 255).astype(np.uint8)
    return grey


def _from_wide(values: NDArray[Any], *, is_float: bool) -> NDArray[np.uint8]:
    """32-bit integers or floats scaled to 8 bits by the rules above."""
    is_number = np.isfinite(values)
    if not is_number.any():
        return np.full(values.shape, 255, np.uint8)
    least = float(values.min(where=is_number, initial=values.flat[is_number.argmax()]))
    greatest = float(values.max(where=is_number, initial=least))
    ranges = (1.0, 255.0) if is_float else (65535.0,)
    low, high = next(((0.0, top) for top in ranges if least >= 0 and greatest <= top), (least, greatest))
    span = high - low or 1.0  # one value everywhere: black

    def scaled(band: NDArray[Any]) -> NDArray[np.uint8]:
        is_finite = np.isfinite(band)
        levels = (np.where(is_finite, band, high).astype(np.float64) - low) * 255.0 / span
        return np.where(is_finite, np.rint(levels), 255).astype(np.uint8)

    return in_bands(values, scaled)


def _lab_to_rgb(image: "Image.Image") -> "Image.Image":
    """CIE L*a*b* (D50) to sRGB."""
    from PIL import ImageCms

    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # None only when asked to work in place
    return converted
