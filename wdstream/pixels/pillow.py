"""The one place where Pillow opens an image: formats by their first bytes, its warnings kept inside.

Pillow is imported on first use, so that headers of JPEG and PNG files cost no import.
"""

import io
import logging
import warnings
from importlib import import_module
from typing import TYPE_CHECKING

from wdstream.errors import ConfigError, DecodeError

if TYPE_CHECKING:
    from PIL import Image

# Only raster formats: Pillow would start a PostScript interpreter for EPS, for one.
_MAGIC: tuple[tuple[str, int, tuple[bytes, ...]], ...] = (
    ("JPEG", 0, (b"\xff\xd8\xff",)),
    ("PNG", 0, (b"\x89PNG\r\n\x1a\n",)),
    ("TIFF", 0, (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")),
    ("WEBP", 8, (b"WEBP",)),
    ("GIF", 0, (b"GIF87a", b"GIF89a")),
    ("BMP", 0, (b"BM",)),
    ("JPEG2000", 0, (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    ("AVIF", 4, (b"ftypavif", b"ftypavis", b"ftypmif1")),
    ("PPM", 0, (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf")),
)
# Plugins that Pillow does not load at once. Asked for such a format, it would load all forty, which takes 0.1 s.
_LATE_PLUGINS = {
    "TIFF": "TiffImagePlugin",
    "WEBP": "WebPImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
    "AVIF": "AvifImagePlugin",
}


def sniff_format(data: bytes) -> str:
    """The format's name as Pillow spells it, from the first bytes.

    Raises:
        DecodeError: the bytes are no image of a known format.
    """
    for name, start, magics in _MAGIC:
        if data.startswith(magics, start):
            return name
    known = ", ".join(name for name, _, _ in _MAGIC)
    raise DecodeError(f"not an image: {len(data)} bytes that start with {data[:12]!r}; expected one of {known}")


def open_image(data: bytes, image_format: str) -> "Image.Image":
    """Read an image's header with Pillow; no pixel is decoded.

    Raises:
        DecodeError: Pillow cannot read the header, or finds the image beyond its own limit for decompression bombs.
        ConfigError: this process has told Pillow to make up what truncated files lack.
    """
    from PIL import Image, ImageFile

    if ImageFile.LOAD_TRUNCATED_IMAGES:  # many a training script sets it; pages would be grey from the middle on
        raise ConfigError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set: truncated pages would be decoded, with their missing part "
            "made up; something in this process set it. Set it to False before pages are read"
        )
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
