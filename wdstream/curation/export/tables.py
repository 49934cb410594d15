"""`wdstream export parquet` and `datasets`: pages as rows of tables, images in them, by pyarrow.

choose and cut ─► types of all rows, in processes ─► a file per task, in processes ─► what the folder needs around them

Files are complete or absent; killed and started again, an export continues. A process holds one group of rows.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from rich.console import Console

from wdstream.curation.export.options import ExportOptions, TableFormat
from wdstream.curation.export.rows import RowTypes, table_of, types_of
from wdstream.curation.resharding.choice import choose, open_inputs
from wdstream.curation.resharding.job_folder import JobFolder, digest_of
from wdstream.curation.resharding.job_output import folder_of, job_output
from wdstream.curation.resharding.reshard_options import bytes_of
from wdstream.curation.resharding.value_types import tree_of, type_from_tree
from wdstream.curation.resharding.write_shards import cut_shards
from wdstream.errors import ConfigError, PageError, ShardError
from wdstream.records import Ints, Page
from wdstream.shards.page_members import page_from_members
from wdstream.shards.reader import Shards
from wdstream.shards.samples.row_name import name_of_row
from wdstream.storage.atomic import atomic_write, write_file
from wdstream.storage.engines.settings import EngineSettings
from wdstream.storage.processes import in_processes

if TYPE_CHECKING:
    import pyarrow as pa

_VERSION = 1
_GROUP_BYTES = 32 << 20
"""Of the pages of one group of rows, which is in memory at a time."""
_TRAIN, _HELD_OUT = "train", "test"
_SUFFIXES: Mapping[TableFormat, str] = {"parquet": ".parquet", "datasets": ".arrow"}

OnPagesWritten = Callable[[int, int], None]
"""Called after each file, with pages done and pages in total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTask:
    """One file to write.

    Attributes:
        folder: the output.
        name: of the file, relative to it.
        path: folder or URL of the shards.
        fingerprint: of their index.
        rows: (k,) of the pages.
        types: of all rows of the export; None while they are being found out.
    """

    folder: JobFolder
    name: str
    path: str
    fingerprint: str
    rows: Ints
    types: RowTypes | None = None

    @property
    def note(self) -> str:
        """The name of what is noted of it."""
        return f"{'types' if self.types is None else 'file'}-{self.name.replace('/', '-')}"

    @property
    def made_of(self) -> str:
        """A digest of all that decides the bytes."""
        types = None if self.types is None else _tree(self.types)
        return digest_of(f"{self.fingerprint} {json.dumps(types)}", self.rows.tobytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What an export wrote: pages and files by split, bytes of all files."""

    out: Path | str
    pages: Mapping[str, int]
    num_files: int
    num_bytes: int
    how_to_read: str

    def print(self, console: Console) -> None:
        """Figures, and how it is read."""
        pages = ", ".join(f"{count:,} pages of {name}" for name, count in self.pages.items())
        figures = f"{self.out}: {pages} in {self.num_files:,} files, {self.num_bytes / 1e6:,.1f} MB"
        console.print(figures, markup=False, highlight=False, soft_wrap=True)
        console.print(f"read it with {self.how_to_read}", markup=False, highlight=False, soft_wrap=True)


def export_tables(
    path: Path | str,
    out: Path | str,
    kind: TableFormat,
    *,
    options: ExportOptions | None = None,
    on_progress: OnPagesWritten | None = None,
) -> ExportReport:
    """Write the pages of shards as tables that `datasets` and pyarrow read, and `wdstream make-shards` again.

    Args:
        path: folder or URL of shards with an index.
        out: a new folder or URL, or one that the same export had begun.
        kind: parquet files, or a folder for `datasets.load_from_disk`.
        options: see `ExportOptions`.
        on_progress: called after each file.

    Raises:
        ConfigError: pyarrow is not installed; options, input or output cannot be used.
        ShardError: a page cannot be read, or the output not be written.
    """
    _require_pyarrow()
    options = options or ExportOptions()
    manifest = "dataset_dict.json" if kind == "datasets" else ""
    with job_output(out, "export", [path], EngineSettings(), manifest=manifest) as output:
        folder = folder_of(output, "export")
        folder.refuse_inside([path])
        report = _export(path, folder, kind, options, on_progress)
    call = f"load_from_disk({str(out)!r})" if kind == "datasets" else f"load_dataset({str(out)!r})"
    return replace(report, out=output.address, how_to_read=f"datasets.{call}")


def _export(
    path: Path | str,
    folder: JobFolder,
    kind: TableFormat,
    options: ExportOptions,
    on_progress: OnPagesWritten | None,
) -> ExportReport:
    tasks = list(_tasks(path, folder, kind, options))
    total = sum(len(task.rows) for task in tasks)
    content = {"version": _VERSION, "kind": kind, "pages": digest_of(*(task.made_of for task in tasks))}
    with folder.claimed(content):
        workers = min(options.num_workers, len(tasks))
        found = in_processes(find_types, tasks, workers, command="export", begin=folder.begin_worker)
        types = reduce(RowTypes.merged, found, RowTypes())
        tasks = [replace(task, types=types) for task in tasks]
        num_bytes = done = 0
        sizes = in_processes(write_table, tasks, workers, command="export", begin=folder.begin_worker)
        for task, size in zip(tasks, sizes, strict=True):
            num_bytes, done = num_bytes + size, done + len(task.rows)
            if on_progress is not None:
                on_progress(done, total)
        if kind == "datasets":
            _write_dataset_dict(folder.out, tasks, types)
    return ExportReport(
        out=folder.out,
        pages=_pages_of(tasks),
        num_files=len(tasks),
        num_bytes=num_bytes,
        how_to_read="",
    )


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ConfigError("exports of tables need pyarrow: pip install 'wdstream[tables]'") from error


def _tasks(path: Path | str, folder: JobFolder, kind: TableFormat, options: ExportOptions) -> Iterator[FileTask]:
    """A task for each file; types are found out later."""
    choice = choose(open_inputs([path]), where=options.where, split=options.split)
    shards, held = choice.inputs[0].shards, choice.held_out()
    for split, mask in ((_TRAIN, ~held), (_HELD_OUT, held)):
        part = choice.take(mask)
        cuts = list(cut_shards(part.column("nbytes"), bytes_of(options.shard_size), None))
        for number, cut in enumerate(cuts):
            place = f"{number:05d}-of-{len(cuts):05d}{_SUFFIXES[kind]}"
            name = f"{split}-{place}" if kind == "parquet" else f"{split}/data-{place}"
            fingerprint = shards.fingerprint
            yield FileTask(folder=folder, name=name, path=str(path), fingerprint=fingerprint, rows=part.row[cut])


def _pages_of(tasks: list[FileTask]) -> dict[str, int]:
    pages: dict[str, int] = {}
    for task in tasks:
        split = _TRAIN if task.name.startswith(_TRAIN) else _HELD_OUT
        pages[split] = pages.get(split, 0) + len(task.rows)
    return pages


def find_types(task: FileTask) -> RowTypes:
    """The types of a task's rows, unless they are noted."""
    record = task.folder.done(task.note, task.made_of)
    if record is None:
        types = types_of(page for group in _groups(task) for page, _ in group)
        record = task.folder.note_done(task.note, task.made_of, types=_tree(types))
    tree: Mapping[str, Any] = record["types"]
    return RowTypes(fields=type_from_tree(tree["fields"]), has_lists=bool(tree["has_lists"]))


def _tree(types: RowTypes) -> dict[str, object]:
    return {"fields": tree_of(types.fields), "has_lists": types.has_lists}


def write_table(task: FileTask) -> int:
    """Write the file of a task, unless it is there; returns its bytes."""
    path = task.folder.out / task.name
    record = task.folder.done(task.note, task.made_of, path)
    if record is None or task.folder.num_bytes(task.name) != record["bytes"]:
        path.parent.mkdir(exist_ok=True)
        assert task.types is not None
        schema = task.types.schema()
        with atomic_write(path) as file, _writer(file, schema, is_parquet=path.suffix == ".parquet") as writer:
            for group in _groups(task):
                writer.write_table(table_of(group, task.types, schema))
        num_bytes = path.stat().st_size
        task.folder.keep([task.name])
        record = task.folder.note_done(task.note, task.made_of, bytes=num_bytes)
    return int(record["bytes"])


class TableWriter(Protocol):
    """What both formats have."""

    def write_table(self, table: "pa.Table") -> None:
        """Write rows as one group."""


@contextmanager
def _writer(file: object, schema: "pa.Schema", *, is_parquet: bool) -> Iterator[TableWriter]:
    """Images are compressed already; the rest of a row is small next to them."""
    if is_parquet:
        import pyarrow.parquet as pq

        with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=False) as parquet:
            yield parquet
        return
    import pyarrow as pa

    with pa.ipc.new_stream(file, schema) as stream:
        yield stream


def _groups(task: FileTask) -> Iterator[list[tuple[Page, Mapping[str, bytes]]]]:
    """The pages of a task with their members, a group of rows at a time."""
    shards = _opened(task.path, task.fingerprint)
    for cut in cut_shards(np.asarray(shards.nbytes[task.rows]), _GROUP_BYTES, None):
        yield [_read(shards, int(row)) for row in task.rows[cut]]


def _read(shards: Shards, row: int) -> tuple[Page, Mapping[str, bytes]]:
    try:
        key, members = shards.read(row)
        return page_from_members(key, members, text_chars=int(shards.text_chars[row]), rules=shards.rules), members
    except PageError as error:
        raise ShardError(
            f"{shards.path}: the page {name_of_row(shards, row)!r} cannot be exported: {error}; mend it (`wdstream "
            "verify` finds all such pages), or leave it out with --where"
        ) from error


@lru_cache(maxsize=8)
def _opened(path: str, fingerprint: str) -> Shards:
    shards = Shards.open(path)
    if shards.fingerprint != fingerprint:
        raise ShardError(f"{path} changed while it was read: run the same command again")
    return shards


def _write_dataset_dict(out: Path, tasks: list[FileTask], types: RowTypes) -> None:
    """What `datasets.load_from_disk` wants next to the files."""
    info = {"citation": "", "description": "", "features": types.features(), "homepage": "", "license": ""}
    splits = sorted({task.name.partition("/")[0] for task in tasks}, reverse=True)
    for split in splits:
        names = [task.name.partition("/")[2] for task in tasks if task.name.startswith(f"{split}/")]
        state: dict[str, object] = {
            "_data_files": [{"filename": name} for name in names],
            "_fingerprint": digest_of(*(task.made_of for task in tasks))[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": split,
        }
        for name, value in (("dataset_info.json", info), ("state.json", state)):
            write_file(out / split / name, json.dumps(value, indent=2, sort_keys=True).encode())
    write_file(out / "dataset_dict.json", json.dumps({"splits": splits}).encode())
