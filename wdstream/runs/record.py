"""run.json and the ledger of a run: written while it trains, read by whoever asks later what it did.

    run.json     configuration as resolved, fingerprints of the plan, sizes of the datasets, versions, every start
    ledger       steps.jsonl, states.jsonl, pages.jsonl (layout.py)
    quarantine   pages that failed at run time: each is listed once, and too many of them stop the run

From `run.json` and the nearest state, the pages of any step are computed again; the ledger's digest says whether they
are the ones that were trained. A page that failed kept its slot in its pack (same tokens, blank tiles, labels masked),
so nothing else changed.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from wdstream.config.schema import Config
from wdstream.errors import TrainError, load_json
from wdstream.plan.deal import pages_digest
from wdstream.records import Failure
from wdstream.runs.layout import PagesLine, RunLayout, StateLine, StepLine, page_line, read_listed
from wdstream.storage.atomic import write_file
from wdstream.storage.json_lines import LineFile
from wdstream.storage.lock import FileLock

if TYPE_CHECKING:
    from wdstream.nodes.node import State

RECORD_VERSION = 1
NUM_NEWEST = 10
"""Failed pages that are named when there are too many."""
PACKAGES = ("wdstream", "torch", "transformers", "accelerate", "peft", "bitsandbytes", "tokenizers", "numpy", "pillow")

DataSizes = Mapping[str, Mapping[str, int | str]]
"""How large each dataset is, by name: its shards and pages, and a digest of its index; tells how it changed."""


class Start(TypedDict):
    """One start of a run: the step it began with, and its number of processes."""

    step: int
    world_size: int


class RunOrigin(TypedDict):
    """Where a run continues another one: the checkpoint, and its step, the first one of this run's ledger."""

    step: int
    checkpoint: str


class PageList:
    """A list of pages and why they are in it, each once, on the main process.

    Args:
        path: the list; pages already in it are not listed again.

    Attributes:
        before: the pages listed at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = LineFile(path)
        lines = read_listed(path)
        self.before = tuple(Failure(key=line["key"], sample=line["sample"], reason=line["reason"]) for line in lines)
        self._known = {page.key for page in self.before}

    def __len__(self) -> int:
        """Pages listed."""
        return len(self._known)

    def add(self, failures: Iterable[Failure], *, step: int) -> None:
        """List the pages of a step that are not listed yet."""
        for failure in failures:
            if failure.key not in self._known:
                self._known.add(failure.key)
                self._file.append(page_line(failure, step=step))


class Quarantine(PageList):
    """The failed pages of a run; a resumed run does not read them again.

    Args:
        path: see PageList.
        max_bad_fraction: share of pages that may fail.
    """

    def __init__(self, path: Path, *, max_bad_fraction: float) -> None:
        super().__init__(path)
        self._max_bad_fraction = max_bad_fraction

    def check(self, num_pages: int) -> None:
        """Stop the run when more of `num_pages` trained pages failed than allowed.

        Raises:
            TrainError: too many failed; names the newest and the list.
        """
        if len(self) <= allowed_failures(num_pages, self._max_bad_fraction):
            return
        newest = [f"  {line['key']}: {line['reason']}" for line in read_listed(self._path)][-NUM_NEWEST:]
        raise TrainError(
            f"{len(self)} of {num_pages} pages failed, more than data.max_bad_fraction {self._max_bad_fraction} "
            f"allows; all are listed in {self._path}, the newest:\n" + "\n".join(newest)
        )


class RunRecord:
    """Writes the ledger of one run, and lists its pages; made by `start_record`.

    Args:
        files: of the run; the folder exists.
        max_bad_fraction: share of pages that may fail.

    Attributes:
        steps: the ledger; a StepLine for each step.
        saves: a line for each checkpoint, about its time.
        quarantine: pages that failed.
        rejects: pages that fit no pack, of a stream without a plan that could list them.
    """

    def __init__(self, files: RunLayout, *, max_bad_fraction: float) -> None:
        self._record = files.record
        self.steps = LineFile(files.steps)
        self._states = LineFile(files.states)
        self._pages = LineFile(files.pages)
        self.saves = LineFile(files.saves)
        self.quarantine = Quarantine(files.quarantine, max_bad_fraction=max_bad_fraction)
        self.rejects = PageList(files.rejects)

    def add_pages(self, step: int, keys: Mapping[int, Sequence[str]]) -> None:
        """Append the keys of a step by pack number, where no plan could name them later."""
        packs = {str(number): list(pages) for number, pages in keys.items()}
        self._pages.append(PagesLine(step=step, packs=packs))

    def note_total(self, total_steps: int) -> None:
        """Write down how many steps the run has, in `run.json`."""
        record = _read_json(self._record)
        write_file(self._record, json.dumps({**record, "total_steps": total_steps}, indent=2).encode())

    def add_state(self, step: int, stream: "State") -> None:
        """Append the stream's state after `step`."""
        self._states.append(StateLine(step=step, stream=stream))


def run_lock(output: Path) -> FileLock:
    """The lock of a run's folder, which is made when it is missing: one run, one writer.

    A launcher that is killed leaves its processes training. Started again at once, the run would be written by
    two; so the second one is refused with a TrainError, which names the other, until the first is gone.
    """
    output.mkdir(parents=True, exist_ok=True)
    return FileLock(
        RunLayout(output).lock,
        wait_s=0,
        note=f"pid {os.getpid()}\n",
        refuse=lambda holder: TrainError(
            f"{output}: another process ({holder or 'unknown'}) is training here; "
            "wait for it, end it, or choose another train.output"
        ),
    )


def start_record(
    files: RunLayout,
    config: Config,
    *,
    fingerprints: Mapping[str, str],
    data: DataSizes,
    step: int,
    world_size: int,
    origin: Path | None = None,
    init: Mapping[str, object] | None = None,
) -> tuple[RunRecord, list[str]]:
    """Note a start at `step` in `run.json`, cut the growing files back to it, and open them.

    Args:
        files: of the run; the folder exists.
        config: of this start.
        fingerprints: of all that decides the stream.
        data: what it is made of.
        step: the step that this start begins with; 0 forgets the starts before.
        world_size: number of processes.
        origin: the checkpoint of another run that this start begins with; nothing that is in the folder counts.
        init: what the weights of a new run begin from (`model.init`); kept by later starts.

    Returns:
        The record, and a line for each setting and dataset that differs from the start before, for the user.
    """
    settings, before = config.model_dump(mode="json"), {} if origin is not None else _read_json(files.record)
    began = before.get("origin") if origin is None else RunOrigin(step=step, checkpoint=str(origin.resolve()))
    record = {
        "version": RECORD_VERSION,
        "config": settings,
        "fingerprints": dict(fingerprints),
        "data": dict(data),
        "packages": package_versions(),
        "starts": [*(before.get("starts", []) if step else []), {"step": step, "world_size": world_size}],
        **({"origin": began} if step and began else {}),
    }
    if begun_from := before.get("init") if step else init:
        record["init"] = begun_from
    write_file(files.record, json.dumps(record, indent=2).encode())
    files.cut_back(next_step=step if origin is None else 0)
    changes = lost_lines(files, step=step)
    if step and "config" in before:
        changes += differences(as_read_today(before["config"]), settings)
        changes += differences(before.get("data", {}), data, "dataset ")
    return RunRecord(files, max_bad_fraction=config.data.max_bad_fraction), changes


def lost_lines(files: RunLayout, *, step: int) -> list[str]:
    """A line for the user where the ledger ends before `step`, the first one that is not in the checkpoint."""
    origin = read_origin(files)
    done = max((line["step"] + 1 for line in files.read_steps()), default=0 if origin is None else origin["step"])
    if done >= step:
        return []
    return [
        f"{files.steps}: the lines of steps {done} to {step - 1} are lost, its end was damaged; the run continues, "
        "and `wdstream audit` cannot vouch for these steps"
    ]


def as_read_today(settings: Mapping[str, object]) -> Mapping[str, object]:
    """Settings that an earlier version wrote, as this one writes them: a key that is new has its default, a colour
    that was a name is three numbers. As they are where they mean nothing today."""
    try:
        return Config.model_validate(settings).model_dump(mode="json")
    except ValueError:
        return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """What a training run left.

    Attributes:
        files: where it is.
        config: of the last start.
        fingerprints: of its plan.
        steps: the ledger, one entry per step.
        states: the stream's states by the step that follows them.
        quarantine: the step at which each failed page was listed, by sample number.
        starts: every start that is still part of the run.
        data: what its plan was made of.
        packages: versions of what it ran with.
        first_step: of the ledger; the steps before are another run's, whose checkpoint this one continues.
    """

    files: RunLayout
    config: Config
    fingerprints: Mapping[str, str]
    steps: Sequence[StepLine]
    states: Mapping[int, "State"]
    quarantine: Mapping[int, int]
    starts: Sequence[Start]
    data: DataSizes
    packages: Mapping[str, str | None]
    first_step: int = 0

    def world_size(self, step: int) -> int:
        """Ranks that trained a step; for one not trained, those of the newest."""
        sizes = {line["step"]: line["world_size"] for line in self.steps}
        return sizes.get(step, sizes[max(sizes)] if sizes else 1)

    def is_skipped(self, step: int) -> bool:
        """Whether a step was passed over; of one that was not reached yet, whether it will be."""
        found = [line.get("skipped", False) for line in self.steps if line["step"] == step]
        return any(found) if found else self.config.train.skips(step)

    def has_failed(self, page: int, step: int) -> bool:
        """Whether a page, by its sample number, had been listed in the quarantine by a step."""
        return self.quarantine.get(page, step + 1) <= step

    def check_trained(self, step: int, packs: Mapping[int, Sequence[str]]) -> None:
        """Compare the keys of a whole step, by pack number, with the ledger's digest of it, if it was trained.

        Raises:
            TrainError: they are not those.
        """
        digest = pages_digest(packs.items())
        trained = {line["digest"] for line in self.steps if line["step"] == step}
        if trained and digest not in trained:
            raise TrainError(
                f"step {step}: the plan of {self.files.record} gives other pages (digest {digest}) than were "
                f"trained ({', '.join(trained)}): settings or data were changed after this step, or the ledger was; "
                "bring them back as they were, or see what `wdstream audit` says"
            )

    def state_near(self, step: int) -> "State | None":
        """The last saved state before a step."""
        known = [number for number in self.states if number <= step]
        return self.states[max(known)] if known else None


def _run_around(folder: Path) -> str:
    """What to give instead of this folder: of a checkpoint or a result, the run that it is in."""
    runs = [one for one in folder.absolute().parents[:2] if RunLayout(one).record.is_file()]
    step = re.fullmatch(r"step-0*(\d+)", folder.name)
    shown = f", and --step {step[1]} where the command takes it" if step else ""
    return f"the run, {runs[0]}{shown}" if runs else "the train.output of a run that has begun"


def read_run(output: Path) -> RunFolder:
    """Read the folder of a run.

    Raises:
        TrainError: there is no run in it.
    """
    files = RunLayout(output)
    try:
        tree = load_json(files.record.read_bytes())
        config = Config.model_validate(tree["config"])
        fingerprints, starts = tree["fingerprints"], tree["starts"]
    except FileNotFoundError as error:
        what = f"there is no {files.record.name} in it" if output.is_dir() else "there is no such folder"
        raise TrainError(f"{output}: not the folder of a training run: {what}; give {_run_around(output)}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"cannot be read ({error})" if isinstance(error, OSError | ValueError) else "lacks what a run writes"
        raise TrainError(f"{output}: not the folder of a training run: {files.record.name} {why}") from error
    return RunFolder(
        files=files,
        config=config,
        fingerprints=fingerprints,
        steps=files.read_steps(),
        states=files.read_states(),
        quarantine={line["sample"]: line["step"] for line in read_listed(files.quarantine)},
        starts=starts,
        data=tree.get("data", {}),
        packages=tree.get("packages", {}),
        first_step=tree.get("origin", {}).get("step", 0),
    )


def read_origin(files: RunLayout) -> RunOrigin | None:
    """The checkpoint of another run that this one began with; None for a run that began at step 0."""
    found: RunOrigin | None = _read_json(files.record).get("origin")
    return found


def data_differences(config: Config, data: DataSizes) -> list[str]:
    """One line for each setting of the data, and each dataset, that is not as in the last start of a run."""
    before = _read_json(RunLayout(config.train.output).record)
    changed = differences(as_read_today(before.get("config", {})), config.model_dump(mode="json"))
    own = [line for line in changed if line.startswith(("data.", "text.", "tiling.", "model.path"))]
    return own + differences(before.get("data", {}), data, "dataset ")


def allowed_failures(num_pages: int, max_bad_fraction: float) -> float:
    """How many of `num_pages` may fail: the share, and what chance adds to it (three standard deviations).

    So one bad page among the first ten does not stop a run that allows 1 %, but ten among the first hundred do.
    """
    expected = max_bad_fraction * num_pages
    return expected + 3.0 * math.sqrt(expected)


def differences(before: Mapping[str, object], after: Mapping[str, object], prefix: str = "") -> list[str]:
    """One line for each setting that changed, such as `train.lr: 0.001 -> 0.0005`."""
    lines: list[str] = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {old} -> {new}")
    return lines


def package_versions() -> dict[str, str | None]:
    """Installed versions of what can change a result; None where a package is absent."""
    versions: dict[str, str | None] = dict.fromkeys(PACKAGES)
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _read_json(path: Path) -> "State":
    """A JSON object, empty where there is no file yet.

    Raises:
        TrainError: the file is damaged.
    """
    try:
        tree: object = load_json(path.read_bytes()) if path.exists() else {}
    except ValueError as error:
        tree = error
    if not isinstance(tree, dict):
        raise TrainError(
            f"{path}: expected a JSON object, found {tree!r}; it is damaged: remove it, and the run continues from its "
            "checkpoint without a list of its starts"
        )
    return tree
