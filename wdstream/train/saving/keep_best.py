"""`train.keep_best`: which evaluation was the best one, so that its checkpoint stays.

The record (runs/best.py) follows from `eval.jsonl` and the checkpoints that there are: each start makes it again, since
evaluations after the checkpoint that it continues from are forgotten.
"""

import math
from collections.abc import Mapping

from accelerate.utils import broadcast_object_list

from wdstream.config.saving import KeepBestConfig
from wdstream.runs.best import BestCheckpoint, write_best
from wdstream.runs.checkpoint import list_checkpoints, step_of
from wdstream.runs.layout import RunLayout
from wdstream.storage.json_lines import read_lines


class BestSoFar:
    """The best evaluation of a run, the same on every rank.

    Args:
        settings: None: nothing is recorded.
        files: of the run, cut back to where this start begins.
        is_main: this process writes the record.
    """

    def __init__(self, settings: KeepBestConfig | None, files: RunLayout, *, is_main: bool) -> None:
        self._settings = settings
        self._best: BestCheckpoint | None = None
        if settings is not None:
            found = [_recorded(settings, files) if is_main else None]
            broadcast_object_list(found)
            self._best = found[0]
        if is_main:
            _record(files, self._best)

    def improved(self, step: int, name: str, figures: Mapping[str, float]) -> BestCheckpoint | None:
        """The checkpoint of a step, where the figures of evaluation set `name` are better than all before."""
        if self._settings is None or name != self._settings.set:
            return None
        value = figures.get(self._settings.figure, math.nan)
        if not (value < (math.inf if self._best is None else self._best.value)):
            return None
        self._best = BestCheckpoint(step=step, set=name, figure=self._settings.figure, value=value)
        return self._best


def _recorded(settings: KeepBestConfig, files: RunLayout) -> BestCheckpoint | None:
    """The best of the evaluations that are written down and have a checkpoint, the first of equal ones."""
    steps = {step_of(path) for path in list_checkpoints(files.checkpoints)}
    found = [
        BestCheckpoint(step=line["step"] + 1, set=settings.set, figure=settings.figure, value=line[settings.figure])
        for line in read_lines(files.evaluations, needed=("step", "name"))
        if line["name"] == settings.set and line["step"] + 1 in steps and line.get(settings.figure, math.nan) < math.inf
    ]
    return min(found, key=lambda best: (best.value, best.step), default=None)


def _record(files: RunLayout, best: BestCheckpoint | None) -> None:
    if best is None:
        files.best.unlink(missing_ok=True)
    else:
        write_best(files, best)
