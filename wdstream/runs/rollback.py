"""`wdstream run rollback`: a run as it was at one of its checkpoints, so that the same command trains on from there.

    checkpoints/step-N of later steps, final/     moved to RUN/rolled-back/
    steps, states, metrics, eval, saves, quarantine, pages, rejects,
    losses/, spikes/, generated/                  cut back to the step
    run.json                                      the starts after the step are left out
    trackers.json                                 removed, so that the steps to come are new runs of the trackers: the
                                                  stores keep what they have, and would drop or double the same steps
    best.json                                     removed where it names a later checkpoint; the next start writes it
    tensorboard/                                  an event that hides what comes after the step

Later checkpoints are moved, not removed (which `--remove` does): they are days of work, and moving is one rename each.

Whatever moment this is killed at, the folder is a run: the newest checkpoint goes first, so those that are left are
always an earlier state, and a start of training cuts the files back to it by itself. Run again, it does what is left.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from wdstream.errors import TrainError, load_json
from wdstream.runs.best import read_best, resolve_checkpoint
from wdstream.runs.blocks import read_blocks
from wdstream.runs.checkpoint import list_checkpoints, read_checkpoint, remove_half_done, step_of
from wdstream.runs.layout import RunLayout
from wdstream.runs.record import read_run, run_lock
from wdstream.storage.atomic import sync_folder, write_file
from wdstream.storage.json_lines import read_lines

ROLLED_BACK = "rolled-back"


@dataclass(slots=True, kw_only=True)
class Rollback:
    """What a rollback did.

    Attributes:
        output: folder of the run.
        step: first step that is not in the weights any more.
        moved: what was moved or removed, by its name in the run.
        is_removed: whether it was removed.
        lines: how many lines each growing file lost.
        ends_trackers: the runs at trackers are ended, and new ones will begin.
    """

    output: Path
    step: int
    moved: list[str] = field(default_factory=list)
    is_removed: bool = False
    lines: dict[str, int] = field(default_factory=dict)
    ends_trackers: bool = False

    def print(self, console: Console) -> None:
        """Print what was done, a line each."""
        where = "removed" if self.is_removed else f"now in {self.output / ROLLED_BACK}"
        said = [f"{name}: {where}" for name in self.moved]
        said += [f"{name}: {count} lines of step {self.step} and later cut off" for name, count in self.lines.items()]
        said += ["trackers.json: removed, trackers begin new runs at this step"] if self.ends_trackers else []
        said += [] if said else ["nothing was there of later steps"]
        said += [f"{self.output} is at step {self.step}; the same command trains on from there"]
        for line in said:
            console.print(Text(line), soft_wrap=True)


def roll_back(output: Path, step: int, *, is_removed: bool = False) -> Rollback:
    """Bring a run back to its checkpoint before `step`, under its lock.

    Args:
        output: folder of the run.
        step: of a checkpoint; it is the next step that is trained.
        is_removed: remove what is later, where it is else moved aside.

    Raises:
        TrainError: no run is in the folder, it trains, or it has no whole checkpoint of that step.
        WdstreamError: a file that would be cut back is damaged. In all these cases nothing was changed.
    """
    read_run(output)
    files, done = RunLayout(output), Rollback(output=output, step=step, is_removed=is_removed)
    with run_lock(output):
        _require_whole(output, step)
        done.lines = _require_readable(files, step)
        for path in _later(files, step):
            aside = _move_aside(path, output / ROLLED_BACK)
            if is_removed:
                shutil.rmtree(aside)
            done.moved.append(str(path.relative_to(output)))
        remove_half_done(files.checkpoints)
        if files.trackers.exists() and {files.metrics.name, files.evaluations.name} & done.lines.keys():
            files.trackers.unlink()
            done.ends_trackers = True
        files.cut_back(next_step=step)
        _forget_later(files, step)
        _hide_later(files.tensorboard, step)
    return done


def _require_whole(output: Path, step: int) -> None:
    """Read all of the checkpoint before anything is moved. Raises TrainError: it is not there, or not whole."""
    path = resolve_checkpoint(output, step)
    try:
        read_checkpoint(path)
    except TrainError as error:
        others = ", ".join(str(step_of(other)) for other in reversed(list_checkpoints(path.parent)) if other != path)
        raise TrainError(f"{error}; the checkpoint is not whole, and nothing was changed; others: {others}") from None


def _require_readable(files: RunLayout, step: int) -> dict[str, int]:
    """Read all that is cut back before anything is moved; how many lines each growing file will lose.

    Raises:
        WdstreamError: a file is damaged; names it.
    """
    read_best(files)
    for _ in read_blocks(files.losses, first=step):
        pass
    return {path.name: count for path in files.growing if (count := _count_later(path, step))}


def _later(files: RunLayout, step: int) -> Iterator[Path]:
    """What holds weights of later steps, the newest first."""
    later = [path for path in list_checkpoints(files.checkpoints) if step_of(path) > step]
    if files.final.exists() and (later or _count_later(files.steps, step)):
        yield files.final
    yield from later


def _move_aside(path: Path, folder: Path) -> Path:
    """Move a folder into another one, in one rename; what an earlier rollback left there stays."""
    folder.mkdir(exist_ok=True)
    target, number = folder / path.name, 2
    while target.exists():
        target, number = folder / f"{path.name}.{number}", number + 1
    path.rename(target)
    sync_folder(folder)
    sync_folder(path.parent)
    return target


def _count_later(path: Path, step: int) -> int:
    return sum(line["step"] >= step for line in read_lines(path, needed=("step",)))


def _forget_later(files: RunLayout, step: int) -> None:
    """Leave later starts out of run.json, and a later checkpoint out of best.json."""
    record = load_json(files.record.read_bytes())
    starts = [start for start in record["starts"] if start["step"] < step]
    if starts != record["starts"]:
        write_file(files.record, json.dumps({**record, "starts": starts}, indent=2).encode())
    best = read_best(files)
    if best is not None and best.step > step:
        files.best.unlink()


def _hide_later(board: Path, step: int) -> None:
    """Have TensorBoard show nothing of the steps that will come again; without it the next start does so."""
    if not board.is_dir():
        return
    with suppress(ImportError):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        writer = EventFileWriter(str(board))
        writer.add_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))
        writer.close()
