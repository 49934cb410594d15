"""The progress bar of all long work: what is done of what is to do, how fast, and the time left.

    with ProgressBar(console) as bar:
        index_folder(folder, on_progress=bar.task("indexing", "bytes"))

The work calls `on_progress(done, total)` and knows no bar.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from wdstream.make_shards.jobs import MakeShardsProgress

_FIRST_LINE_S, _LINE_EVERY_S = 15.0, 60.0


class ProgressBar(Progress):
    """A line for each task, and a line of figures below them.

    Args:
        console: where to draw.
        is_transient: remove the bar at its end.
    """

    def __init__(self, console: Console, *, is_transient: bool = True) -> None:
        self.figures = ""
        self._task_ids: dict[str, TaskID] = {}
        self._lines = _Lines(console)
        description = TextColumn("{task.description}", markup=False)
        columns = description, BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn()
        super().__init__(*columns, console=console, transient=is_transient)

    def show(self, description: str, done: int, total: int | None, *, unit: str) -> None:
        """Draw a task as far as it is done, counted in `unit`; a new description begins a new line."""
        if description not in self._task_ids:
            self._task_ids[description] = self.add_task(description, completed=done, total=total, unit=unit)
        self.update(self._task_ids[description], completed=done, total=total)
        if not self.console.is_terminal:
            self._lines.tell(description, done, total, unit)

    def task(self, description: str, unit: str) -> Callable[[int, int], None]:
        """`show` for one task, as the `on_progress` of a piece of work."""
        return lambda done, total: self.show(description, done, total, unit=unit)

    def remove(self, description: str) -> None:
        """Take the line of a task away, if there is one."""
        if description in self._task_ids:
            self.remove_task(self._task_ids.pop(description))

    def stop(self) -> None:
        """End the bar. rich adds an empty line where there is no terminal, of no use after a bar that was not drawn."""
        if self.live.transient:
            self.live.stop()
        else:
            super().stop()

    def get_renderables(self) -> Iterable[RenderableType]:
        """The lines of the tasks, then the figures."""
        yield from super().get_renderables()
        if self.figures:
            yield Text(self.figures, overflow="ellipsis", no_wrap=True)


class _Lines:
    """Where no bar is drawn, a line now and then: how far a task is, how fast, and how long it will take."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._task = ""
        self._found = 0
        self._began = (0.0, 0)
        self._told_at = 0.0

    def tell(self, task: str, done: int, total: int | None, unit: str) -> None:
        """Print a line, if it is time for one.

        Speed is that since the first of the task was done here: it does not jump, and leaves out what comes before,
        as the loading of a model, which takes longer than a step.
        """
        now = time.monotonic()
        if task != self._task:
            self._task, self._found, self._told_at = task, done, now - _LINE_EVERY_S + _FIRST_LINE_S
        if self._found == done or self._found == self._began[1]:
            self._began = now, done
        if now - self._told_at < _LINE_EVERY_S:
            return
        self._told_at = now
        text = f"{task}: {done:,}{f' of {total:,}' if total else ''} {unit}"
        if done > self._began[1]:
            speed = (done - self._began[1]) / max(now - self._began[0], 1e-9)
            text += f", {speed:,.1f} {unit}/s" + (f", about {_duration((total - done) / speed)} left" if total else "")
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


class _Speed(ProgressColumn):
    """Speed of a task in its unit per second."""

    def render(self, task: Task) -> Text:
        """The speed, or nothing before it is known."""
        speed = f"{task.speed:,.1f} {task.fields['unit']}/s" if task.speed else ""
        return Text(speed, style="progress.data.speed")


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[MakeShardsProgress], None]]:
    """A bar with a line for each stage, for the block; pass what it yields to `make_shards`."""
    with ProgressBar(console) as bar:
        yield lambda state: bar.show(state.stage, state.pages_done, state.pages_total or None, unit=state.unit)
