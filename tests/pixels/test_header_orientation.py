import struct

import pytest

from wdstream.pixels.header import is_transposed, orientation_of


def exif(order: str, kind: int, value: bytes, count: int = 1, prefix: bytes = b"") -> bytes:
    mark = {"<": b"II", ">": b"MM"}[order]
    other = struct.pack(order + "HHI4s", 0x010F, 2, 4, b"abc\x00")  # the maker's name comes first in real files
    entry = struct.pack(order + "HHI4s", 0x0112, kind, count, value)
    return prefix + mark + struct.pack(order + "HIH", 42, 8, 2) + other + entry + bytes(4)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\x00\x00"])
def test_reads_both_byte_orders(value: int, order: str, prefix: bytes) -> None:
    block = exif(order, 3, struct.pack(order + "H", value), prefix=prefix)
    assert orientation_of(exif=block, xmp=None) == value


@pytest.mark.parametrize(
    ("kind", "value", "count", "expected"),
    [
        (4, struct.pack("<I", 6), 1, 6),  # some cameras write a LONG
        (1, b"\x06", 1, 6),
        (3, struct.pack("<H", 0), 1, 1),
        (3, struct.pack("<H", 9), 1, 1),
        (3, struct.pack("<HH", 6, 6), 2, 1),  # a list is not an orientation
        (2, b"6\x00", 1, 1),  # nor is text
    ],
)
def test_odd_values(kind: int, value: bytes, count: int, expected: int) -> None:
    assert orientation_of(exif=exif("<", kind, value, count), xmp=None) == expected


@pytest.mark.parametrize("cut", range(0, 38, 3))
def test_a_block_cut_short_says_nothing(cut: int) -> None:
    assert orientation_of(exif=exif("<", 3, struct.pack("<H", 6))[:cut], xmp=None) in (1, 6)


@pytest.mark.parametrize(
    "xmp",
    [
        b'<rdf:Description tiff:Orientation="8"/>',
        b"<rdf:Description tiff:Orientation = '8'/>",
        b"<tiff:Orientation>8</tiff:Orientation>",
    ],
)
def test_xmp_counts_only_where_exif_is_silent(xmp: bytes) -> None:
    assert orientation_of(exif=None, xmp=xmp) == 8
    assert orientation_of(exif=b"Exif\x00\x00garbage", xmp=xmp) == 8
    assert orientation_of(exif=exif("<", 3, struct.pack("<H", 3)), xmp=xmp) == 3


def test_nothing_said_is_upright() -> None:
    assert orientation_of(exif=None, xmp=None) == 1
    assert orientation_of(exif=b"", xmp=b'tiff:Orientation="99"') == 1


def test_transposed() -> None:
    assert [is_transposed(value) for value in range(1, 9)] == [False] * 4 + [True] * 4
