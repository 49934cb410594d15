"""Whether an image file holds all of its pixels, where the decoder would make some up and not say so.

JPEG        libjpeg takes an end marker for the end wherever it stands. A file whose later scans are lost would be a
            blurred or a colourless page.
JPEG 2000   OpenJPEG leaves tiles black when a file ends right after the marker of a tile, and takes it for the end. A
            codestream has an end marker, whose two bytes cannot occur in packets (T.800 annex B.10.1).
TIFF        Pillow reads the strips that a file names, and leaves the rest of the image black.

Sources: ITU-T T.81 (JPEG) annexes B and G, T.800 (JPEG 2000) annexes A and I.
"""

import re
from dataclasses import dataclass
from typing import Any

from wdstream.errors import DecodeError
from wdstream.pixels.file_headers import FRAME_MARKERS, SCAN_MARKER, jpeg_segments

_PROGRESSIVE_FRAMES = frozenset({0xC2, 0xCA})
_RESTART_INTERVAL = 0xDD
_AFTER_A_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # inside, 0 or a restart follows FF
_NUM_COEFFICIENTS = 64
_NOT_SENT = 16  # more bits than any coefficient has

_CODESTREAM, _END_OF_CODESTREAM = b"\xff\x4f\xff\x51", b"\xff\xd9"
_CODESTREAM_BOX = b"jp2c"
_PADDING = b"\x00\r\n "  # of writers of whole blocks and lines

_SAMPLES_PER_PIXEL, _PLANAR_CONFIGURATION, _SEPARATE_PLANES = 277, 284, 2  # TIFF 6.0 tags


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegScans:
    """What a JPEG's scans hold.

    Attributes:
        are_complete: every bit of every coefficient of every component is in one of them.
        have_restarts: their data may be parted by restart markers.
    """

    are_complete: bool
    have_restarts: bool


def jpeg_scans(data: bytes) -> JpegScans:
    """Read the headers of a JPEG's scans, as far as it takes to know that they are complete."""
    bits_left: dict[int, list[int]] = {}  # of each component and coefficient, the bits not yet sent
    is_progressive = have_restarts = False
    position: int | None = 2
    while position is not None:
        found, position = position, None
        for marker, start, end in jpeg_segments(data, found):
            if marker in FRAME_MARKERS:
                is_progressive = marker in _PROGRESSIVE_FRAMES
                bits_left = {component: [_NOT_SENT] * _NUM_COEFFICIENTS for component in data[start + 6 : end : 3]}
            elif marker == _RESTART_INTERVAL:
                have_restarts = have_restarts or any(data[start:end])
            elif marker == SCAN_MARKER:
                _strike_off(bits_left, data[start:end], is_progressive)
                if bits_left and not any(any(bits) for bits in bits_left.values()):
                    return JpegScans(are_complete=True, have_restarts=have_restarts)
                after = _AFTER_A_SCAN.search(data, end)
                position = after.start() if after else None
    return JpegScans(are_complete=False, have_restarts=have_restarts)


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


def check_strips(image: Any) -> None:
    """Refuse an opened TiffImageFile that names too few strips or tiles. libtiff, which reads compressed ones, does it.

    Raises:
        DecodeError: some pixels are in none of them.
    """
    if any(part.codec_name != "raw" for part in image.tile):
        return
    is_planar = image.tag_v2.get(_PLANAR_CONFIGURATION) == _SEPARATE_PLANES
    num_planes = image.tag_v2.get(_SAMPLES_PER_PIXEL, 1) if is_planar else 1
    named = sum((right - left) * (bottom - top) for left, top, right, bottom in (part.extents for part in image.tile))
    if named < num_planes * image.width * image.height:
        raise DecodeError("TIFF image cannot be decoded: it names too few strips to hold all of its pixels")
