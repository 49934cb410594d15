"""`wdstream run list`: the checkpoints of a run, whether they are whole, and what evaluation gave there.

Whole means here that every file of the manifest is there with its size, which takes a moment; checksums are compared
when a checkpoint is loaded, and with `--verify`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wdstream.errors import TrainError
from wdstream.runs.best import read_best
from wdstream.runs.checkpoint import list_checkpoints, read_checkpoint, read_manifest, step_of
from wdstream.runs.layout import RunLayout
from wdstream.runs.record import read_run
from wdstream.storage.json_lines import read_lines

EVALUATION_FIGURES = ("loss", "cer", "wer")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedCheckpoint:
    """A checkpoint of a run.

    Attributes:
        step: that many steps are in its weights.
        problem: why it is not whole; "" where it is.
        nbytes: of its files.
        world_size: processes that wrote it; 0 where that cannot be read.
        is_best: it is the best one that the run recorded.
        evaluations: figures by evaluation set.
    """

    step: int
    problem: str
    nbytes: int
    world_size: int
    is_best: bool
    evaluations: Mapping[str, Mapping[str, float]]


def list_run(output: Path, *, is_verified: bool = False) -> list[ListedCheckpoint]:
    """The checkpoints of a run, oldest first.

    Args:
        output: folder of the run.
        is_verified: compare checksums, too, which reads every byte.

    Raises:
        TrainError: no run is in the folder.
    """
    read_run(output)
    files = RunLayout(output)
    best, evaluations = read_best(files), _evaluations(files)
    return [
        ListedCheckpoint(
            step=step_of(path),
            problem=_problem(path, is_verified=is_verified),
            nbytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
            world_size=_world_size(path),
            is_best=best is not None and best.step == step_of(path),
            evaluations=evaluations.get(step_of(path) - 1, {}),
        )
        for path in reversed(list_checkpoints(files.checkpoints))
    ]


def print_checkpoints(found: Sequence[ListedCheckpoint], console: Console) -> None:
    """A table, a line per checkpoint."""
    if not found:
        console.print("no checkpoint is written yet")
        return
    table = Table()
    for name in ("step", "whole", "MB", "processes", "evaluation"):
        table.add_column(name, overflow="fold")
    for one in found:
        state = Text(one.problem or "yes", style="red" if one.problem else "")
        step = f"{one.step} (best)" if one.is_best else str(one.step)
        table.add_row(step, state, f"{one.nbytes / 1e6:,.1f}", str(one.world_size or "?"), Text(_shown(one)))
    console.print(table)


def as_trees(found: Sequence[ListedCheckpoint]) -> list[dict[str, object]]:
    """What `wdstream run list --json` prints."""
    return [asdict(one) for one in found]


def _shown(one: ListedCheckpoint) -> str:
    sets = (
        f"{name}: " + " ".join(f"{key} {figures[key]:.4f}" for key in EVALUATION_FIGURES if key in figures)
        for name, figures in one.evaluations.items()
    )
    return "; ".join(sets)


def _evaluations(files: RunLayout) -> dict[int, dict[str, dict[str, float]]]:
    """Figures by the step after which they were measured, and by set."""
    found: dict[int, dict[str, dict[str, float]]] = {}
    for line in read_lines(files.evaluations, needed=("step", "name")):
        figures = {key: value for key, value in line.items() if key not in ("step", "name")}
        found.setdefault(line["step"], {})[line["name"]] = figures
    return found


def _problem(path: Path, *, is_verified: bool) -> str:
    """Why a checkpoint is not whole, or ""."""
    try:
        if is_verified:
            read_checkpoint(path)
            return ""
        sizes = {name: measure["bytes"] for name, measure in read_manifest(path)["files"].items()}
    except TrainError as error:
        return str(error)
    for name, expected in sizes.items():
        file = path / name
        size = file.stat().st_size if file.is_file() else None
        if size != expected:
            return f"{name}: expected {expected} bytes, found {'no file' if size is None else size}"
    return ""


def _world_size(path: Path) -> int:
    try:
        return int(read_manifest(path)["world_size"])
    except TrainError:
        return 0
