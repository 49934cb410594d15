"""What an encoded image says about itself before any pixel is decoded: size after EXIF, mode, frames.

JPEG and PNG headers are parsed from the bytes (about 20 microseconds, no imports); other formats are opened with
Pillow, which reads their headers only. `decode_image` goes by the same header: a planned size is the decoded size.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wdstream.errors import DecodeError
from wdstream.pixels.file_headers import (
    ORIENTATION_TAG,
    StoredHeader,
    is_transposed,
    jpeg_stored_header,
    orientation_of,
    png_stored_header,
)
from wdstream.pixels.pillow import open_image, sniff_format, unreadable
from wdstream.records import Size

if TYPE_CHECKING:
    from PIL import Image

_PARSERS = {"JPEG": jpeg_stored_header, "PNG": png_stored_header}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """An encoded image, described.

    Attributes:
        width, height: pixels, after the orientation is applied.
        format: JPEG, PNG, TIFF, WEBP, GIF, BMP, PPM, JPEG2000 or AVIF.
        orientation: EXIF orientation 1..8, already counted in width and height.
        mode: Pillow's name of the stored pixel mode (1, L, LA, P, RGB, RGBA, CMYK, I;16, F, ...).
        num_frames: pages of a TIFF, frames of an animation; 1 for JPEG.
    """

    width: int
    height: int
    format: str
    orientation: int
    mode: str
    num_frames: int

    @property
    def size(self) -> Size:
        """(width, height), after the orientation is applied."""
        return self.width, self.height


def image_size(data: bytes) -> Size:
    """(width, height) of an encoded image as it will be decoded, EXIF orientation applied.

    Raises:
        DecodeError: the bytes are no readable image.
    """
    return image_header(data, count_frames=False).size


def image_header(data: bytes, *, count_frames: bool = True) -> ImageHeader:
    """Read an encoded image's header. Counting frames may walk a whole TIFF or GIF; without it `num_frames` may be 1.

    Raises:
        DecodeError: the bytes are no readable image, or its frames cannot be counted.
    """
    image_format = sniff_format(data)
    if image_format in _PARSERS:
        return _from_stored(image_format, _PARSERS[image_format](data))
    with open_image(data, image_format) as image:
        return pillow_header(image, count_frames=count_frames)


def pillow_header(image: "Image.Image", *, count_frames: bool) -> ImageHeader:
    """The header of an image that Pillow has opened but not loaded; for all formats but JPEG and PNG."""
    image_format = str(image.format)
    try:
        if image_format == "TIFF":
            orientation, has_swapped = _tiff_orientation(image)
        else:
            orientation = orientation_of(exif=image.info.get("exif"), xmp=image.info.get("xmp"))
            has_swapped = False
        num_frames = int(getattr(image, "n_frames", 1)) if count_frames else 1
    except Exception as error:  # whatever a plugin raises on a damaged directory
        raise unreadable(image_format, error) from error
    turn = is_transposed(orientation) != has_swapped
    return _header(image_format, _turned(image.size, turn), orientation, mode=image.mode, num_frames=num_frames)


def _tiff_orientation(image: "Image.Image") -> tuple[int, bool]:
    """(orientation, whether `image.size` has it applied already).

    Pillow turns a TIFF itself while loading it: by the tag, whose swap is in `size` from the start, or by XMP, whose
    swap is not.
    """
    orientation = image.getexif().get(ORIENTATION_TAG, 1)
    tag = image.tag_v2.get(ORIENTATION_TAG, 1)  # type: ignore[attr-defined]  # a TiffImageFile
    return (orientation if orientation in range(1, 9) else 1), tag in range(5, 9)


def _from_stored(image_format: str, stored: StoredHeader) -> ImageHeader:
    """A parsed header with its orientation applied."""
    orientation = orientation_of(exif=stored.exif, xmp=stored.xmp)
    size = _turned((stored.width, stored.height), is_transposed(orientation))
    return _header(image_format, size, orientation, mode=stored.mode, num_frames=stored.num_frames)


def _turned(size: Size, turn: bool) -> Size:
    return size[::-1] if turn else size


def _header(image_format: str, size: Size, orientation: int, *, mode: str, num_frames: int) -> ImageHeader:
    """The header, if the image has any pixels at all."""
    width, height = size
    if width < 1 or height < 1:
        raise DecodeError(f"{image_format} image cannot be decoded: its header says {width}x{height} pixels")
    return ImageHeader(
        width=width, height=height, format=image_format, orientation=orientation, mode=mode, num_frames=num_frames
    )
