"""Files that Pillow does not write, made from their bytes."""

import struct
import zlib
from collections.abc import Callable, Sequence

import pytest


@pytest.fixture(scope="session")
def make_png() -> Callable[..., bytes]:
    """A PNG from its header and raw rows: the bit depths and colour types that Pillow does not write."""

    def make(
        size: tuple[int, int],
        depth: int,
        color_type: int,
        rows: Sequence[bytes],
        chunks: Sequence[tuple[bytes, bytes]] = (),
        late_chunks: Sequence[tuple[bytes, bytes]] = (),
    ) -> bytes:
        def chunk(kind: bytes, payload: bytes) -> bytes:
            return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))

        header = struct.pack(">IIBBBBB", *size, depth, color_type, 0, 0, 0)
        pixels = zlib.compress(b"".join(b"\x00" + row for row in rows))
        parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), *late_chunks, (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, payload) for kind, payload in parts)

    return make


@pytest.fixture(scope="session")
def make_tiff() -> Callable[..., bytes]:
    """An uncompressed little-endian TIFF of one strip: the depths and photometrics that Pillow does not write."""

    def make(
        size: tuple[int, int],
        bits: Sequence[int],
        photometric: int,
        pixels: bytes,
        extra: Sequence[tuple[int, int, int, bytes]] = (),
    ) -> bytes:
        shorts = {256: size[0], 257: size[1], 259: 1, 262: photometric, 277: len(bits), 278: size[1], 284: 1}
        entries = [(tag, 3, 1, struct.pack("<H", value)) for tag, value in shorts.items()]
        entries += [
            (258, 3, len(bits), struct.pack(f"<{len(bits)}H", *bits)),
            (279, 4, 1, struct.pack("<I", len(pixels))),
        ]
        entries += extra
        directory_bytes = 2 + 12 * (len(entries) + 1) + 4
        heap = b""
        heap_start = 8 + directory_bytes
        long_values = {}
        for tag, _, _, value in entries:
            if len(value) > 4:
                long_values[tag] = heap_start + len(heap)
                heap += value
        entries.append((273, 4, 1, struct.pack("<I", heap_start + len(heap))))
        body = b"".join(
            struct.pack("<HHI", tag, kind, count)
            + (struct.pack("<I", long_values[tag]) if tag in long_values else value.ljust(4, b"\x00"))
            for tag, kind, count, value in sorted(entries)
        )
        return b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(entries)) + body + b"\x00" * 4 + heap + pixels

    return make
