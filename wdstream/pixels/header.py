"""What an encoded image says about itself before any pixel is decoded: size after EXIF, mode, frames.

JPEG and PNG headers are parsed from the bytes (about 20 microseconds, three times as fast as Pillow); other formats are
opened with Pillow, which reads their headers only. `decode_image` goes by the same header: a planned size is the
decoded size. Sources: ITU-T T.81 (JPEG) annex B; PNG third edition, chapters 5 and 11.

An orientation is 1..8 as in the TIFF 6.0 tag 274: 1 upright, 2 mirrored, 3 turned by 180 degrees, 4 flipped,
5 transposed, 6 to be turned clockwise by 90 degrees, 7 transversed, 8 to be turned anticlockwise. From 5 on, width and
height swap. EXIF wins; XMP (`tiff:Orientation`) counts only where EXIF is silent. Metadata that cannot be read means 1:
broken metadata says nothing about the pixels.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wdstream.errors import DecodeError
from wdstream.pixels.pillow import open_image, sniff_format, tiff_tag, unreadable
from wdstream.pixels.tiff_pages import refuse_several_pages
from wdstream.records import Size

if TYPE_CHECKING:
    from PIL import Image

FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # T.81 table B.1: SOF0..SOF15
_STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})  # no length follows
SCAN_MARKER = 0xDA
_SEGMENT = struct.Struct(">BBH")  # FF, its marker, the length of what follows
_APP1, _END = 0xE1, 0xD9
_EXIF_PREFIX, _JPEG_XMP = b"Exif\x00\x00", b"http://ns.adobe.com/xap/1.0/\x00"
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}

_PNG_SIGNATURE_BYTES = 8
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}  # by colour type
_PNG_XMP, _PNG_EXIF = b"XML:com.adobe.xmp", b"Raw profile type exif"
_MAX_TEXT_BYTES = 1 << 20  # a text chunk that inflates beyond this holds no orientation

ORIENTATION_TAG = 0x0112
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_VALUE_FORMATS = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG: what writers use for this tag
_IFD_ENTRY_BYTES = 12
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])\s*[\"'<]")


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
        DecodeError: the bytes are not a readable image, or a TIFF of several pages.
    """
    header = image_header(data, count_frames=False)
    if header.format == "TIFF":
        refuse_several_pages(data)
    return header.size


def image_header(data: bytes, *, count_frames: bool = True) -> ImageHeader:
    """Read an encoded image's header. Counting frames may walk a whole TIFF or GIF; without it `num_frames` may be 1.

    Raises:
        DecodeError: the bytes are not a readable image, or its frames cannot be counted.
    """
    image_format = sniff_format(data)
    if image_format == "JPEG":
        return _jpeg_header(data)
    if image_format == "PNG":
        return _png_header(data)
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
    size = image.size[::-1] if has_swapped else image.size
    return _header(image_format, size, orientation, mode=image.mode, num_frames=num_frames)


def _tiff_orientation(image: "Image.Image") -> tuple[int, bool]:
    """(orientation, whether `image.size` has it applied already).

    Pillow turns a TIFF itself while loading it: by the tag, whose swap is in `size` from the start, or by XMP, whose
    swap is not.
    """
    orientation = image.getexif().get(ORIENTATION_TAG, 1)
    tag = tiff_tag(image, ORIENTATION_TAG, default=1)
    return (orientation if orientation in range(1, 9) else 1), tag in range(5, 9)


def _header(image_format: str, size: Size, orientation: int, *, mode: str, num_frames: int = 1) -> ImageHeader:
    """The header of an image whose size is `size` as stored; raises DecodeError for one without a pixel."""
    width, height = size[::-1] if is_transposed(orientation) else size
    if width < 1 or height < 1:
        raise DecodeError(f"{image_format} image cannot be decoded: its header says {width}x{height} pixels")
    return ImageHeader(
        width=width, height=height, format=image_format, orientation=orientation, mode=mode, num_frames=num_frames
    )


def _jpeg_header(data: bytes) -> ImageHeader:
    """Parse a JPEG up to its first scan.

    Raises:
        DecodeError: the file ends before a frame header, or the frame header makes no sense.
    """
    size: tuple[int, int, str] | None = None
    exif = xmp = None
    for marker, start, end in jpeg_segments(data):
        if marker in FRAME_MARKERS and size is None:
            if end - start < 6 or end > len(data):
                raise DecodeError("JPEG image cannot be decoded: its frame header is cut short")
            height, width, num_components = struct.unpack_from(">HHB", data, start + 1)
            if num_components not in _JPEG_MODES:
                raise DecodeError(f"JPEG image cannot be decoded: {num_components} components; expected 1, 3 or 4")
            size = width, height, _JPEG_MODES[num_components]
        elif marker == _APP1 and exif is None and data.startswith(_EXIF_PREFIX, start):
            exif = data[start:end]
        elif marker == _APP1 and xmp is None and data.startswith(_JPEG_XMP, start):
            xmp = data[start:end]
    if size is None:
        raise DecodeError(f"JPEG image cannot be decoded: no frame header in its {len(data)} bytes")
    return _header("JPEG", size[:2], orientation_of(exif=exif, xmp=xmp), mode=size[2])


def jpeg_segments(data: bytes, position: int = 2) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment's payload from `position` on, which is that of a marker.

    The header of a scan, the end marker, or bytes that are not a marker come last.
    """
    marker, last = None, len(data) - 4
    while marker != SCAN_MARKER and position <= last:
        first, marker, length = _SEGMENT.unpack_from(data, position)
        if first != 0xFF or marker == _END:
            return
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _STANDALONE_MARKERS:
            position += 2
        else:
            yield marker, position + 4, position + 2 + length
            position += 2 + length if length > 2 else 4


def _png_header(data: bytes) -> ImageHeader:
    """Parse a PNG's chunks; metadata may come after the pixels.

    Raises:
        DecodeError: the first chunk is not an image header, or has an unknown colour type.
    """
    first = data[_PNG_SIGNATURE_BYTES : _PNG_SIGNATURE_BYTES + 8]
    if first != b"\x00\x00\x00\x0dIHDR" or len(data) < 33:
        raise DecodeError(f"PNG image cannot be decoded: its first chunk is {first!r}, not an image header")
    width, height, depth, color_type = struct.unpack_from(">IIBB", data, _PNG_SIGNATURE_BYTES + 8)
    if color_type not in _PNG_MODES:
        raise DecodeError(f"PNG image cannot be decoded: unknown colour type {color_type}")
    exif = profile = xmp = None
    num_frames = 1
    for kind, start, end in png_chunks(data):
        if kind == b"eXIf":
            exif = data[start:end]
        elif kind == b"acTL" and end - start >= 4:
            num_frames = max(1, int.from_bytes(data[start : start + 4]))
        elif kind in _TEXT_READERS:
            keyword, _, rest = data[start:end].partition(b"\x00")
            if keyword == _PNG_EXIF:
                profile = _hex_profile(_TEXT_READERS[kind](rest))
            elif keyword == _PNG_XMP:
                xmp = _TEXT_READERS[kind](rest)
    mode = {(0, 1): "1", (0, 16): "I;16"}.get((color_type, depth), _PNG_MODES[color_type])
    exif = profile if exif is None else exif
    orientation = orientation_of(exif=exif, xmp=xmp)
    return _header("PNG", (width, height), orientation, mode=mode, num_frames=num_frames)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of each whole chunk's payload, up to the end chunk or the first chunk that is cut short."""
    position = _PNG_SIGNATURE_BYTES
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4])
        kind = data[position + 4 : position + 8]
        end = position + 8 + length
        if kind == b"IEND" or end + 4 > len(data):
            return
        yield kind, position + 8, end
        position = end + 4


def _plain_text(rest: bytes) -> bytes:
    """The text of a tEXt chunk, after its keyword."""
    return rest


def _compressed_text(rest: bytes) -> bytes:
    """The text of a zTXt chunk: one byte for the method, then a deflate stream."""
    return _inflate(rest[1:])


def _international_text(rest: bytes) -> bytes:
    """The text of an iTXt chunk: flag, method, language, translated keyword, text."""
    text = rest[2:].split(b"\x00", 2)[-1]
    return _inflate(text) if rest[:1] == b"\x01" else text


_TEXT_READERS = {b"tEXt": _plain_text, b"zTXt": _compressed_text, b"iTXt": _international_text}


def _inflate(stream: bytes) -> bytes:
    """Decompress at most `_MAX_TEXT_BYTES`; empty when the stream is damaged."""
    try:
        return zlib.decompressobj().decompress(stream, _MAX_TEXT_BYTES)
    except zlib.error:
        return b""


def _hex_profile(text: bytes) -> bytes | None:
    """The bytes of an ImageMagick profile: newline, name, length, then hexadecimal digits."""
    digits = re.sub(rb"\s", b"", b"".join(text.split(b"\n")[3:]))
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:  # no hexadecimal digits
        return None


def is_transposed(orientation: int) -> bool:
    """Whether width and height swap when this orientation is applied."""
    return orientation >= 5


def orientation_of(*, exif: bytes | None, xmp: bytes | None) -> int:
    """The orientation 1..8 that an image's EXIF block or XMP packet asks for; 1 when neither says."""
    orientation = _exif_orientation(exif) if exif else None
    if orientation is None and xmp:
        match = _XMP_ORIENTATION.search(xmp)
        orientation = int(match[1]) if match else None
    return orientation or 1


def _exif_orientation(exif: bytes) -> int | None:
    """The orientation in the first directory of an EXIF block (a TIFF file, with or without the `Exif` prefix)."""
    tiff = exif.removeprefix(_EXIF_PREFIX)
    order = _BYTE_ORDERS.get(tiff[:2])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (num_entries,) = struct.unpack_from(order + "H", tiff, directory)
        for number in range(num_entries):
            entry = directory + 2 + number * _IFD_ENTRY_BYTES
            tag, kind, count = struct.unpack_from(order + "HHI", tiff, entry)
            if tag == ORIENTATION_TAG:
                if kind not in _VALUE_FORMATS or count != 1:
                    return None
                (value,) = struct.unpack_from(order + _VALUE_FORMATS[kind], tiff, entry + 8)
                return value if 1 <= value <= 8 else None
    except struct.error:  # a directory cut short
        return None
    return None
