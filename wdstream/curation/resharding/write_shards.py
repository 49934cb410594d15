"""Writing the pages of a choice into new shards: one shard per task, in processes.

Members are copied byte by byte, after the checksum of their sample was compared.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wdstream.curation.resharding.choice import Choice
from wdstream.curation.resharding.job_folder import JobFolder, digest_of
from wdstream.curation.resharding.set_form import SetForm
from wdstream.errors import PageError, ShardError, ShardIndexError
from wdstream.make_shards.jobs import shard_name
from wdstream.records import Ints, Page
from wdstream.shards.layout import JSON_EXTENSION, TEXT_EXTENSION, ShardPaths, is_image
from wdstream.shards.meta import ShardEntry, is_complete, load_complete, load_meta
from wdstream.shards.page_members import members_from_page, page_from_members
from wdstream.shards.parts import sort_parts
from wdstream.shards.reader import Shards
from wdstream.shards.samples.row_name import name_of_row
from wdstream.shards.tar_header import RECORD_SIZE
from wdstream.shards.writer import SampleEntry, ShardWriter
from wdstream.text.image_names import image_format

_ROWS_AT_ONCE = 64
_SHORT_NAMES = {"jpeg": "jpg", "tiff": "tif"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTask:
    """One shard to write.

    Attributes:
        folder: the output.
        number: of the shard.
        inputs: folder or URL and fingerprint of each input.
        prefixes: what comes before the keys of each input.
        source: (k,) number of each page's input.
        row: (k,) its row there.
        is_uniform: whether pages get the members that they lack.
    """

    folder: JobFolder
    number: int
    inputs: tuple[tuple[str, str], ...]
    prefixes: tuple[str, ...]
    source: NDArray[np.int32]
    row: Ints
    is_uniform: bool

    @property
    def name(self) -> str:
        """File name of the tar."""
        return shard_name(self.number)

    @property
    def made_of(self) -> str:
        """A digest of all that decides the bytes."""
        fingerprints = [fingerprint for _, fingerprint in self.inputs]
        settings = f"{fingerprints} {self.prefixes} {self.is_uniform}"
        return digest_of(settings, self.source.tobytes(), self.row.tobytes())

    def made_in(self, folder: JobFolder) -> Self:
        """The same shard, written to another folder."""
        return replace(self, folder=folder)


def cut_shards(nbytes: NDArray[np.int64], shard_bytes: int, most_pages: int | None) -> Iterator[slice]:
    """Consecutive pages of each shard: as many as fit, at least one."""
    ends = np.cumsum(nbytes, dtype=np.int64)
    start = 0
    while start < len(nbytes):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + shard_bytes - RECORD_SIZE, side="right")))
        stop = stop if most_pages is None else min(stop, start + most_pages)
        yield slice(start, stop)
        start = stop


def tasks_of(
    choice: Choice, folder: JobFolder, cuts: Sequence[slice], *, prefix_keys: bool, is_uniform: bool
) -> Iterator[ShardTask]:
    """A task for each shard, made when it is asked for."""
    inputs = tuple((str(given.shards.path), given.shards.fingerprint) for given in choice.inputs)
    prefixes = tuple(f"{given.name}/" if prefix_keys else "" for given in choice.inputs)
    for number, cut in enumerate(cuts):
        source, row = choice.source[cut], choice.row[cut]
        yield ShardTask(
            folder=folder,
            number=number,
            inputs=inputs,
            prefixes=prefixes,
            source=source,
            row=row,
            is_uniform=is_uniform,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenShard:
    """A shard that is there.

    Attributes:
        num_bytes: of its tar.
        form: what its samples have, of a uniform shard.
    """

    num_bytes: int
    form: SetForm | None


def write_shard(task: ShardTask) -> WrittenShard:
    """Write the shard of a task, unless it is there and whole.

    Raises:
        ShardError: a page of the input cannot be read, or not be written, by name.
    """
    path, form = task.folder.out / task.name, SetForm() if task.is_uniform else None
    record = _written_before(task)
    if record is None:
        entry = _write(task, path, form)
        tree = None if form is None else form.as_tree()
        paths = ShardPaths.of(path)
        task.folder.keep([paths.meta.name, paths.idx.name, paths.tar.name])
        record = task.folder.note_done(task.name, task.made_of, digest=entry.digest, form=tree)
    known = record["form"] and SetForm.from_tree(record["form"])
    num_bytes = load_meta(ShardPaths.of(path).meta).tar_bytes if task.folder.store else path.stat().st_size
    return WrittenShard(num_bytes=num_bytes, form=known)


def is_written(task: ShardTask) -> bool:
    """Whether the shard of a task is there and whole."""
    return _written_before(task) is not None


def _written_before(task: ShardTask) -> Mapping[str, Any] | None:
    path = task.folder.out / task.name
    record = task.folder.done(task.name, task.made_of, path)
    if record is None or not task.folder.store:
        return record if record is not None and is_complete(path, str(record["digest"])) else None
    num_bytes = task.folder.num_bytes(task.name)
    if num_bytes is None:
        return None
    try:
        return record if load_complete(path, tar_bytes=num_bytes).digest == record["digest"] else None
    except ShardError:
        return None


def _write(task: ShardTask, path: Path, form: SetForm | None) -> ShardEntry:
    path.unlink(missing_ok=True)
    with ShardWriter(path) as writer:
        for start in range(0, len(task.row), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            for source, row in _runs(task.source[part], task.row[part]):
                _add_rows(writer, task, source, row, form)
    assert writer.summary is not None
    return writer.summary


def _runs(source: NDArray[np.int32], row: Ints) -> Iterator[tuple[int, list[int]]]:
    """Neighbours of one input, in order."""
    borders = [0, *(np.flatnonzero(np.diff(source)) + 1).tolist(), len(source)]
    for first, last in pairwise(borders):
        yield int(source[first]), row[first:last].tolist()


def _add_rows(writer: ShardWriter, task: ShardTask, source: int, rows: list[int], form: SetForm | None) -> None:
    shards = _opened(*task.inputs[source])
    for row, sample in zip(rows, shards.read_many(rows), strict=True):
        try:
            if isinstance(sample, PageError):
                raise sample
            key, members = sample
            page = page_from_members(key, members, text_chars=int(shards.text_chars[row]), rules=shards.rules)
            if shards.rules.field_map is not None:  # from here on nobody has to know the map
                members = _own_members(page)
            entry = SampleEntry.of(page, _sizes(shards, row))
            if form is not None:
                members = filled(page, members)
                form.add(members)
            writer.add(task.prefixes[source] + key, members, entry)
        except ShardIndexError:
            raise  # no page is at fault
        except (PageError, ShardError) as error:
            raise ShardError(
                f"{shards.path}: the page {name_of_row(shards, row)!r} cannot be copied: {error}. Leave such pages out "
                "with --exclude-list; `wdstream verify` names all that are damaged, and `wdstream make-shards` repacks "
                "tars whose names shards cannot hold"
            ) from error


def _own_members(page: Page) -> dict[str, bytes]:
    """The members of a page in the form of make-shards."""
    formats = [(image_format(image) or "unknown").lower() for image in page.images]
    return members_from_page(page, [_SHORT_NAMES.get(name, name) for name in formats])


def filled(page: Page, members: dict[str, bytes]) -> dict[str, bytes]:
    """The members of a page, with an empty text and json where it has none; those of a row are as they are."""
    images = sort_parts(members).images
    if len(images) != 1 or not is_image(images[0]) or images[0][0].isdigit():
        return members
    if TEXT_EXTENSION not in members and JSON_EXTENSION in members:
        return members  # a row of one image
    return {TEXT_EXTENSION: b"", JSON_EXTENSION: b"{}", **members}


def _sizes(shards: Shards, row: int) -> list[tuple[int, int]]:
    images = slice(int(shards.image_start[row]), int(shards.image_start[row + 1]))
    return list(zip(shards.image_width[images].tolist(), shards.image_height[images].tolist(), strict=True))


@lru_cache(maxsize=64)
def _opened(path: str, fingerprint: str) -> Shards:
    """An input, the same as when the job began."""
    shards = Shards.open(path)
    if shards.fingerprint != fingerprint:
        raise ShardError(f"{path} changed while it was read: run the same command again")
    return shards
