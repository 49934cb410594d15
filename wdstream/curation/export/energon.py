"""`wdstream export energon`: what megatron-energon wants next to tars, so that `energon prepare` is not needed.

    .nv-meta/index.sqlite, index.uuid   where each sample and each of its parts is, in energon's own tables
    .nv-meta/.info.json, split.yaml     samples of each shard, and which shards are of which split
    .nv-meta/dataset.yaml               samples come as bytes, to a cooker
    .nv-meta/wdstream_cooker            one that reads all forms of pages, to begin with (cooker.txt)

Our `.tar.idx` is energon's already. The tars are not touched.
"""

import json
import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml
from rich.console import Console

from wdstream.errors import ConfigError, ShardError
from wdstream.shards.catalog import Catalog
from wdstream.shards.index_files import IndexFiles
from wdstream.shards.layout import group_samples
from wdstream.shards.meta import load_complete
from wdstream.shards.tar_header import walk
from wdstream.storage.atomic import atomic_folder
from wdstream.storage.processes import in_processes

NV_META = ".nv-meta"
_OURS = "wdstream_run.json"
_COOKER = "wdstream_cooker" + ".py"
_TABLES = (
    "CREATE TABLE samples (tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE, "
    "sample_index INTEGER NOT NULL, byte_offset INTEGER, byte_size INTEGER)",
    "CREATE TABLE sample_parts (tar_file_id INTEGER, sample_index INTEGER, part_name TEXT, "
    "content_byte_offset INTEGER, content_byte_size INTEGER)",
)
_INDEXES = (
    "CREATE INDEX idx_samples_by_tar_and_idx ON samples(tar_file_id, sample_index)",
    "CREATE INDEX idx_sample_parts_seq ON sample_parts(tar_file_id, sample_index, content_byte_offset)",
    "CREATE INDEX idx_sample_parts_full ON sample_parts(tar_file_id, sample_index, part_name, content_byte_offset, "
    "content_byte_size)",
)

OnSamplesListed = Callable[[int, int], None]
"""Called after each shard, with samples done and samples in total."""
SampleRow = tuple[str, int, int]
PartRow = tuple[int, str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergonReport:
    """What energon can read now."""

    folder: Path
    num_shards: int
    num_samples: int

    def print(self, console: Console) -> None:
        """A line of figures, and where to begin."""
        lines = [
            f"{self.folder / NV_META}: {self.num_samples:,} samples of {self.num_shards:,} shards, for energon",
            f"samples are read by a cooker: {self.folder / NV_META / _COOKER} is one to begin with",
        ]
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def export_energon(
    folder: Path, *, workers: int | None = None, on_progress: OnSamplesListed | None = None
) -> EnergonReport:
    """Write `.nv-meta/` into a folder of shards with an index; complete or absent.

    Args:
        folder: of shards on this machine.
        workers: processes; all cores when left out.
        on_progress: called after each shard.

    Raises:
        ConfigError: there is a `.nv-meta/` of others, or energon would not have the samples that the index has.
        ShardIndexError: there is no index.
        ShardError: a shard is not as it was indexed, or the files cannot be written.
    """
    catalog = IndexFiles(folder).catalog
    target = folder / NV_META
    if target.exists() and not (target / _OURS).is_file():
        raise ConfigError(f"{target}: energon prepared this folder already; move it away to have it written again")
    refuse_held_out(folder)
    if catalog.field_map:
        raise ConfigError(
            f"{folder}: samples are read by a map ({catalog.field_map.strip()}), which energon does not know: give "
            f"`wdstream export energon {folder} OUT` a new folder, whose samples need none"
        )
    tasks = [(folder, number, entry.name, entry.digest) for number, entry in enumerate(catalog.shards)]
    shards = in_processes(list_samples, tasks, min(workers or os.cpu_count() or 1, len(tasks)), command="export")
    try:
        with atomic_folder(target) as temp:
            _write_index(temp, catalog, shards, on_progress)
            _write_settings(temp, catalog)
    except OSError as error:
        raise ShardError(f"{target}: cannot be written ({error.strerror or error})") from error
    return EnergonReport(folder=folder, num_shards=len(catalog.shards), num_samples=catalog.num_samples)


def refuse_held_out(shards: Path | str) -> None:
    """Check that no page is held out.

    Raises:
        ConfigError: some are.
        ShardIndexError: there is no index.
    """
    rule = IndexFiles(shards).catalog.split
    if rule is not None:
        raise ConfigError(
            f"{shards}: pages are held out ({rule.describe()}), and energon's splits are of whole shards: "
            "write two folders with `wdstream reshard --split train` and `--split held_out`, and export each"
        )


def list_samples(task: tuple[Path, int, str, str]) -> tuple[list[SampleRow], list[PartRow]]:
    """Key, offset and bytes of each sample of a shard; number of its sample, name, offset and bytes of each part.

    Raises:
        ConfigError: energon would have other samples than the index.
        ShardError: the shard is not as it was indexed.
    """
    folder, _, name, digest = task
    meta = load_complete(folder / name)
    if meta.digest != digest:
        raise ShardError(f"{folder / name} changed after it was indexed: run `wdstream verify {folder}`")
    descriptor = os.open(folder / name, os.O_RDONLY)
    try:
        members = walk(lambda offset, length: os.pread(descriptor, length, offset), 0, meta.tar_bytes)
        spans = list(group_samples(members))
    finally:
        os.close(descriptor)
    if [span.key for span in spans] != [meta.key(sample) for sample in range(meta.num_samples)]:
        raise ConfigError(
            f"{folder / name}: energon takes keys from the tars and uses every sample; the index has other keys, or "
            "leaves samples out: write shards of the index first, with `wdstream reshard`"
        )
    samples = [(span.key, span.offset, span.end - span.offset) for span in spans]
    parts = [
        (number, extension, member.data_offset, member.size)
        for number, span in enumerate(spans)
        for extension, member in span.members.items()
    ]
    return samples, parts


def _write_index(
    temp: Path,
    catalog: Catalog,
    shards: Iterator[tuple[list[SampleRow], list[PartRow]]],
    on_progress: OnSamplesListed | None,
) -> None:
    """The database, one shard after the other; what is written holds no time, so it is the same each time."""
    with closing(sqlite3.connect(temp / "index.sqlite")) as database:
        for statement in _TABLES:
            database.execute(statement)
        done = 0
        for number, (samples, parts) in enumerate(shards):
            rows = ((number, key, index, offset, size) for index, (key, offset, size) in enumerate(samples))
            database.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?)", rows)
            database.executemany("INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)", ((number, *part) for part in parts))
            database.commit()
            done += len(samples)
            if on_progress is not None:
                on_progress(done, catalog.num_samples)
        for statement in _INDEXES:
            database.execute(statement)
        database.commit()
    (temp / "index.uuid").write_text(str(uuid.UUID(catalog.fingerprint)))


def _write_settings(temp: Path, catalog: Catalog) -> None:
    counts = {entry.name: entry.samples for entry in catalog.shards}
    (temp / ".info.json").write_text(json.dumps({"energon_version": None, "shard_counts": counts}, indent=2))
    splits = {"split_parts": {"train": list(counts), "val": [], "test": []}, "exclude": []}
    (temp / "split.yaml").write_text(yaml.safe_dump(splits, sort_keys=False))
    dataset = {"__module__": "megatron.energon", "__class__": "CrudeWebdataset", "decoder": None}
    (temp / "dataset.yaml").write_text(yaml.safe_dump(dataset, sort_keys=False))
    (temp / _OURS).write_text(json.dumps({"fingerprint": catalog.fingerprint}))
    with resources.as_file(resources.files(__package__) / "cooker.txt") as cooker:
        shutil.copyfile(cooker, temp / _COOKER)
