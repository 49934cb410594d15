"""The output folder of a training run: the name of everything in it, and what a line of each growing file holds.

    run.json             configuration as resolved, fingerprints, versions, every start with its world (record.py)
    steps.jsonl          per step: digest of the pages trained, world, pages, supervised tokens
    states.jsonl         per checkpoint, and every 8,192 pages: the stream's state after that step, about 1 kB
    quarantine.jsonl     pages that failed and kept their slot (record.py)
    pages.jsonl          of tars without an index only: the keys of every step
    rejects.jsonl        of tars without an index only: the pages that fit no pack
    losses/pages.blocks  with `train.record_losses`: the loss of every page of every step (losses.py)
    metrics.jsonl        per log line: loss, speed, fill; the same figures are in tensorboard/
    spikes/step-N.json   with `train.spike_threshold`: the pages of a step whose loss is far above those before
    profile/             traces of steps, with `train.profile` or when profile.request asks for one
    trackers.json        with `train.trackers`: the id of the run at each, and the last steps that it took
    eval.jsonl           per evaluation of a set: loss, and CER and WER where the model wrote pages
    generated/SET/       pages that the model wrote, one file per evaluation
    saves.jsonl          per checkpoint: how long it took, and how long the steps waited for it
    checkpoints/         training states (checkpoint.py)
    best.json            which of them is the best so far, with `train.keep_best` (best.py)
    final/               the trained model, for `from_pretrained`
    rolled-back/         what `wdstream run rollback` moved aside
    failed.rank-N.json   why a process of the last start failed, for the others (train/launch/statuses.py)
    lock                 held by the process that trains here

Only the main process writes, but for failed.rank-N.json. Names and forms are stable: a folder of an older version is
still read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict, cast
from urllib.parse import quote

from wdstream.records import Failure
from wdstream.runs.blocks import cut_blocks
from wdstream.storage.atomic import sync_folder
from wdstream.storage.json_lines import cut_back, read_lines, sync_lines

if TYPE_CHECKING:
    from wdstream.nodes.node import State


class StepLine(TypedDict):
    """A line of steps.jsonl: what the ranks trained in a step."""

    step: int
    digest: str
    """16 hex digits over pack numbers and keys, see `pages_digest`."""
    world_size: int
    pages: int
    supervised: int
    """Supervised tokens, as planned."""
    failed: int
    skipped: NotRequired[bool]
    """Its data were taken from the stream and not trained on (`train.skip_steps`)."""
    sha256: NotRequired[str]
    """Over every byte trained on, as `wdstream digest` prints it; with `train.record_bytes`."""
    loss: NotRequired[float]
    """Mean over the supervised tokens of the step; with `train.spike_threshold`."""


class StateLine(TypedDict):
    """A line of states.jsonl: the state of the stream after a step."""

    step: int
    stream: "State"


class PagesLine(TypedDict):
    """A line of pages.jsonl: the keys of a step by pack number."""

    step: int
    packs: dict[str, list[str]]


class PageLine(TypedDict):
    """A line of quarantine.jsonl or rejects.jsonl: a page, and the step at which it was listed."""

    step: int
    key: str
    sample: int
    reason: str


class RunLayout:
    """Paths in the output folder of a run.

    Args:
        output: the folder; it need not exist.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.record = output / "run.json"
        self.steps = output / "steps.jsonl"
        self.states = output / "states.jsonl"
        self.quarantine = output / "quarantine.jsonl"
        self.pages = output / "pages.jsonl"
        self.rejects = output / "rejects.jsonl"
        self.losses = output / "losses" / "pages.blocks"
        self.spikes = output / "spikes"
        self.profile = output / "profile"
        self.profile_request = output / "profile.request"
        self.trackers = output / "trackers.json"
        self.metrics = output / "metrics.jsonl"
        self.evaluations = output / "eval.jsonl"
        self.saves = output / "saves.jsonl"
        self.tensorboard = output / "tensorboard"
        self.generated = output / "generated"
        self.checkpoints = output / "checkpoints"
        self.best = output / "best.json"
        self.final = output / "final"
        self.lock = output / "lock"

    @property
    def failures(self) -> list[Path]:
        """Files in which processes of the last start said why they failed."""
        return sorted(self.output.glob("failed.rank-*.json"))

    def failure(self, rank: str) -> Path:
        """That of one process."""
        return self.output / f"failed.rank-{rank}.json"

    @property
    def growing(self) -> tuple[Path, ...]:
        """The files that get a line now and then."""
        listed = (self.quarantine, self.pages, self.rejects)
        return (self.steps, self.states, *listed, self.metrics, self.evaluations, self.saves)

    def cut_back(self, *, next_step: int) -> None:
        """Keep only what steps before `next_step` wrote; it and later ones will be computed again.

        Raises:
            DamagedFileError: a file has a damaged line in the middle.
        """
        for path in self.growing:
            cut_back(path, next_step=next_step)
        cut_blocks(self.losses, next_step=next_step)
        for path in (*self.generated.glob("*/step-*.jsonl"), *self.spikes.glob("step-*.json")):
            if step_of_file(path) >= next_step:
                path.unlink()

    def sync(self) -> None:
        """Wait until all that was written to the growing files is on the disk: a checkpoint counts on it."""
        for path in (*self.growing, self.losses):
            sync_lines(path)
        if self.losses.exists():
            sync_folder(self.losses.parent)
        sync_folder(self.output)

    def generated_pages(self, name: str, step: int) -> Path:
        """The pages of evaluation set `name` that the model wrote after `step`."""
        return self.generated / name_as_file(name) / f"step-{step:08}.jsonl"

    def read_steps(self) -> list[StepLine]:
        """The ledger, one entry per step."""
        return [cast(StepLine, line) for line in read_lines(self.steps, needed=StepLine.__required_keys__)]

    def read_states(self) -> dict[int, "State"]:
        """States of the stream by the step that follows them."""
        states = [
            cast(StateLine, line)["stream"] for line in read_lines(self.states, needed=StateLine.__required_keys__)
        ]
        return {int(state["step"]): state for state in states}

    def read_pages(self, step: int) -> dict[int, list[str]] | None:
        """Keys by pack number of a step, where they are listed; else None."""
        packs = next((line["packs"] for line in self.read_all_pages() if line["step"] == step), None)
        return None if packs is None else {int(number): keys for number, keys in packs.items()}

    def read_all_pages(self) -> Iterator[PagesLine]:
        """Keys of every step, where they are listed."""
        for line in read_lines(self.pages, needed=PagesLine.__required_keys__):
            yield cast(PagesLine, line)

    def read_metrics(self) -> Iterator[dict[str, float]]:
        """The figures of each log line, under today's names: "imbalance" was "straggler" in older runs."""
        for line in read_lines(self.metrics):
            yield {"imbalance" if name == "straggler" else name: value for name, value in line.items()}


def step_of_file(path: Path) -> int:
    """The step in the name of a file."""
    return int(path.stem.removeprefix("step-"))


def name_as_file(name: str) -> str:
    """The name of an evaluation set as one of a file or folder."""
    return quote(name, safe=" ")


def read_listed(path: Path) -> list[PageLine]:
    """The pages of quarantine.jsonl or rejects.jsonl, oldest first."""
    return [cast(PageLine, line) for line in read_lines(path, needed=PageLine.__required_keys__)]


def page_line(page: Failure, *, step: int) -> PageLine:
    """How a page is listed."""
    return {"step": step, "key": page.key, "sample": page.sample, "reason": page.reason}
