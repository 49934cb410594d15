"""Pillow: images of all formats but JPEG are opened, and become grey or RGB pixels, 8 bits, on white paper.

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

Embedded ICC profiles are ignored, see `decode.py`. Formats are known by their first bytes. Pillow is imported on first
use, so that headers of JPEG and PNG files cost no import; its warnings stay inside.
"""

import io
import logging
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ConfigError, DecodeError
from wdstream.text.image_names import IMAGE_MAGIC, image_format, unread_format
from wdstream.text.not_text import FETCH_LFS, LFS_POINTER

if TYPE_CHECKING:
    from PIL import Image

# Plugins that Pillow does not load at once. Asked for such a format, it would load all forty, which takes 0.1 s.
_LATE_PLUGINS = {
    "TIFF": "TiffImagePlugin",
    "WEBP": "WebPImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
    "AVIF": "AvifImagePlugin",
}


_CONVERTERS = {
    "HEIC": "convert it to JPEG or PNG, which the package pillow-heif does",
    "JPEG XL": "convert it to PNG or JPEG, which the package pillow-jxl-plugin does",
    "PDF": "its pages are drawn by `wdstream make-shards`",
}
"""What to do about formats that are known but not read."""


def sniff_format(data: bytes) -> str:
    """The format's name as Pillow spells it, from the first bytes.

    Raises:
        DecodeError: the bytes are not an image of a known format.
    """
    name = image_format(data)
    if name is not None:
        return name
    if data.startswith(LFS_POINTER):
        raise DecodeError(f"image {FETCH_LFS}")
    known, other = ", ".join(name for name, _, _ in IMAGE_MAGIC), unread_format(data)
    if other is not None:
        advice = _CONVERTERS.get(other, "convert it to PNG or JPEG")
        raise DecodeError(f"not an image that is read: {other}, expected one of {known}; {advice}")
    raise DecodeError(f"not an image: {len(data)} bytes that start with {data[:12]!r}; expected one of {known}")


def open_image(data: bytes, image_format: str) -> "Image.Image":
    """Read an image's header with Pillow; no pixel is decoded.

    Raises:
        DecodeError: Pillow cannot read the header, or finds the image beyond its own limit for decompression bombs.
        ConfigError: this process lets Pillow make up what truncated files lack.
    """
    from PIL import Image

    refuse_made_up_pixels()
    keep_pillow_quiet()
    if image_format in _LATE_PLUGINS:
        import_module(f"PIL.{_LATE_PLUGINS[image_format]}")
    try:
        image = Image.open(io.BytesIO(data), formats=[image_format])
    except Exception as error:  # Pillow's plugins raise whatever their parsing raises (ValueError, SyntaxError, ...)
        raise unreadable(image_format, error) from error
    limit = Image.MAX_IMAGE_PIXELS
    width, height = image.size
    if limit is not None and width * height > limit:
        # Pillow only warns between once and twice its limit. Here that is an error.
        raise DecodeError(f"{image_format} image of {width}x{height} pixels: Pillow's limit is {limit} pixels")
    return image


def refuse_made_up_pixels() -> None:
    """Check that Pillow, in this process, reports truncated files.

    Raises:
        ConfigError: it was set to make up what they lack.
    """
    from PIL import ImageFile

    if ImageFile.LOAD_TRUNCATED_IMAGES:  # many a training script sets it; pages would be grey from the middle on
        raise ConfigError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set: truncated pages would be decoded, with their missing part "
            "made up; something in this process set it. Set it to False before pages are read"
        )


def unreadable(image_format: str, error: Exception) -> DecodeError:
    """The error for an image that a decoder gave up on, with the decoder's reason."""
    reason = str(error).split(" <_io.")[0] or "no reason given"  # the address of a buffer would differ in every run
    return DecodeError(f"{image_format} image cannot be decoded: {type(error).__name__}: {reason}")


def keep_pillow_quiet() -> None:
    """Ignore warnings raised inside Pillow (odd tags, corrupt EXIF, large images) in this process.

    What matters in them is checked here and becomes a DecodeError; the rest must not depend on a user's filters, or a
    page would be good in one run and bad in another. `warnings.catch_warnings` is no way to do it: it swaps state that
    all threads share. The filter is put in front again when someone has reset the list, test runners say. Pillow's log
    lines still reach the handlers a user sets up, but are not printed where there is none.
    """
    logger = logging.getLogger("PIL")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    pattern = r"PIL\."
    first = warnings.filters[0] if warnings.filters else None
    if first is None or first[0] != "ignore" or getattr(first[3], "pattern", first[3]) != pattern:
        warnings.filterwarnings("ignore", module=pattern)


N = TypeVar("N", bound=np.generic)
Wide = NDArray[Any]  # int32, uint32 or float32

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


def in_bands(pixels: NDArray[N], convert: Callable[[NDArray[N]], NDArray[np.uint8]]) -> NDArray[np.uint8]:
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
    bits = tiff_tag(image, _BITS_PER_SAMPLE, default=16)
    is_inverted = tiff_tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO
    highest = (1 << bits) - 1
    values: NDArray[np.uint16] = np.asarray(image)
    transparent = image.info.get("transparency")

    def scaled(band: NDArray[np.uint16]) -> NDArray[np.uint8]:
        wide = np.minimum(band.astype(np.uint32), highest)
        grey: NDArray[np.uint8] = ((wide * 255 + highest // 2) // highest).astype(np.uint8)
        if is_inverted:
            np.subtract(255, grey, out=grey)
        if isinstance(transparent, int):
            grey[band == transparent] = 255
        return grey

    return in_bands(values, scaled)


def _from_32_bit(image: "Image.Image") -> NDArray[np.uint8]:
    """32-bit integers or floats scaled to 8 bits; Pillow neither turns "white is zero" nor knows unsigned integers."""
    values: Wide = np.asarray(image)
    is_unsigned = tiff_tag(image, _SAMPLE_FORMAT, default=_UNSIGNED) == _UNSIGNED
    if image.mode == "I" and tiff_tag(image, _BITS_PER_SAMPLE) == 32 and is_unsigned:
        values = values.view(np.uint32)
    grey = _from_wide(values, is_float=image.mode == "F")
    if tiff_tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = np.where(np.isfinite(values), np.subtract(255, grey), 255).astype(np.uint8)
    return grey


def _from_wide(values: Wide, *, is_float: bool) -> NDArray[np.uint8]:
    """32-bit integers or floats scaled to 8 bits by the rules above."""
    is_number = np.isfinite(values)
    if not is_number.any():
        return np.full(values.shape, 255, np.uint8)
    least = float(values.min(where=is_number, initial=values.flat[is_number.argmax()]))
    greatest = float(values.max(where=is_number, initial=least))
    ranges = (1.0, 255.0) if is_float else (65535.0,)
    low, high = next(((0.0, top) for top in ranges if least >= 0 and greatest <= top), (least, greatest))
    span = high - low or 1.0  # one value everywhere: black

    def scaled(band: Wide) -> NDArray[np.uint8]:
        is_finite = np.isfinite(band)
        levels = (np.where(is_finite, band, high).astype(np.float64) - low) * 255.0 / span
        return np.where(is_finite, np.rint(levels), 255).astype(np.uint8)

    return in_bands(values, scaled)


def tiff_tag(image: "Image.Image", number: int, default: int = -1) -> int:
    """The value of a TIFF's tag, or the first of several; the default for one that is missing, and in other formats."""
    value = getattr(image, "tag_v2", {}).get(number, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _lab_to_rgb(image: "Image.Image") -> "Image.Image":
    """CIE L*a*b* (D50) to sRGB."""
    from PIL import ImageCms

    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # None only when asked to work in place
    return converted
