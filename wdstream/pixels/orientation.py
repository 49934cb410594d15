"""EXIF orientation out of raw metadata bytes, without an image library.

An orientation is 1..8 as in the TIFF 6.0 tag 274: 1 upright, 2 mirrored, 3 turned by 180 degrees, 4 flipped,
5 transposed, 6 to be turned clockwise by 90 degrees, 7 transversed, 8 to be turned anticlockwise. From 5 on, width and
height swap.

EXIF wins; XMP (`tiff:Orientation`) counts only where EXIF is silent. Metadata that cannot be read means 1: broken
metadata says nothing about the pixels.
"""

import re
import struct

ORIENTATION_TAG = 0x0112
_EXIF_PREFIX = b"Exif\x00\x00"
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_VALUE_FORMATS = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG: what writers use for this tag
_IFD_ENTRY_BYTES = 12
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])\s*[\"'<]")


def is_transposed(orientation: int) -> bool:
    """Whether width and height swap when this orientation is applied."""
    return orientation >= 5


def orientation_of(*, exif: bytes | None, xmp: bytes | None) -> int:
    """The orientation 1..8 that an image's EXIF block or XMP packet asks for; 1 when neither says."""
    found = _exif_orientation(exif) if exif else None
    if found is None and xmp:
        match = _XMP_ORIENTATION.search(xmp)
        found = int(match[1]) if match else None
    return found or 1


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
