"""By what pages are compared: digests of images and texts, a hash of the picture, a sketch of the words.

Read once per shard, in processes, and kept in a file per shard, so that a job that was killed continues, and another
choice of what counts as a copy needs no second look.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wdstream.curation.resharding.job_folder import JobFolder, digest_of
from wdstream.errors import PageError, ShardError
from wdstream.pixels.decode import EncodedImage
from wdstream.records import Page
from wdstream.shards.reader import Shards
from wdstream.shards.samples.row_name import name_of_row
from wdstream.storage.atomic import atomic_write
from wdstream.verify.page_check import PICTURE_BYTES, all_text, picture_hash, text_sketch

SKETCH_WORDS = 16
"""Of a text's sketch."""
NEAR_MARKS = np.dtype(
    [
        ("images", "<u8", (2,)),
        ("text", "<u8", (2,)),
        ("look", "<u8", (PICTURE_BYTES // 8,)),
        ("words", "<u4", (SKETCH_WORDS,)),
    ]
)
"""Of one page, 128 bytes: digests of its images and of its text, zeros where there is none; the hash of its picture,
zeros unless it has one image, which was decoded; and its sketch, zeros for too short a text."""
EXACT_MARKS = np.dtype([("images", "<u8", (2,)), ("text", "<u8", (2,))])
"""The same where near copies are not asked for, 32 bytes."""
_ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class MarksTask:
    """A shard to read.

    Attributes:
        folder: where marks are kept.
        name: of the file of marks there.
        path: folder or URL of the shards.
        fingerprint: of their index.
        shard: number of the shard.
        near: whether images are decoded.
        max_pixels: of an image that is decoded.
    """

    folder: JobFolder
    name: str
    path: str
    fingerprint: str
    shard: int
    near: bool
    max_pixels: int

    @property
    def made_of(self) -> str:
        """A digest of all that decides the marks."""
        return digest_of(f"{self.fingerprint} {self.shard} {self.near} {self.max_pixels}")

    def made_in(self, folder: JobFolder) -> Self:
        """The same shard, its marks kept in another folder."""
        return replace(self, folder=folder)

    @property
    def dtype(self) -> np.dtype[np.void]:
        """What its marks hold, near or exact."""
        return NEAR_MARKS if self.near else EXACT_MARKS


def mark_shard(task: MarksTask) -> int:
    """Read a shard and keep its marks, unless they are there; returns the number of its pages.

    Raises:
        ShardError: a page cannot be read, by name.
    """
    rows = _opened(task.path, task.fingerprint).rows_of_shard(task.shard)
    if load_marks(task) is None:
        marks = np.zeros(len(rows), task.dtype)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            _mark_rows(marks, task, rows, start)
        with atomic_write(task.folder.out / task.name) as file:
            file.write(marks.tobytes())
        task.folder.keep([task.name])
        task.folder.note_done(task.name, task.made_of, digest=digest_of(marks.tobytes()))
    return len(rows)


def load_marks(task: MarksTask) -> NDArray[np.void] | None:
    """The marks that were kept of a shard; None where they are to be made."""
    record = task.folder.done(task.name, task.made_of)
    try:
        data = (task.folder.out / task.name).read_bytes()
    except OSError:
        return None
    return np.frombuffer(data, task.dtype) if record and record["digest"] == digest_of(data) else None


def _mark_rows(marks: NDArray[np.void], task: MarksTask, rows: range, start: int) -> None:
    shards = _opened(task.path, task.fingerprint)
    some = rows[start : start + _ROWS_AT_ONCE]
    for place, page in enumerate(shards.read_pages(some), start=start):
        if isinstance(page, PageError):
            raise ShardError(
                f"{shards.path}: the page {name_of_row(shards, rows[place])!r} cannot be read: {page}; mend it first "
                "(`wdstream verify` finds all such pages)"
            ) from page
        _mark(marks[place], page, task)


def _mark(mark: np.void, page: Page, task: MarksTask) -> None:
    text = all_text(page)
    if page.images:
        mark["images"] = _digest(*page.images)
    if text.strip():
        mark["text"] = _digest(text.encode("utf-8", "surrogatepass"))
    if task.near:
        mark["words"] = text_sketch(text, SKETCH_WORDS)
        if len(page.images) == 1:
            mark["look"] = _look(page.images[0], task.max_pixels)


def _look(image: bytes, max_pixels: int) -> NDArray[np.uint64]:
    try:
        pixels = EncodedImage(image).decode(max_pixels=max_pixels)
    except PageError:  # too large, or damaged: verify says so
        return np.zeros(PICTURE_BYTES // 8, np.uint64)
    return np.frombuffer(picture_hash(pixels), "<u8")


def _digest(*parts: bytes) -> NDArray[np.uint64]:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return np.frombuffer(digest.digest(), "<u8")


@lru_cache(maxsize=64)
def _opened(path: str, fingerprint: str) -> Shards:
    shards = Shards.open(path)
    if shards.fingerprint != fingerprint:
        raise ShardError(f"{path} changed while it was read: run the same command again")
    return shards
