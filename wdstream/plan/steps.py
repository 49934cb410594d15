"""Steps of a plan from a state on. It is the only place where the plan moves forward.

    SampleStream ─► pool of the packer ─► pack, pack, pack, ... until the pass is used up ─► next pass ─► ...

Datasets with epochs are packed in passes over the mixture, and the pool runs dry at the end of a pass: every pack
is of one pass, so "every page exactly once an epoch" is plain. Steps do not care: a step is the next
`global_batch_size` packs.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from operator import attrgetter

import numpy as np

from wdstream.errors import PlanError
from wdstream.plan.datasets import Mixture
from wdstream.plan.deal import Assigner
from wdstream.plan.packer import SizePacker
from wdstream.plan.sample_lengths import counts_by_reason
from wdstream.plan.sample_stream import SampleStream
from wdstream.plan.state import Fingerprints, StreamState
from wdstream.plan.step_columns import PackedSamples, join_packs
from wdstream.records import Ints, StepPlan

MAX_SNAPSHOTS = 1024
"""States kept, about 5 kB each in memory."""


class Snapshots:
    """States along a run that were met before, so that any step is near one of them.

    At most MAX_SNAPSHOTS of one plan, every `stride` steps; the stride doubles when they become too many.
    """

    def __init__(self) -> None:
        self.stride = 16
        self._states: dict[int, StreamState] = {}  # by step

    def wants(self, step: int) -> bool:
        """Whether the state before this step should be added."""
        return step % self.stride == 0 and step not in self._states

    def add(self, state: StreamState) -> None:
        """Keep a state, and thin the others out when there are many."""
        states = {**self._states, state.step: state}
        if len(states) > MAX_SNAPSHOTS:
            self.stride *= 2
            states = {step: kept for step, kept in states.items() if step % self.stride == 0}
        self._states = states  # replaced as a whole: a thread that reads the old ones is not disturbed

    def before(self, step: int) -> StreamState | None:
        """The last known state at or before a step."""
        return max(
            (state for state in self._states.values() if state.step <= step), key=attrgetter("step"), default=None
        )


class Steps(Iterator[StepPlan]):
    """Steps from a state on; `state()` is the one after the last step. Close it when it is left before its end.

    Attributes:
        number: of the next step.
        passes: over the mixture, done.
    """

    def __init__(
        self,
        mixture: Mixture,
        state: StreamState,
        fingerprints: Fingerprints,
        *,
        assigner: Assigner,
        snapshots: Snapshots | None = None,
    ) -> None:
        """`state` must fit the mixture; `fingerprints` go into states; `snapshots`, where given, keeps some of them."""
        self.number = state.step
        self.passes = state.passes
        self._mixture = mixture
        self._settings = mixture.settings
        # Without `epochs` no pass is the last.
        self._last_pass = inf if mixture.settings.epochs is None else mixture.settings.epochs - 1
        self._fingerprints = fingerprints
        self._assigner = assigner
        self._snapshots = snapshots
        self._packer = SizePacker(mixture.settings.budget)
        self._values = mixture.pool_values(state.pool)  # of samples by their places in the packer
        self._packer.feed(self._values[1], self._values[2])
        self._packer.fill(self._values.shape[1])
        self._first_merged = self._packer.num_taken  # place of the first of the samples that were merged last
        self._sorter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wdstream-order")
        self._stream = SampleStream(mixture, state.cursors, state.passes, self._sorter)
        self._had_samples = bool(self._packer.num_pool) or state.cursors != mixture.pass_start(state.passes)
        self._num_given = 0  # packs of the next step that `rest_of_pass` gave
        self._end: StreamState | None = None  # where a run ends whose last packs are dropped

    def __next__(self) -> StepPlan:
        number = self.number
        packs = self.advance()
        if packs is None:
            raise StopIteration
        return self._assigner.step_plan(number, packs, offsets=self._mixture.offsets)

    def advance(self) -> PackedSamples | None:
        """The bare packs of the next step; None when the run is over, where `tail` decides about the last step."""
        if self._snapshots is not None and self._snapshots.wants(self.number):
            self._snapshots.add(self.state())
        while self._end is None and self.passes <= self._last_pass < inf and not self.fill():
            self._start_pass()
        if self._end is not None or self.passes > self._last_pass:
            self.close()
            return None
        size, tail = self._settings.global_batch_size, self._settings.tail
        before = self.state() if self.passes == self._last_pass and tail == "drop" else None
        parts: list[PackedSamples] = []
        num_empty = 0
        while missing := size - sum(map(len, parts)) - num_empty:
            parts.append(self._pack(missing))
            if len(parts[-1]) == missing:
                continue
            if self.passes < self._last_pass or tail == "wrap":
                self._start_pass()
            elif tail == "pad":
                num_empty = missing - len(parts[-1])
            else:  # the last packs are fewer than a step has, and dropped
                self._end = before
                self.close()
                return None
        self.number += 1
        return join_packs(parts, num_empty=num_empty)

    def skip(self, count: int) -> None:
        """Pass over some steps. Raises StopIteration when the run ends before."""
        for _ in range(count):
            if self.advance() is None:
                raise StopIteration

    def count(self) -> int:
        """Run to the end; the number of steps of the whole run."""
        while self.advance() is not None:
            pass
        return self.number

    def next_packs(self, at_most: int) -> PackedSamples:
        """The next packs of this pass, up to the end of their step; none at its end. `state` is of use after whole
        steps alone."""
        size = self._settings.global_batch_size
        if not self._num_given and self._snapshots is not None and self._snapshots.wants(self.number):
            self._snapshots.add(self.state())  # before the pool is filled, as the states of a run are
        packs = self._pack(min(at_most, size - self._num_given))
        self._num_given = (self._num_given + len(packs)) % size
        self.number += len(packs) > 0 == self._num_given
        return packs

    def count_later(self) -> int:
        """The number of packs of the passes after this one, to the end of the run; `tail` decides about the last ones.

        Raises:
            PlanError: a pass is empty, or the one that ended was.
        """
        count = 0
        while self.passes < self._last_pass:
            self._start_pass()
            while packs := self.next_packs(self._settings.global_batch_size):
                count += len(packs)
        self._require_samples()
        return count

    def state(self) -> StreamState:
        """The state before the next step."""
        if self._end is not None:
            return self._end
        return StreamState(
            step=self.number,
            passes=self.passes,
            cursors=self._stream.cursors(self._packer.num_taken - self._first_merged),
            pool=tuple(self._values[0, self._packer.places()].tolist()),
            fingerprints=self._fingerprints,
        )

    @property
    def rejects(self) -> Ints:
        """Samples rejected in this pass so far, by dataset and code of Reject: int64 (datasets, codes)."""
        return np.stack([stream.rejects for stream in self._stream.streams])

    def fill(self) -> bool:
        """Fill the pool; False when the pass is used up and the pool is empty."""
        while not self._packer.fill(self._settings.pool) and self._merge():
            pass
        is_filled = self._packer.num_pool > 0
        self._had_samples |= is_filled
        return is_filled

    def _pack(self, count: int) -> PackedSamples:
        """The next packs of this pass; fewer than `count` at its end."""
        packer, pool = self._packer, self._settings.pool
        parts: list[Ints] = []
        sizes: list[int] = []
        while len(sizes) < count and self.fill():
            is_full = packer.num_pool >= pool  # or this is the end of the pass
            placed, more = packer.packs(count - len(sizes), pool if is_full else 0)
            places = np.fromiter(placed, np.int64, len(placed))
            parts.append(self._values.take(places, axis=1))  # before their places are forgotten
            sizes += more
        return PackedSamples.of(parts, sizes)

    def _merge(self) -> bool:
        """Let the packer, whose queue is empty, have more samples; False at the end of the pass."""
        merged = self._stream.merge()
        if merged is None:
            return False
        kept = self._packer.forget()
        self._values, self._first_merged = np.concatenate((self._values[:, kept], merged), axis=1), len(kept)
        self._packer.feed(merged[1], merged[2])
        return True

    def close(self) -> None:
        """Stop the thread that sorts ahead."""
        self._sorter.shutdown(wait=False, cancel_futures=True)

    def _start_pass(self) -> None:
        self._require_samples()
        self._had_samples = False
        self.passes += 1
        self._stream = SampleStream(self._mixture, self._mixture.pass_start(self.passes), self.passes, self._sorter)
        self._first_merged = self._packer.num_taken

    def _require_samples(self) -> None:
        """Refuse to continue after a pass without a sample."""
        if not self._had_samples:
            raise PlanError(
                f"no sample can be planned: of {self._mixture.num_samples} samples all are rejected "
                f"({counts_by_reason(self.rejects.sum(axis=0))}); `wdstream plan --rejects FILE` lists them"
            )
