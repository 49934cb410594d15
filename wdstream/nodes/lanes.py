"""LaneSource: packs from shards without an index, the same packs on every number of ranks that divides the lanes.

    shards of the epoch, by hash ──► lane 0: ReadTars ► page ► measure ► Pack ──► packs 0,     V,     2V, ...
                                     lane 1: ReadTars ► page ► measure ► Pack ──► packs 1, V + 1, 2V + 1, ...
                                     ...                                                (V lanes)

A lane reads its shards front to back and packs what it reads: a pipe or a download will do. Rank r of W runs the lanes
r, r + W, ... and gives the packs r, r + W, ...; so the sequence of packs does not know W, as long as W divides V. A
rank's state holds its own lanes only: gather the states of all ranks and `merge_lane_states` before you save.
Lanes go round their shards for ever, each at its own pace; in each of its epochs every shard is in exactly one lane.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, overload

from wdstream.errors import PlanError, StateError
from wdstream.families.base import Family
from wdstream.nodes.adapt import as_page
from wdstream.nodes.base import Step
from wdstream.nodes.measure import MeasuredPage, measure_page, measured_lengths
from wdstream.nodes.node import Stage, State, close
from wdstream.nodes.pack import Pack
from wdstream.nodes.read_tars import OpenStream, RawSample, ReadTars
from wdstream.nodes.shuffle import Shuffle
from wdstream.nodes.tile import Tiling
from wdstream.plan.hashing import combine, splitmix64
from wdstream.records import Page
from wdstream.world import World

ENDLESS = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePack:
    """One pack of pages, still encoded.

    Attributes:
        number: its place in the sequence of packs over all lanes.
        pages: its pages, in order.
    """

    number: int
    pages: tuple[MeasuredPage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings:
    """What decides the packs of every lane.

    Attributes:
        family: lengths.
        tiling: how pages are cut.
        sequence_length: tokens a pack.
        max_patches: vision patches a pack.
        global_batch_size: packs a step, over all ranks; a multiple of every world size, too.
        lanes: V; a multiple of every world size the run may have.
        pool: pages each lane chooses from, in memory with their images still encoded.
        shuffle: pages of a lane that are shuffled together, in memory likewise.
        seed: order of shards and pages.
    """

    family: Family
    tiling: Tiling
    sequence_length: int
    max_patches: int
    global_batch_size: int
    lanes: int = 8
    pool: int = 16
    shuffle: int = 64
    seed: int = 0


class LaneShards(Sequence[str]):
    """The shards that one lane reads: epoch after epoch its share of all of them, in another order each time."""

    def __init__(self, urls: Sequence[str], *, lane: int, lanes: int, seed: int) -> None:
        self._urls = urls
        self._lane, self._lanes, self._seed = lane, lanes, seed
        self._share = len(range(lane, len(urls), lanes))

    def __len__(self) -> int:
        return ENDLESS

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        """The shard at a place of the lane."""
        assert isinstance(place, int), "an endless sequence has no slices"
        epoch, place = divmod(place, self._share)
        key = combine(self._seed, epoch)
        order = sorted(range(len(self._urls)), key=lambda shard: splitmix64(key ^ shard))
        return self._urls[order[self._lane + place * self._lanes]]


class LaneSource(Stage[LanePack]):
    """This rank's packs of the lanes. Pages that are bad or too long for any pack are left out, logged and counted.

    Args:
        urls: tars, see ReadTars; at least as many as lanes.
        settings: the same on every rank and in every part of a run.
        world: which ranks there are.
        open_stream: opens a tar; see ReadTars.

    Raises:
        PlanError: the world does not divide lanes and packs a step, or there are fewer shards than lanes.
    """

    NEXT_KEY, LANES_KEY = "next_pack", "lanes"

    def __init__(
        self,
        urls: Sequence[str],
        *,
        settings: LaneSettings,
        world: World | None = None,
        open_stream: OpenStream | None = None,
    ) -> None:
        super().__init__()
        world = world or World()
        if settings.lanes % world.size or settings.global_batch_size % world.size:
            raise PlanError(
                f"{settings.lanes} lanes and {settings.global_batch_size} packs a step cannot be shared by "
                f"{world.size} ranks alike; run on a number of ranks that divides both, or begin a run with other ones"
            )
        if len(urls) < settings.lanes:
            raise PlanError(f"{len(urls)} shards for {settings.lanes} lanes; use at most as many lanes as shards")
        self.urls = urls
        self.world = world
        self.settings = settings
        self.lanes: dict[int, Pack[MeasuredPage]] = {}
        self.start: State | None = None
        self._open_stream = open_stream

    def start_at(self, state: Mapping[str, Any] | None) -> None:
        """Let `reset()` begin at a saved state."""
        self.start = None if state is None else dict(state)

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved state, this rank's or the merged one of all ranks; or at the start.

        Raises:
            StateError: the state lacks a lane of this rank, or is not one of this number of ranks.
        """
        super().reset(initial_state)
        initial_state = self.start if initial_state is None else initial_state
        first = 0 if initial_state is None else int(initial_state[self.NEXT_KEY])
        if first % self.world.size:
            raise StateError(
                f"the saved state is after {first} packs, in the middle of a round of {self.world.size} ranks; "
                "save after a whole step"
            )
        numbers = range(self.world.rank, self.settings.lanes, self.world.size)
        saved = None if initial_state is None else initial_state[self.LANES_KEY]
        missing = [] if saved is None else [number for number in numbers if str(number) not in saved]
        if missing:
            raise StateError(
                f"the saved state has the lanes {', '.join(saved or ())}; rank {self.world.rank} of {self.world.size} "
                f"needs lane {missing[0]}: merge the states of all ranks before you save (merge_lane_states)"
            )
        self._next_pack = first + self.world.rank
        for lane in self.lanes.values():
            close(lane)
        self.lanes = {number: _lane(self.urls, number, self.settings, self._open_stream) for number in numbers}
        for number, lane in self.lanes.items():
            lane.reset(None if saved is None else saved[str(number)])
        self._states = {number: lane.state_dict() for number, lane in self.lanes.items()}

    def advance(self) -> LanePack:
        """The next pack of this rank."""
        number = self._next_pack
        lane = number % self.settings.lanes
        pages = next(self.lanes[lane])
        self._states = {**self._states, lane: self.lanes[lane].state_dict()}
        self._next_pack += self.world.size
        return LanePack(number=number, pages=tuple(pages))

    def get_state(self) -> State:
        """How many packs came before the next one of rank 0, and each lane's place."""
        first = self._next_pack - self.world.rank
        return {self.NEXT_KEY: first, self.LANES_KEY: {str(lane): state for lane, state in self._states.items()}}

    def completed(self, state: State) -> State | None:
        """The state itself, when it lies between two steps."""
        return None if state[self.NEXT_KEY] % self.settings.global_batch_size else state

    def close(self) -> None:
        """Close all lanes."""
        super().close()
        for lane in self.lanes.values():
            close(lane)


def merge_lane_states(states: Sequence[State]) -> State:
    """One state out of those that all ranks saved after the same step; any number of ranks can go on from it.

    Raises:
        StateError: they were not saved after the same step.
    """
    places = {state[LaneSource.NEXT_KEY] for state in states}
    if len(places) != 1:
        raise StateError(f"the ranks' states belong to different packs, {sorted(places)}; save all after the same step")
    lanes = {lane: place for state in states for lane, place in state[LaneSource.LANES_KEY].items()}
    return {LaneSource.NEXT_KEY: places.pop(), LaneSource.LANES_KEY: lanes}


def _lane(urls: Sequence[str], lane: int, settings: LaneSettings, open_stream: OpenStream | None) -> Pack[MeasuredPage]:
    shards = LaneShards(urls, lane=lane, lanes=settings.lanes, seed=settings.seed)
    samples = Shuffle(ReadTars(shards, open_stream=open_stream), buffer=settings.shuffle, seed=settings.seed)
    read = partial(_measure, settings=settings)
    return Pack(
        Step(samples, read, on_error="skip", name="LaneSource"),
        sequence_length=settings.sequence_length,
        max_patches=settings.max_patches,
        pool=settings.pool,
        measure=measured_lengths,
        on_error="skip",
    )


def _measure(sample: RawSample, *, settings: LaneSettings) -> MeasuredPage:
    page = as_page({"__key__": sample.key, **sample.parts})
    assert isinstance(page, Page), "the parts of a tar are bytes"
    return measure_page(page, family=settings.family, tiling=settings.tiling)
