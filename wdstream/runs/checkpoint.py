"""Checkpoints on disk: complete or absent, and the newest one that is whole.

    output/checkpoints/step-00000010/      the state before step 10: ten steps are in the weights
        (weights, optimizer, ...)          train/saving/checkpoint.py
        stream.json                        where the data stream continues: one for all ranks
        trainer.json                       counters of the run
        manifest.json                      every file with its size and checksum; written last

Everything is written to `step-00000010.tmp`; each process syncs and measures the files that it wrote, then the main
process writes the manifest over all of them and renames.
"""

import json
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wdstream.errors import TrainError, load_json
from wdstream.storage.atomic import sync_folder, write_file

if TYPE_CHECKING:
    from wdstream.nodes.node import State

MANIFEST_VERSION = 1
STREAM, TRAINER, MANIFEST = "stream.json", "trainer.json", "manifest.json"
PARTIAL, DELETED = ".tmp", ".deleted"
READ_BYTES = 1 << 24
THREADS = 8
RANK_IN_NAME = re.compile(r"(?:^random_states_|^__|pp_rank_)(\d+)")
"""In the names of files that every rank writes: Accelerate's, those of torch.distributed.checkpoint, DeepSpeed's."""

Measures = dict[str, "dict[str, int] | None"]
"""Size and checksum of files, by their names in a checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint on disk.

    Attributes:
        path: its folder.
        step: first step that is not in the weights.
        world_size: number of processes that wrote it.
        zero_stage: of DeepSpeed, under which they wrote it; None without it.
        stream: state of the data stream.
        trainer: counters of the run.
    """

    path: Path
    step: int
    world_size: int
    zero_stage: int | None
    stream: "State"
    trainer: Mapping[str, int]


def checkpoint_path(folder: Path, step: int) -> Path:
    """The folder of a checkpoint."""
    return folder / f"step-{step:08d}"


def partial_path(path: Path) -> Path:
    """Where the files of a checkpoint are while it is being written, so that nobody takes them for one."""
    return path.with_suffix(PARTIAL)


def begin_checkpoint(path: Path) -> None:
    """Make `partial_path` an empty folder."""
    shutil.rmtree(partial_path(path), ignore_errors=True)
    partial_path(path).mkdir(parents=True)


def measure_own_files(path: Path, rank: int) -> Measures:
    """Sync and measure the files in `partial_path` that a rank wrote, as their names say; rank 0, all others."""
    partial = partial_path(path)
    return _measure_files(partial, [file for file in _files_in(partial) if _writer(file) == rank])


def finish_checkpoint(checkpoint: Checkpoint, *, measured: Sequence[Measures], keep: "Retention") -> None:
    """Seal the files in `partial_path` as a checkpoint, and remove the older ones that are not to be kept.

    Args:
        checkpoint: its facts.
        measured: of each rank, what `measure_own_files` gave there.
        keep: which ones are kept.

    Raises:
        TrainError: a file that a rank wrote is not there.
    """
    path = checkpoint.path
    partial = partial_path(path)
    _write_json(partial / STREAM, checkpoint.stream)
    _write_json(partial / TRAINER, checkpoint.trainer)
    _write_manifest(partial, checkpoint, measured)
    if path.exists():  # an unreadable one was passed over, and the run has come here again
        _remove(path)
    partial.rename(path)
    sync_folder(path.parent)
    remove_old_checkpoints(path, keep)


def remove_old_checkpoints(newest: Path, keep: "Retention") -> None:
    """Remove the checkpoints next to the newest one, and before it, that are not kept; later ones were passed over."""
    steps = map(step_of, list_checkpoints(newest.parent))
    for old in keep.removed(step for step in steps if step <= step_of(newest)):
        _remove(checkpoint_path(newest.parent, old))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Which checkpoints of a run are kept when a new one is complete.

    Attributes:
        newest: this many of those that nothing below keeps.
        every: those at multiples of this step are never removed; None: there are none such.
        best: step of the best one, which is kept; None where there is none.
    """

    newest: int
    every: int | None = None
    best: int | None = None

    def removed(self, steps: Iterable[int]) -> list[int]:
        """The steps of checkpoints that are not kept, newest first."""
        others = [step for step in steps if step != self.best and (self.every is None or step % self.every)]
        return sorted(others, reverse=True)[self.newest :]


def list_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoint folders, newest first."""
    paths = (path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdecimal())
    return sorted(paths, key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """The step of a checkpoint, by the name of its folder."""
    return int(path.name.removeprefix("step-"))


def remove_half_done(folder: Path) -> None:
    """Remove what a kill left between checkpoints: one that was being written, or removed."""
    for leftover in (*folder.glob("step-*" + PARTIAL), *folder.glob("step-*" + DELETED)):
        shutil.rmtree(leftover, ignore_errors=True)


def find_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint of a folder, and why newer ones were passed over; removes what a kill left there."""
    remove_half_done(folder)
    messages: list[str] = []
    for path in list_checkpoints(folder):
        try:
            return read_checkpoint(path), messages
        except TrainError as error:
            messages.append(f"{error}; passed over")
    return None, messages


def require_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """`find_newest`, where a run that has checkpoints must not begin again because none is whole.

    Raises:
        TrainError: there are checkpoints, and none is whole.
    """
    newest, messages = find_newest(folder)
    if newest is None and messages:
        raise TrainError("\n".join([*messages, f"{folder}: no checkpoint is whole; restore one, or remove the folder"]))
    return newest, messages


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises:
        TrainError: a file is missing, truncated or changed.
    """
    manifest = read_manifest(path)
    files: dict[str, dict[str, int]] = manifest["files"]
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        for name, measure in zip(files, pool.map(_measure, (path / name for name in files)), strict=True):
            if measure != files[name]:
                raise TrainError(f"{path / name}: expected {files[name]}, found {measure or 'no file'}")
    return Checkpoint(
        path=path,
        step=manifest["step"],
        world_size=manifest["world_size"],
        zero_stage=manifest.get("zero_stage"),
        stream=_read_json(path / STREAM),
        trainer=_read_json(path / TRAINER),
    )


def read_manifest(path: Path) -> "State":
    """The manifest of a checkpoint, whose files are not looked at: their sizes are in its `files`.

    Raises:
        TrainError: it cannot be read, or is not one.
    """
    manifest = _read_json(path / MANIFEST)
    if manifest.get("version") != MANIFEST_VERSION:
        raise TrainError(f"{path}: manifest version {MANIFEST_VERSION} expected, found {manifest.get('version')!r}")
    if missing := {"step", "world_size", "files"} - manifest.keys():
        raise TrainError(f"{path / MANIFEST}: lacks {', '.join(sorted(missing))}")
    files = manifest["files"]
    measures = list(files.values()) if isinstance(files, dict) else [None]
    sizes = [one.get("bytes") if isinstance(one, dict) else None for one in measures]
    if not all(isinstance(number, int) for number in (manifest["step"], manifest["world_size"], *sizes)):
        raise TrainError(f"{path / MANIFEST}: expected step, world_size, and files with their bytes: it is damaged")
    return manifest


def _write_manifest(folder: Path, checkpoint: Checkpoint, measured: Sequence[Measures]) -> None:
    """Write the manifest over all files: facts of the checkpoint, and each file's size and checksum."""
    measures = {name: measure for measures in measured for name, measure in measures.items()}
    there = {str(path.relative_to(folder)): path for path in _files_in(folder)}
    absent = sorted(measures.keys() - there.keys())
    if absent:
        raise TrainError(
            f"{folder / absent[0]}: written by another process, and not there for the main one: every process must see "
            "the same train.output"
        )
    measures |= _measure_files(folder, [path for name, path in there.items() if name not in measures])
    files = {name: measures[name] for name in there}
    for inner in {path.parent for path in there.values()}:
        sync_folder(inner)
    facts = {name: getattr(checkpoint, name) for name in ("step", "world_size", "zero_stage")}
    _write_json(folder / MANIFEST, {"version": MANIFEST_VERSION, **facts, "files": files})


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _writer(path: Path) -> int:
    """The rank that wrote a file, by its name."""
    found = RANK_IN_NAME.search(path.name)
    return int(found[1]) if found else 0


def _measure_files(folder: Path, paths: Sequence[Path]) -> Measures:
    """Sync and measure files, by their names in the folder."""
    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        measures = list(pool.map(_measure, paths))
        list(pool.map(_sync_file, paths))
    return {str(path.relative_to(folder)): measure for path, measure in zip(paths, measures, strict=True)}


def _measure(path: Path) -> dict[str, int] | None:
    """What the manifest keeps of a file, None when there is none; crc32 runs outside Python's lock, at disk speed."""
    if not path.is_file():
        return None
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            checksum = zlib.crc32(block, checksum)
        return {"bytes": file.tell(), "crc32": checksum}


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    """Renamed first: a kill in between leaves a folder that nobody takes for a checkpoint."""
    doomed = path.with_suffix(DELETED)
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _write_json(path: Path, tree: Mapping[str, object]) -> None:
    write_file(path, json.dumps(tree, indent=2).encode())


def _read_json(path: Path) -> "State":
    try:
        tree: object = load_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrainError(f"{path}: cannot be read ({error})") from error
    if not isinstance(tree, dict):
        raise TrainError(f"{path}: expected a JSON object, found {type(tree).__name__}")
    return tree
