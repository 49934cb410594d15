"""Which checkpoint of a run is meant by "best", "newest" or a step; for every command that takes one.

    output/best.json     {"step": 500, "set": "held_out", "figure": "loss", "value": 1.234}, with `train.keep_best`

`step` is that of the checkpoint: `checkpoints/step-00000500` holds 500 steps. A run writes the file when the checkpoint
is complete, and removes no checkpoint that it names.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from wdstream.errors import TrainError, load_json
from wdstream.runs.checkpoint import checkpoint_path, list_checkpoints, step_of
from wdstream.runs.layout import RunLayout
from wdstream.storage.atomic import write_file


@dataclass(frozen=True, slots=True, kw_only=True)
class BestCheckpoint:
    """The checkpoint with the best value of a figure so far.

    Attributes:
        step: of the checkpoint: the first step that is not in the weights.
        set: name of the evaluation set.
        figure: of it: `loss`, `cer` or `wer`, of which lower is better.
        value: of the figure.
    """

    step: int
    set: str
    figure: str
    value: float


def write_best(files: RunLayout, best: BestCheckpoint) -> None:
    """Record the best checkpoint of a run, in place of the one before."""
    write_file(files.best, json.dumps(asdict(best)).encode())


def read_best(files: RunLayout) -> BestCheckpoint | None:
    """The best checkpoint that a run recorded; None where it recorded none.

    Raises:
        TrainError: the file is damaged.
    """
    if not files.best.exists():
        return None
    try:
        tree = load_json(files.best.read_bytes())
        return BestCheckpoint(
            step=int(tree["step"]), set=str(tree["set"]), figure=str(tree["figure"]), value=float(tree["value"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise TrainError(
            f"{files.best}: expected step, set, figure and value, and cannot read them ({error!r}); remove it: the "
            "next start of the run writes it again from eval.jsonl"
        ) from error


def resolve_checkpoint(output: Path, which: str | int) -> Path:
    """The folder of one checkpoint of a run. Nothing is removed or verified: `read_checkpoint` does the second.

    Args:
        output: folder of the run.
        which: "best", "newest", or a step: that of a checkpoint, as a number or its digits.

    Raises:
        TrainError: there is no such checkpoint; names those that there are.
    """
    files = RunLayout(output)
    paths = list_checkpoints(files.checkpoints)
    steps = ", ".join(str(step_of(path)) for path in reversed(paths))
    if not paths:
        raise TrainError(f"{files.checkpoints}: there is no finished checkpoint")
    if which == "newest":
        return paths[0]
    if which == "best":
        best = read_best(files)
        if best is None:
            raise TrainError(
                f"{output}: no best checkpoint is recorded: the run was trained without train.keep_best, or no "
                f"evaluation is done yet; give one of the steps {steps}, or newest"
            )
        which = best.step
    if not str(which).isdecimal():
        raise TrainError(f"checkpoint {which!r}: expected best, newest or one of the steps {steps}")
    path = checkpoint_path(files.checkpoints, int(which))
    if path not in paths:
        raise TrainError(f"{path}: there is no such checkpoint; there are those of the steps {steps}")
    return path
