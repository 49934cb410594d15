"""Shards of every form of pages: with and without text and metadata, of several image formats, rows and chats."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wdstream.pixels.header import image_size
from wdstream.records import ImageSegment, Page, TextSegment, TurnSegment
from wdstream.shards.index import merge_index
from wdstream.shards.page_members import members_from_page
from wdstream.shards.reader import Shards
from wdstream.shards.writer import SampleEntry, ShardWriter

FORMATS = {"jpg": "JPEG", "png": "PNG", "tif": "TIFF", "webp": "WEBP"}


def small_image(number: int, extension: str) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (6 + number % 5, 5 + number % 7, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, FORMATS[extension])
    return file.getvalue()


def mixed_pages(prefix: str, count: int) -> Iterator[tuple[Page, tuple[str, ...]]]:
    """Pages of eight forms in turn, with the extensions of their images."""
    for number in range(count):
        form, key = number % 8, f"{prefix}/p{number:04d}"
        names = ("jpg", "png", "tif", "jpg", "png", "webp", "jpg", "jpg")
        extensions = {5: ("png", "jpg"), 6: ("jpg",), 7: ()}.get(form, (names[form],))
        images = tuple(small_image(100 * len(prefix) + number + i, name) for i, name in enumerate(extensions))
        meta = {"language": "de" if number % 3 else "ja", "score": number / 3, "pages": {"first": number}}
        text = TextSegment(text=f"Seite {number} von {prefix}: größer\n漢字 " + "x" * (number % 50))
        picture = ImageSegment(index=0)
        answer = TurnSegment(role="assistant", is_supervised=True, is_plain=True), text
        segments = {
            3: (picture,),
            4: (TurnSegment(role="user"), picture, TextSegment(text="Lies.", is_supervised=False), *answer),
            5: (TextSegment(text="vor", is_supervised=False), picture, text, ImageSegment(index=1)),
            6: (text, picture),
            7: (text,),
        }.get(form, (picture, text))
        yield Page(key=key, images=images, segments=segments, meta={} if form in (1, 3) else meta), extensions


def write_mixed(folder: Path, prefix: str = "a", count: int = 24, per_shard: int = 10) -> Path:
    """Shards of such pages, with an index; returns the folder."""
    folder.mkdir(parents=True)
    pages = list(mixed_pages(prefix, count))
    for number, start in enumerate(range(0, count, per_shard)):
        with ShardWriter(folder / f"shard-{number:06d}.tar") as writer:
            for page, extensions in pages[start : start + per_shard]:
                entry = SampleEntry.of(page, [image_size(image) for image in page.images])
                writer.add(page.key, members_from_page(page, extensions), entry)
    merge_index(folder)
    return folder


def pages_of(folder: Path) -> dict[str, Page]:
    """Every page by its key."""
    shards = Shards.open(folder)
    return {page.key: page for page in map(shards.read_page, range(len(shards)))}


def tree_of(folder: Path, leave_out: Sequence[str] = ()) -> dict[str, str]:
    """Digest of every file below a folder, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in leave_out)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
