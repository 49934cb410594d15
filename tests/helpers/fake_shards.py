"""Small shards of fake images, for the tests of this folder."""

import struct
from collections.abc import Mapping
from pathlib import Path

from hypothesis import strategies as st

from wdstream.errors import DecodeError
from wdstream.records import Size
from wdstream.shards.writer import SampleEntry, ShardWriter

Samples = Mapping[str, Mapping[str, bytes]]


def fake_image(width: int, height: int, payload: bytes = b"") -> bytes:
    """Stands for an image file: a mark, its size, anything."""
    return b"IMG" + struct.pack("<II", width, height) + payload


def measure(data: bytes) -> Size:
    """The size of a fake image."""
    if data[:3] != b"IMG":
        raise DecodeError(f"not an image: {data[:8]!r}")
    width, height = struct.unpack_from("<II", data, 3)
    return int(width), int(height)


def entry(members: Mapping[str, bytes]) -> SampleEntry:
    """What the index keeps of a page of fake images."""
    images = [data for extension, data in sorted(members.items()) if data[:3] == b"IMG" and extension != "txt"]
    text = members.get("txt", b"")
    return SampleEntry(
        image_sizes=tuple(map(measure, images)),
        text_bytes=len(text),
        text_chars=len(text.decode("utf-8")),
        starts_with_text=bool(text) and not images,
    )


def write_shard(path: Path, samples: Samples) -> None:
    with ShardWriter(path) as writer:
        for key, members in samples.items():
            writer.add(key, members, entry(members))


def pages(prefix: str, count: int, payload: int = 700) -> dict[str, dict[str, bytes]]:
    """`count` pages of different sizes, image payload and text."""
    return {
        f"{prefix}/p{number:04d}": {
            "jpg": fake_image(100 + number, 200 + 2 * number, bytes([number % 251]) * (payload + 13 * number)),
            "txt": f"Seite {number}: größer".encode(),
        }
        for number in range(count)
    }


def write_shards(folder: Path, shards: Mapping[str, Samples]) -> Path:
    """Write shards, file name to samples; returns the folder."""
    folder.mkdir(exist_ok=True)
    for name, samples in shards.items():
        write_shard(folder / name, samples)
    return folder


KEYS = st.from_regex(r"([a-z0-9_-]{1,12}/){0,3}[a-zA-Z0-9-][a-zA-Z0-9_-]{0,30}", fullmatch=True).filter(
    lambda key: not key.startswith("__")
)


EXTENSIONS = st.from_regex(r"[a-z0-9]{1,5}(\.[a-z0-9]{1,4}){0,2}", fullmatch=True)
