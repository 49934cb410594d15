"""Encoded image -> RGB pixels: libjpeg-turbo for JPEG, Pillow for the rest, one open per image, limits before decoding.

The rules for pixels of Pillow's formats are in `pillow.py`. For JPEG:

    components           RGB
    1 (grey)             decoded as grey; the three channels are one plane seen three times
    3 (YCbCr, RGB)       libjpeg-turbo, accurate DCT and smooth upsampling: the pixels Pillow gives
    4 (CMYK, YCCK)       Adobe's convention, stored inverted: R = C K / 255 on the stored values, as Pillow does
    any, damaged         an error. libjpeg continues after a warning and fills the rest with grey; here every warning is
                         an error, but for bytes left over right before the end marker, where nothing else can have
                         been lost: all scans are there, and no restart marker separates them. So are scans that are
                         missing, of which libjpeg does not warn. What no decoder can notice is damage that leaves a
                         valid stream: JPEG has no checksum
    odd sampling         an error: TurboJPEG names 4:4:4, 4:2:2, 4:4:0, 4:2:0, 4:1:1 and 4:4:1 and refuses others

For every format: the EXIF orientation is applied; an embedded ICC profile is ignored (processors and public datasets
ignore it too, and a page must not change when a tool strips the profile); the first frame of an animation counts; a
TIFF of several pages is an error (tiff_pages.py); more than `max_pixels` is an error before any pixel is decoded.

Whether a file holds all of its pixels is checked where the decoder would make some up and not say so:

    JPEG       libjpeg takes an end marker for the end wherever it is. A file whose later scans are lost would be a
               blurred or a colourless page.
    JPEG 2000  OpenJPEG leaves tiles black when a file ends right after the marker of a tile, and takes it for the end.
               A codestream has an end marker, whose two bytes cannot occur in packets (T.800 annex B.10.1).
    TIFF       Pillow reads the strips that a file names, and leaves the rest of the image black.

Sources: ITU-T T.81 (JPEG) annexes B and G, T.800 (JPEG 2000) annexes A and I.
"""

import re
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from wdstream.errors import DecodeError
from wdstream.pixels.grey import grey_as_rgb
from wdstream.pixels.header import (
    FRAME_MARKERS,
    SCAN_MARKER,
    ImageHeader,
    image_header,
    is_transposed,
    jpeg_segments,
    pillow_header,
    png_chunks,
)
from wdstream.pixels.pillow import in_bands, open_image, sniff_format, tiff_tag, to_grey_or_rgb, unreadable
from wdstream.pixels.tiff_pages import refuse_several_pages
from wdstream.records import MAX_SIDE, Pixels, Size

if TYPE_CHECKING:
    from PIL import Image

# libjpeg's warning when it looks for a marker after the last row of a scan and finds the end of the file.
_HARMLESS = ("extraneous bytes before marker 0xd9",)

_PROGRESSIVE_FRAMES = frozenset({0xC2, 0xCA})
_RESTART_INTERVAL = 0xDD
_AFTER_A_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # inside, 0 or a restart follows FF
_NUM_COEFFICIENTS = 64
_NOT_SENT = 16  # more bits than any coefficient has

_CODESTREAM, _END_OF_CODESTREAM = b"\xff\x4f\xff\x51", b"\xff\xd9"
_CODESTREAM_BOX = b"jp2c"
_PADDING = b"\x00\r\n "  # of writers of whole blocks and lines

_PNG_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")

_SAMPLES_PER_PIXEL, _PLANAR_CONFIGURATION, _SEPARATE_PLANES = 277, 284, 2  # TIFF 6.0 tags


class EncodedImage:
    """An encoded image that is opened once: first its header, from which its tiles are planned, then its pixels.

    Attributes:
        data: the encoded file.
        header: what it says about itself.

    Raises:
        DecodeError: the bytes are not a readable image, or a TIFF of several pages.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._opened: Image.Image | None = None
        image_format = sniff_format(data)
        if image_format == "TIFF":
            refuse_several_pages(data)
        if image_format in ("JPEG", "PNG"):  # their headers are read without Pillow
            self.header = image_header(data, count_frames=False)
        else:
            self._opened = open_image(data, image_format)
            self.header = pillow_header(self._opened, count_frames=False)

    def decode(self, *, max_pixels: int, min_size: Size | None = None) -> Pixels:
        """`decode_image`; once, since Pillow gives its image up after decoding.

        Raises:
            DecodeError: see `decode_image`.
        """
        check_limit(self.header, max_pixels)
        if self.header.format == "JPEG":
            pixels = _oriented(_decode_jpeg(self.data, self.header, min_size), self.header.orientation)
        elif self.header.format == "JPEG2000" and not is_whole_jpeg2000(self.data):
            raise DecodeError("JPEG2000 image cannot be decoded: it is truncated, its codestream has no end marker")
        elif self.header.format == "PNG" and (damage := png_damage(self.data)):
            raise DecodeError(f"PNG image cannot be decoded: {damage}")
        else:
            with self._opened or open_image(self.data, self.header.format) as image:
                pixels = _decode_with_pillow(image, self.header)
        return pixels if pixels.ndim == 3 else grey_as_rgb(pixels)  # three channels of a grey plane, without a copy


def decode_image(data: bytes, *, max_pixels: int, min_size: Size | None = None) -> Pixels:
    """Decode an encoded image to uint8 (height, width, 3), orientation applied. Treat the result as read-only.

    A grey image comes back as a view whose channel stride is 0: one plane, a third of the work for whoever resizes it.

    Args:
        data: the encoded file.
        max_pixels: images with more pixels than this are refused from their header.
        min_size: (width, height), after orientation, that are enough: a JPEG may be decoded at as many eighths of its
            size as are enough. None decodes at full size.

    Raises:
        DecodeError: no readable image, damaged or truncated, or above the limit.
    """
    return EncodedImage(data).decode(max_pixels=max_pixels, min_size=min_size)


def check_limit(header: ImageHeader, max_pixels: int) -> None:
    """Refuse an image above the limit.

    Raises:
        DecodeError: it has more than `max_pixels` pixels, or a side longer than any tiling takes.
    """
    if header.width * header.height > max_pixels:
        raise DecodeError(
            f"{header.format} image of {header.width}x{header.height} pixels is above the limit of {max_pixels} pixels "
            "(max_pixels)"
        )
    if max(header.width, header.height) > MAX_SIDE:
        raise DecodeError(
            f"{header.format} image of {header.width}x{header.height} pixels: no side may be longer than {MAX_SIDE}"
        )


def _decode_jpeg(data: bytes, header: ImageHeader, min_size: Size | None) -> NDArray[np.uint8]:
    """A JPEG's pixels as stored: (h, w) for grey, (h, w, 3) otherwise."""
    min_width, min_height = min_size or (0, 0)
    if is_transposed(header.orientation):
        min_width, min_height = min_height, min_width
    colorspace = {"L": "GRAY", "CMYK": "CMYK"}.get(header.mode, "RGB")
    settings = {"colorspace": colorspace, "min_width": min_width, "min_height": min_height}
    try:
        try:
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, **settings)
        except ValueError as warning:
            if not str(warning).endswith(_HARMLESS) or jpeg_scans(data).have_restarts:
                raise
            pixels = simplejpeg.decode_jpeg(data, strict=False, **settings)
    except (
        Exception
    ) as error:  # the binding raises ValueError; a file that breaks it otherwise is still only one bad page
        raise unreadable("JPEG", error) from error
    if not jpeg_scans(data).are_complete:
        raise DecodeError("JPEG image cannot be decoded: it ends before all of its scans")
    if header.mode == "CMYK":
        return in_bands(pixels, _ink_to_rgb)
    return pixels[..., 0] if header.mode == "L" else pixels


def _ink_to_rgb(stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Inverted inks (h, w, 4) as RGB."""
    inks = stored.astype(np.uint16)
    return ((inks[..., :3] * inks[..., 3:] + 127) // 255).astype(np.uint8)


def _decode_with_pillow(image: "Image.Image", header: ImageHeader) -> NDArray[np.uint8]:
    """The pixels of any other format, orientation applied: (h, w) for grey, (h, w, 3) otherwise."""
    if header.format == "TIFF":
        check_strips(image)
    try:
        image.load()
        pixels = to_grey_or_rgb(image)
    except Exception as error:  # Pillow's plugins raise whatever their parsing raises
        raise unreadable(header.format, error) from error
    # Pillow turns a TIFF itself while loading it.
    oriented = pixels if header.format == "TIFF" else _oriented(pixels, header.orientation)
    if oriented.shape[:2] != (header.height, header.width):
        raise DecodeError(
            f"{header.format} image cannot be decoded: its header says {header.width}x{header.height} pixels, its data "
            f"{oriented.shape[1]}x{oriented.shape[0]}"
        )
    return oriented


def _oriented(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Pixels turned and mirrored as an EXIF orientation says, contiguous."""
    if is_transposed(orientation):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegScans:
    """What a JPEG's scans hold.

    Attributes:
        are_complete: every bit of every coefficient of every component is in one of them.
        have_restarts: their data may be separated by restart markers.
    """

    are_complete: bool
    have_restarts: bool


def jpeg_scans(data: bytes) -> JpegScans:
    """Read the headers of a JPEG's scans, as far as it takes to know that they are complete."""
    bits_left: dict[int, list[int]] = {}  # of each component and coefficient, the bits not yet sent
    is_progressive = have_restarts = False
    position: int | None = 2
    while position is not None:
        begin, position = position, None
        for marker, start, end in jpeg_segments(data, begin):
            if marker in FRAME_MARKERS:
                is_progressive = marker in _PROGRESSIVE_FRAMES
                bits_left = {component: [_NOT_SENT] * _NUM_COEFFICIENTS for component in data[start + 6 : end : 3]}
            elif marker == _RESTART_INTERVAL:
                have_restarts = have_restarts or any(data[start:end])
            elif marker == SCAN_MARKER:
                if not is_progressive and _sends_all(data[start:end], bits_left):
                    return JpegScans(are_complete=True, have_restarts=have_restarts)
                _strike_off(bits_left, data[start:end], is_progressive)
                if bits_left and not any(any(bits) for bits in bits_left.values()):
                    return JpegScans(are_complete=True, have_restarts=have_restarts)
                after = _AFTER_A_SCAN.search(data, end)
                position = after.start() if after else None
    return JpegScans(are_complete=False, have_restarts=have_restarts)


def _sends_all(scan: bytes, components: Collection[int]) -> bool:
    """Whether one scan of a frame that is not progressive sends all of its components, as nearly all are."""
    end = 1 + 2 * scan[0] if scan else 0
    return len(scan) >= end + 3 > 3 and bool(components) and {*scan[1:end:2]}.issuperset(components)


def _strike_off(bits_left: dict[int, list[int]], scan: bytes, is_progressive: bool) -> None:
    """Note what a scan sends, from its header's payload: components, and of a progressive frame coefficients, bits."""
    num_components = scan[0] if scan else 0
    components, rest = scan[1 : 1 + 2 * num_components : 2], scan[1 + 2 * num_components :]
    if len(rest) < 3:
        return
    first, last, low_bit = (rest[0], rest[1], rest[2] & 15) if is_progressive else (0, _NUM_COEFFICIENTS - 1, 0)
    for component in components:
        if component in bits_left:
            bits_left[component][first : last + 1] = [low_bit] * (last + 1 - first)


def png_damage(data: bytes) -> str | None:
    """The first chunk of a PNG's pixels or colours whose checksum is not that of its bytes, or where its chunks end
    before the last one, in words; None for a sound file.

    Pillow does not compare them: half of all flipped bits give other pixels without an error.
    """
    position = 8  # after the signature
    for kind, start, end in png_chunks(data):
        if kind in _PNG_PIXEL_CHUNKS and zlib.crc32(data[start - 4 : end]) != int.from_bytes(data[end : end + 4]):
            return f"its chunk {kind.decode('ascii')} at byte {start - 8} has not the bytes that were written"
        position = end + 4
    if data[position + 4 : position + 8] == b"IEND":
        return None
    return f"it is truncated, its chunk at byte {position} is not whole"


def is_whole_jpeg2000(data: bytes) -> bool:
    """Whether the codestream, bare or in a JP2 file, ends with its end marker."""
    if data.startswith(_CODESTREAM):
        return _ends_as_codestream(data, len(data))
    position = 0
    while position + 8 <= len(data):
        length, kind, head = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[position + 8 : position + 16]), 16
        end = position + length if length else len(data)  # 0 is a last box without end
        if kind == _CODESTREAM_BOX:
            return end <= len(data) and _ends_as_codestream(data, end)
        position = max(end, position + head)
    return False


def _ends_as_codestream(data: bytes, end: int) -> bool:
    return data[max(0, end - 4096) : end].rstrip(_PADDING).endswith(_END_OF_CODESTREAM)


def check_strips(image: "Image.Image") -> None:
    """Refuse an opened TIFF that names too few strips or tiles. libtiff, which reads compressed ones, does it itself.

    Raises:
        DecodeError: some pixels are in none of them.
    """
    strips = getattr(image, "tile", ())
    if any(strip.codec_name != "raw" for strip in strips):
        return
    is_planar = tiff_tag(image, _PLANAR_CONFIGURATION) == _SEPARATE_PLANES
    num_planes = tiff_tag(image, _SAMPLES_PER_PIXEL, default=1) if is_planar else 1
    named = sum((right - left) * (bottom - top) for left, top, right, bottom in (strip.extents for strip in strips))
    if named < num_planes * image.width * image.height:
        raise DecodeError("TIFF image cannot be decoded: it names too few strips to hold all of its pixels")
