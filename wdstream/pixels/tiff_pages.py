"""How many pages a TIFF has, from its directories; nothing is decoded.

An image of a sample is one image. A TIFF of several pages would be its first page, under the text of all. Source: TIFF
6.0, sections 2 (directories) and 12 (NewSubfileType); BigTIFF has the same in 64 bits.
"""

import struct

from wdstream.errors import DecodeError

_NEW_SUBFILE_TYPE, _REDUCED_OR_MASK = 254, 0b101  # bit 0: a smaller copy of another image, bit 2: a mask of one
_MAX_DIRECTORIES = 1000
_MARKS = {b"II": "<", b"MM": ">"}
_BIG = 43


def refuse_several_pages(data: bytes) -> None:
    """Check that a TIFF has one page; smaller copies and masks of a page are not pages.

    Raises:
        DecodeError: it has several.
    """
    try:
        pages = _count_pages(data)
    except (struct.error, OverflowError):
        return  # a directory beyond the end: whoever decodes the first page says what is wrong with it
    if pages > 1:
        raise DecodeError(
            "TIFF image has several pages, and one is expected: the text of all would be that of the first; split it "
            "into files of a page each, as `wdstream make-shards` does"
        )


def _count_pages(data: bytes) -> int:
    """1, or 2 for more."""
    order = _MARKS[data[:2]]
    is_big = struct.unpack_from(order + "H", data, 2)[0] == _BIG
    at, count_format, entry_bytes = (8, "Q", 20) if is_big else (4, "H", 12)
    offset_format = "Q" if is_big else "I"
    (offset,) = struct.unpack_from(order + offset_format, data, at)
    seen: set[int] = set()
    pages = 0
    while offset and offset not in seen and len(seen) < _MAX_DIRECTORIES and pages < 2:
        seen.add(offset)
        (entries,) = struct.unpack_from(order + count_format, data, offset)
        first = offset + struct.calcsize(order + count_format)
        end = first + entries * entry_bytes
        pages += not _subfile_type(data, range(first, end, entry_bytes), order, is_big=is_big) & _REDUCED_OR_MASK
        (offset,) = struct.unpack_from(order + offset_format, data, end)
    return max(1, pages)


def _subfile_type(data: bytes, entries: range, order: str, *, is_big: bool) -> int:
    """The value of NewSubfileType in a directory, 0 where it is not; entries are in order of their tags."""
    for entry in entries:
        (tag,) = struct.unpack_from(order + "H", data, entry)
        if tag == _NEW_SUBFILE_TYPE:
            return int(struct.unpack_from(order + "I", data, entry + (12 if is_big else 8))[0])
        if tag > _NEW_SUBFILE_TYPE:
            break
    return 0
