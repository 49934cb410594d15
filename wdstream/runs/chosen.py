"""Which checkpoint of a run is meant: by its step, or by `newest` or `best`."""

from wdstream.errors import TrainError
from wdstream.runs.checkpoint import Checkpoint, checkpoint_path, list_checkpoints, read_checkpoint
from wdstream.runs.layout import RunLayout
from wdstream.storage.json_lines import read_lines


def choose_checkpoint(files: RunLayout, step: str) -> Checkpoint:
    """The checkpoint of a run, verified.

    Args:
        files: of the run.
        step: a number, `newest`, or `best`.

    Raises:
        TrainError: there is no such checkpoint, or it is damaged.
    """
    known = {int(path.name.removeprefix("step-")): path for path in list_checkpoints(files.checkpoints)}
    if not known:
        raise TrainError(f"{files.output}: the run has no checkpoint yet")
    number = max(known) if step == "newest" else _best(files, set(known)) if step == "best" else _number(step)
    if number not in known:
        raise TrainError(
            f"{files.output}: no checkpoint of step {number} there; there are those of {_listed(sorted(known))}"
        )
    return read_checkpoint(checkpoint_path(files.checkpoints, number))


def _number(step: str) -> int:
    if not step.isdigit():
        raise TrainError(f"--step {step}: expected a number of steps, newest or best")
    return int(step)


def _best(files: RunLayout, known: set[int]) -> int:
    """The step with the least mean loss over the sets that were evaluated after it, among those kept."""
    sums: dict[int, list[float]] = {}
    for line in read_lines(files.evaluations):
        if line["step"] + 1 in known and "loss" in line:
            sums.setdefault(line["step"] + 1, []).append(line["loss"])
    if not sums:
        raise TrainError(f"{files.output}: no checkpoint that is kept was evaluated, so none is the best")
    return min(sums, key=lambda step: (sum(sums[step]) / len(sums[step]), step))


def _listed(steps: list[int]) -> str:
    return ", ".join(str(step) for step in steps)
