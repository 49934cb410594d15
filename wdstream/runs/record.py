"""What a run leaves behind so that anyone can say later what it did.

    run.json         configuration as resolved, fingerprints of the plan, versions, every start with its world
    steps.jsonl      a line a step: digest of the pages trained, world, pages, supervised tokens
    states.jsonl     a line a checkpoint, and every 8,192 pages: the stream's state after that step, about 1 kB
    quarantine.jsonl pages that failed (quarantine.py)
    pages.jsonl, rejects.jsonl    of tars without an index only: the keys of every step, and the pages that fit no pack

From `run.json` and the nearest state, the pages of any step are computed again; the digest says whether they are the
ones that were trained. Written by the main process.
"""

import json
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wdstream.config.schema import Config
from wdstream.errors import TrainError
from wdstream.storage.atomic import write_file
from wdstream.storage.json_lines import LineFile, cut_back
from wdstream.storage.lock import FileLock

VERSION = 1
PACKAGES = ("wdstream", "torch", "transformers", "accelerate", "peft", "bitsandbytes", "tokenizers", "numpy", "pillow")
LINE_FILES = (
    *("metrics.jsonl", "eval.jsonl", "steps.jsonl", "states.jsonl"),
    *("quarantine.jsonl", "pages.jsonl", "rejects.jsonl"),
)


class RunRecord:
    """The record of one run.

    Args:
        output: folder of the run; it exists.
    """

    def __init__(self, output: Path) -> None:
        self._path = output / "run.json"
        self._output = output
        self._steps = LineFile(output / "steps.jsonl")
        self._states = LineFile(output / "states.jsonl")
        self._pages = LineFile(output / "pages.jsonl")

    def start(
        self,
        config: Config,
        *,
        fingerprints: Mapping[str, Any],
        step: int,
        world_size: int,
        data: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> list[str]:
        """Note a start at `step`, and cut the growing files back to it. `data` as in train/stream.py.

        Returns:
            A line for each setting, and each data set, that differs from the start before, to be shown to the user.
        """
        settings = config.model_dump(mode="json")
        before = json.loads(self._path.read_bytes()) if self._path.exists() else {}
        starts = [entry for entry in before.get("starts", []) if step > 0]
        record = {
            "version": VERSION,
            "config": settings,
            "fingerprints": dict(fingerprints),
            "data": dict(data or {}),
            "packages": package_versions(),
            "starts": [*starts, {"step": step, "world_size": world_size}],
        }
        write_file(self._path, json.dumps(record, indent=2).encode())
        for name in LINE_FILES:
            cut_back(self._output / name, next_step=step)
        if step == 0 or "config" not in before:
            return []
        return [*differences(before["config"], settings), *differences(before.get("data", {}), data or {}, "data set ")]

    def add_step(self, line: Mapping[str, Any]) -> None:
        """Append a step to the ledger."""
        self._steps.append(line)

    def add_pages(self, step: int, keys: Mapping[int, Sequence[str]]) -> None:
        """Append the keys of a step by pack number, where no plan could name them later."""
        self._pages.append({"step": step, "packs": {str(number): list(pages) for number, pages in keys.items()}})

    def add_state(self, step: int, stream: Mapping[str, Any]) -> None:
        """Append the stream's state after `step`."""
        self._states.append({"step": step, "stream": stream})


def run_lock(output: Path) -> FileLock:
    """The lock of a run's folder, which is made when it is missing: one run, one writer.

    A launcher that is killed leaves its processes behind, still training. Started again at once, the run would be
    written by two; so the second one is refused with a TrainError, which names the other, until the first is gone.
    """
    output.mkdir(parents=True, exist_ok=True)
    return FileLock(
        output / "lock",
        wait_s=0,
        note=f"pid {os.getpid()}\n",
        refuse=lambda holder: TrainError(
            f"{output}: another process ({holder or 'unknown'}) is training here; "
            "wait for it, end it, or choose another train.output"
        ),
    )


def data_differences(output: Path, data: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for each data set that is not as the last start of a run found it."""
    path = output / "run.json"
    before = json.loads(path.read_bytes()).get("data", {}) if path.exists() else {}
    return differences(before, data, "data set ")


def differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """One line for each setting that changed, such as `train.lr: 0.001 -> 0.0005`."""
    lines: list[str] = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {old} -> {new}")
    return lines


def package_versions() -> dict[str, str | None]:
    """Installed versions of what can change a result; None where a package is absent."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
