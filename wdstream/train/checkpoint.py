"""Checkpoints that are complete or absent, and finding the newest one that is whole.

    output/checkpoints/step-00000010/      the state before step 10: ten steps are in the weights
        model.safetensors | adapter_model.safetensors     under PEFT the adapter only
        optimizer.bin, random_states_<rank>.pkl           Accelerate's own files
        pytorch_model/                                    under DeepSpeed, instead of weights and optimizer: its shards
        stream.json                                       where the data stream goes on: one for all ranks
        trainer.json                                      counters of the run
        manifest.json                                     every file with its size and checksum; written last

Everything is written to `step-00000010.tmp`; the main process writes the manifest, syncs, and renames. All processes
must see the folder. Accelerate also keeps each rank's random generators, and silently passes over them when the world
has changed; that is harmless here, because every micro-batch seeds its own numbers (step.py).

Under PEFT a checkpoint holds the adapter alone: the frozen base is already on disk at `model.path`.
"""

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list
from safetensors.torch import load_file, save_file

from wdstream.errors import TrainError
from wdstream.storage.atomic import sync_folder, write_file
from wdstream.train.zero import describe_zero, zero_stage

VERSION = 1
PARTIAL = ".tmp"
DELETED = ".deleted"
READ_BYTES = 1 << 24


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
    stream: Mapping[str, Any]
    trainer: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run; every method is called by all ranks together."""

    def __init__(self, folder: Path, accelerator: Accelerator, *, keep: int) -> None:
        self._folder = folder
        self._accelerator = accelerator
        self._keep = keep
        self._zero_stage = zero_stage(accelerator)

    def save(self, step: int, *, stream: Mapping[str, Any], trainer: Mapping[str, Any]) -> Path:
        """Write the state before `step`; the older ones beyond `keep` are removed afterwards."""
        accelerator = self._accelerator
        final = self._folder / f"step-{step:08d}"
        partial = final.with_name(final.name + PARTIAL)
        if accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        accelerator.wait_for_everyone()
        options = {} if self._zero_stage is None else {"exclude_frozen_parameters": True}
        accelerator.save_state(str(partial), **options)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            _write_json(partial / "stream.json", stream)
            _write_json(partial / "trainer.json", trainer)
            _seal(partial, step=step, world_size=accelerator.num_processes, zero_stage=self._zero_stage)
            if final.exists():  # an unreadable one was passed over, and the run has come here again
                _remove(final)
            partial.rename(final)
            sync_folder(self._folder)
            for old in list_steps(self._folder)[self._keep :]:
                _remove(old)
        accelerator.wait_for_everyone()
        return final

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest complete checkpoint, the same on every rank, and a message on each one passed over.

        Raises:
            TrainError: there are checkpoints, and none is whole.
        """
        found: list[Any] = [None, []]
        if self._accelerator.is_main_process:
            found = list(find_newest(self._folder))
        broadcast_object_list(found)
        checkpoint, messages = found
        if checkpoint is None and messages:
            raise TrainError(
                "\n".join([*messages, f"{self._folder}: no checkpoint is whole; restore one, or remove the folder"])
            )
        return checkpoint, messages

    def check(self, checkpoint: Checkpoint) -> None:
        """Refuse a checkpoint whose shards this start cannot put together.

        Raises:
            TrainError: it was written under another ZeRO stage, or under one by another number of processes.
        """
        ours, theirs, world = self._zero_stage, checkpoint.zero_stage, self._accelerator.num_processes
        if theirs != ours:
            raise TrainError(
                f"{checkpoint.path} was written {describe_zero(theirs)}, and this start is {describe_zero(ours)}; "
                "start it as before, or begin a new run in another train.output"
            )
        if ours is not None and checkpoint.world_size != world:
            raise TrainError(
                f"{checkpoint.path} holds DeepSpeed's shards of {checkpoint.world_size} processes, which {world} "
                f"cannot read; start {checkpoint.world_size} processes, or begin a new run in another train.output"
            )

    def load(self, checkpoint: Checkpoint) -> None:
        """Put the weights and the optimizer's state into what was prepared."""
        # DeepSpeed left the frozen weights out; they are those of `model.path`, as under PEFT without it.
        options = {} if self._zero_stage is None else {"load_module_strict": False}
        self._accelerator.load_state(str(checkpoint.path), **options)


def list_steps(folder: Path) -> list[Path]:
    """Finished checkpoint folders, newest first."""
    return sorted((path for path in folder.glob("step-*") if not path.suffix), reverse=True)


def find_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint of a folder, and why newer ones were passed over; removes what a kill left behind."""
    for leftover in (*folder.glob("step-*" + PARTIAL), *folder.glob("step-*" + DELETED)):
        shutil.rmtree(leftover, ignore_errors=True)
    messages: list[str] = []
    for path in list_steps(folder):
        try:
            return read_checkpoint(path), messages
        except TrainError as error:
            messages.append(f"{error}; passed over")
    return None, messages


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises:
        TrainError: a file is missing, truncated or changed.
    """
    manifest = _read_json(path / "manifest.json")
    if manifest.get("version") != VERSION:
        raise TrainError(f"{path}: manifest version {VERSION} expected, found {manifest.get('version')!r}")
    files: dict[str, dict[str, int]] = manifest["files"]
    with ThreadPoolExecutor(max_workers=8) as pool:
        # strict=True would hide nothing here: map gives one answer for every name.
        for name, found in zip(files, pool.map(_measure, (path / name for name in files)), strict=True):
            if found != files[name]:
                raise TrainError(f"{path / name}: expected {files[name]}, found {found or 'no file'}")
    return Checkpoint(
        path=path,
        step=manifest["step"],
        world_size=manifest["world_size"],
        zero_stage=manifest.get("zero_stage"),
        stream=_read_json(path / "stream.json"),
        trainer=_read_json(path / "trainer.json"),
    )


def _seal(folder: Path, **facts: int | None) -> None:
    """Sync every file and write the manifest over all of them: `facts` of the checkpoint, and each file's size."""
    paths = sorted(_files_below(folder))
    with ThreadPoolExecutor(max_workers=8) as pool:
        measures = list(pool.map(_measure, paths))
        list(pool.map(_sync_file, paths))
    files = {str(path.relative_to(folder)): measure for path, measure in zip(paths, measures, strict=True)}
    for inner in {path.parent for path in paths}:
        sync_folder(inner)
    _write_json(folder / "manifest.json", {"version": VERSION, **facts, "files": files})


def _files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _measure(path: Path) -> dict[str, int] | None:
    """Size and checksum of a file, None when there is none; crc32 runs outside Python's lock, at disk speed."""
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
    doomed = path.with_name(path.name + DELETED)
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _write_json(path: Path, tree: Mapping[str, Any]) -> None:
    write_file(path, json.dumps(tree, indent=2).encode())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrainError(f"{path}: cannot be read ({error})") from error
    if not isinstance(tree, dict):
        raise TrainError(f"{path}: expected a JSON object, found {type(tree).__name__}")
    return tree


ADAPTER_FILE = "adapter_model.safetensors"


def save_adapter_only(accelerator: Accelerator) -> None:
    """Make `save_state` and `load_state` leave out the base model.

    FSDP and DeepSpeed save shards on paths of their own, which these hooks do not touch: a checkpoint of FSDP holds the
    whole model, one of DeepSpeed what is trained (checkpoint.py).
    """
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        return

    def save(models: list[Any], weights: list[Any], folder: str) -> None:
        from peft import get_peft_model_state_dict

        for model in models:
            if accelerator.is_main_process:
                state = get_peft_model_state_dict(accelerator.unwrap_model(model))
                tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())}
                save_file(tensors, Path(folder) / ADAPTER_FILE)
        weights.clear()  # what stays in the list, Accelerate writes

    def load(models: list[Any], folder: str) -> None:
        from peft import set_peft_model_state_dict

        while models:  # what stays in the list, Accelerate loads
            model = accelerator.unwrap_model(models.pop())
            set_peft_model_state_dict(model, load_file(Path(folder) / ADAPTER_FILE))

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)
