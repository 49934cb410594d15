"""PackRun: the stream of packs from any state on. It is the only place where the plan moves forward.

    Stream ─► pool of the packer ─► pack, pack, pack, ... until the round is used up ─► next round ─► ...

Data sets given by epochs are packed in rounds, and the pool runs dry at the end of a round: every pack lies in one
round, so "every page exactly once an epoch" is plain. Steps do not care: a step is the next `global_batch_size` packs.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from wdstream.errors import PlanError
from wdstream.plan.datasets import Mixture
from wdstream.plan.packer import Item, PoolPacker
from wdstream.plan.sample_lengths import Reject
from wdstream.plan.sample_stream import SampleStream
from wdstream.plan.state import StreamState
from wdstream.records import Ints

Packs = list[list[Item]]


class PackRun:
    """Packs from a state on, step by step."""

    def __init__(self, mixture: Mixture, state: StreamState, fingerprints: Mapping[str, str]) -> None:
        """`state` must fit the mixture; `fingerprints` go into the states that this run gives."""
        settings = mixture.settings
        self._mixture = mixture
        self._settings = settings
        self._fingerprints = dict(fingerprints)
        self._packer = PoolPacker(max_tokens=settings.sequence_length, max_patches=settings.max_patches)
        self._packer.add(mixture.pool_items(state.pool))
        self._stream = SampleStream(mixture, state.cursors, state.round)
        self._has_given = bool(len(self._packer)) or state.cursors != mixture.pass_start(state.round)
        self._end: StreamState | None = None  # where a run ends whose last packs are dropped
        self.step = state.step
        self.round = state.round

    def next_step(self) -> Packs | None:
        """The packs of the next step, None when the run is over; `tail` decides about the last one."""
        if self._end is not None or self._is_over():
            return None
        before = self.state() if self._is_last_round() and self._settings.tail == "drop" else None
        packs = self._packs_of_step()
        if len(packs) < self._settings.global_batch_size:
            self._end = before
            return None
        self.step += 1
        return packs

    def rest_of_round(self) -> Iterator[list[Item]]:
        """The packs of this round that have not been given; `state` is of no use afterwards."""
        while (pack := self._next_pack()) is not None:
            yield pack

    def state(self) -> StreamState:
        """The state before the next step."""
        if self._end is not None:
            return self._end
        return StreamState(
            step=self.step,
            round=self.round,
            cursors=self._stream.cursors(),
            pool=tuple(item.sample for item in self._packer.items),
            fingerprints=self._fingerprints,
        )

    @property
    def rejects(self) -> Ints:
        """Samples rejected in this round so far, by code of Reject and data set: int64 (data sets, codes)."""
        return np.stack([stream.rejects for stream in self._stream.streams])

    def close(self) -> None:
        """Stop working ahead."""
        self._stream.close()

    def _packs_of_step(self) -> Packs:
        """The next packs, as many as a step has, or fewer when they are the last ones and to be dropped."""
        packs: Packs = []
        size, tail = self._settings.global_batch_size, self._settings.tail
        while len(packs) < size:
            pack = self._next_pack()
            if pack is not None:
                packs.append(pack)
            elif not self._is_last_round() or tail == "wrap":
                self._start_round()
            elif tail == "pad":
                packs += [[] for _ in range(size - len(packs))]
            else:
                break
        return packs

    def _is_over(self) -> bool:
        """Whether a run of so many epochs has nothing more to give."""
        epochs = self._settings.epochs
        if epochs is None:
            return False
        while self.round < epochs and not self.fill():
            self._start_round()
        return self.round >= epochs

    def _is_last_round(self) -> bool:
        epochs = self._settings.epochs
        return epochs is not None and self.round + 1 >= epochs

    def _next_pack(self) -> list[Item] | None:
        """The next pack; None at the end of the round."""
        return self._packer.pack() if self.fill() else None

    def fill(self) -> bool:
        """Fill the pool; False when the round is used up and the pool is empty."""
        missing = self._settings.pool - len(self._packer)
        if missing > 0:
            self._packer.add(self._stream.take(missing))
        is_filled = len(self._packer) > 0
        self._has_given |= is_filled
        return is_filled

    def _start_round(self) -> None:
        if not self._has_given:
            raise PlanError(
                f"no sample can be planned: of {self._mixture.num_samples} samples all are rejected "
                f"({self._reasons()}); `wdstream plan --rejects FILE` lists them"
            )
        self._stream.close()
        self._has_given = False
        self.round += 1
        self._stream = SampleStream(self._mixture, self._mixture.pass_start(self.round), self.round)

    def _reasons(self) -> str:
        counts = self.rejects.sum(axis=0)
        return ", ".join(f"{reason.reason} {counts[reason]}" for reason in Reject if counts[reason])
