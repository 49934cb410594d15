"""How many steps a run has: counted once, by a process in the background, and kept next to the index.

    SHARDS/index/steps.<key>.json       {"steps": 41337, "check": "..."}; the key is of all that decides the number

To count is to plan all epochs, some 100,000 pages per second. `wdstream plan` leaves its count there, too, so that the
run after it knows at once. A file that cannot be written is done without, and one that is damaged or of another plan
(`check` is of key and number) is as none: a wrong number would bend the learning rate.
"""

import hashlib
import json
import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from wdstream.errors import PlanError, WdstreamError, load_json
from wdstream.pipeline.planning.helper import end_helper, start_helper
from wdstream.plan.datasets import Mixture
from wdstream.plan.planner import Planner
from wdstream.plan.sample_lengths import Reject
from wdstream.plan.state import StreamState
from wdstream.records import Ints
from wdstream.shards.catalog import INDEX_FOLDER
from wdstream.shards.reader import Shards
from wdstream.storage.atomic import write_file

SMALL_COUNT = 1 << 16
"""Pages times epochs that are counted in half a second: wherever the number is needed, and not kept."""
_SLAB = 1 << 16
_PROGRESS_S = 2.0
_LEAST_PRIORITY = 19
_MOST_STARTS = 3

_log = logging.getLogger("wdstream")


def total_key(plan: Planner) -> int:
    """A number of 48 bits over all that decides how many steps a run has from its beginning."""
    fingerprints = {name: value for name, value in plan.fingerprints.items() if name != "pixels"}
    decisive = [sorted(fingerprints.items()), plan.settings.epochs, plan.settings.tail]
    return int.from_bytes(hashlib.sha256(json.dumps(decisive).encode()).digest()[:6], "big")


def kept_total(plan: Planner) -> int | None:
    """The steps of a run from its beginning, where they were counted before."""
    path = _path(plan)
    try:
        kept = None if path is None else load_json(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    steps = kept.get("steps") if isinstance(kept, dict) else None
    return steps if type(steps) is int and kept == _kept(plan, steps) else None


def keep_total(plan: Planner, steps: int) -> str | None:
    """Keep a count for the runs to come; where it cannot be written, says why."""
    path = _path(plan)
    try:
        if path is not None:
            write_file(path, json.dumps(_kept(plan, steps)).encode())
    except (OSError, WdstreamError) as error:
        return f"the run's steps, {steps:,}, are not kept next to the index, and other runs count them again: {error}"
    return None


def _kept(plan: Planner, steps: int) -> dict[str, object]:
    check = hashlib.sha256(f"{total_key(plan)} {steps}".encode()).hexdigest()[:16]
    return {"steps": steps, "check": check}


def _path(plan: Planner) -> Path | None:
    """Next to the index of the first dataset; None where that is not on this machine."""
    shards = plan.datasets[0].columns
    path = shards.path if isinstance(shards, Shards) else None
    if path is None or "://" in str(path):
        return None
    return Path(path, INDEX_FOLDER, f"steps.{total_key(plan):012x}.json")


def holds_packs(mixture: Mixture, count: int) -> bool:
    """Whether a run has at least this many packs, by the tokens and patches of its pages alone, unpacked."""
    packs = 0
    for number in range(mixture.settings.epochs or 0):
        used = np.zeros(2, dtype=np.int64)
        for tokens, patches in _lengths_of_pass(mixture, number):
            used += tokens.sum(), patches.sum()
            budget = mixture.settings.budget
            least = max(-(-int(used[0]) // budget.tokens), -(-int(used[1]) // budget.patches))
            if packs + least >= count:
                return True
        packs += least
    return False


def _lengths_of_pass(mixture: Mixture, number: int) -> Iterator[tuple[Ints, Ints]]:
    """Tokens and patches of the samples that a pass over the mixture takes, a slab at a time."""
    for planned in mixture.planned:
        size, epochs = planned.order.num_samples, planned.epochs or 0
        for epoch in range(number * epochs, (number + 1) * epochs):
            for start in range(0, size, _SLAB):
                rows = np.arange(start, min(start + _SLAB, size), dtype=np.int64)
                lengths, split = planned.measure(rows, epoch=epoch)
                lengths = lengths if split is None else split.lengths
                accepted = lengths.reject == Reject.ACCEPTED
                yield lengths.tokens[accepted], lengths.patches[accepted]


@dataclass(frozen=True, kw_only=True)
class CountTask:
    """What a counting process is started with.

    Attributes:
        plan: of the run.
        state: of the run, where to count on from; None for its beginning.
        enough: steps that the run ends with in any case; None: all are counted.
    """

    plan: Planner
    state: StreamState | None
    enough: int | None

    def run(self, output: TextIO) -> None:
        """Count at the least priority, and print JSON lines: steps so far, and in the last one the total."""
        os.nice(_LEAST_PRIORITY)

        def say(**figures: object) -> None:
            print(json.dumps(figures), file=output, flush=True)

        try:
            say(total=self._count(say))
        except WdstreamError as error:
            say(error=str(error))

    def _count(self, say: Callable[..., None]) -> int:
        plan, enough = self.plan, self.enough
        batch = plan.settings.global_batch_size
        if self.state is None and enough is not None and holds_packs(plan.mixture, enough * batch):
            return enough
        said = time.monotonic()
        with closing(plan.steps(self.state)) as steps:
            while enough is None or steps.number < enough:
                if steps.advance() is None:
                    trouble = keep_total(plan, steps.number) if self.state is None else None
                    if trouble is not None:
                        say(note=trouble)
                    return steps.number
                if time.monotonic() - said > _PROGRESS_S:
                    said = time.monotonic()
                    say(steps=steps.number)
        return enough


class StepCounter:
    """A count in the background; begun again, a few times, when the process is killed.

    Args:
        plan: of the run.
        state: where to count on from; None for the run's beginning.
        enough: see CountTask.

    Attributes:
        steps: counted so far.
        total: of the run, when it is known.

    Raises:
        PlanError: the plan cannot go to another process.
    """

    def __init__(self, plan: Planner, state: StreamState | None, enough: int | None) -> None:
        self.steps = 0
        self.total: int | None = None
        self._task, self._starts, self._error = CountTask(plan=plan, state=state, enough=enough), 0, ""
        self._start()

    def _start(self) -> None:
        self._starts += 1
        try:
            self._process = start_helper(self._task, stdout=subprocess.PIPE)
        except Exception as error:  # pickle raises whatever the objects of a user's own family raise
            raise PlanError(f"the plan cannot go to the process that counts its steps: {error!r}") from error
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        self._text = b""

    def poll(self) -> int | None:
        """The total, when it is known by now.

        Raises:
            PlanError: it cannot be counted.
        """
        if self.total is None and not self._error:
            is_over = self._process.poll() is not None
            with suppress(BlockingIOError):
                while data := os.read(self._output, 1 << 16):
                    self._text += data
            *lines, self._text = self._text.split(b"\n")
            for line in lines:
                self._take(load_json(line))
            if is_over and self.total is None and not self._error:
                self._continue()
        if self._error:
            raise PlanError(self._error)
        return self.total

    def _continue(self) -> None:
        """Begin again after the process was killed; note the error when that is of no use."""
        status = self._process.returncode
        if status < 0 and self._starts < _MOST_STARTS:
            _log.warning("the process that counts the run's steps was killed (signal %s) and begins again", -status)
            end_helper(self._process)
            self._start()
            return
        self._error = (
            f"the process that counts the run's steps ended with status {status}; "
            "`wdstream plan CFG` counts them, too, and keeps the number next to the index"
        )

    def close(self) -> None:
        """End the process that counts, wherever it is."""
        end_helper(self._process)

    def _take(self, figures: dict[str, object]) -> None:
        if "error" in figures:
            self._error = str(figures["error"])
        if "note" in figures:
            _log.warning("%s", figures["note"])
        total = figures.get("total")
        self.total = total if isinstance(total, int) else None
        self.steps = int(str(figures.get("steps", self.steps)))
