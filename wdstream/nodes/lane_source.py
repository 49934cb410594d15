"""LaneSource: packs from shards without an index, the same packs on every number of ranks that divides the lanes.

    shards of the epoch, by hash ──► lane 0 (lane.py) ──► packs 0,     V,     2V, ...
                                     lane 1                 ──► packs 1, V + 1, 2V + 1, ...
                                     ...                                       (V lanes)

A lane reads its shards front to back and packs what it reads: a pipe or a download will do. Rank r of W runs the lanes
r, r + W, ... and gives the packs r, r + W, ...; so the sequence of packs does not depend on W, as long as W divides V.
A rank's state holds its own lanes only: gather the states of all ranks and `merge_lane_states` before you save.
Each lane goes through its shards at its own pace; in each epoch every shard is in exactly one lane. With `epochs`, a
lane that is through gives packs without pages, so that all ranks continue alike until the last one is through. A step
then has at least one pack of every lane, so the first step without a page is the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from wdstream.errors import PlanError, StateError
from wdstream.nodes.apart import refuse_apart
from wdstream.nodes.lane import Lane, LaneSettings
from wdstream.nodes.measure import MeasuredPage, PageMeasurer
from wdstream.nodes.node import JsonState, Stage, State, check_tars
from wdstream.nodes.tar_urls import OpenStream, open_url, shard_names
from wdstream.plan.deal import check_even
from wdstream.records import Failure, World


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePack:
    """One pack of pages, still encoded.

    Attributes:
        number: its place in the sequence of packs over all lanes.
        pages: its pages, in order.
        bad: pages that could not be read and were passed over on the way to this pack.
        unfit: pages that fit no pack and were passed over likewise.
    """

    number: int
    pages: tuple[MeasuredPage, ...]
    bad: tuple[Failure, ...] = ()
    unfit: tuple[Failure, ...] = ()


class LaneSource(Stage[LanePack]):
    """This rank's packs of the lanes. Pages that are bad or too long for any pack are left out, logged and counted.

    Args:
        urls: tars, see ReadTars; at least as many as lanes.
        settings: the same on every rank and in every part of a run.
        world: which ranks there are.
        open_stream: opens a tar; see ReadTars.

    Raises:
        PlanError: the world does not divide lanes and packs per step, there are fewer shards than lanes, or with epochs
            a step does not reach all lanes.
    """

    _lanes: dict[int, Lane] | None = None
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
        world = World() if world is None else world
        check_tars(urls, "LaneSource")
        if not isinstance(settings, LaneSettings):
            raise TypeError(f"LaneSource: settings: expected LaneSettings(...); got {settings!r:.80}")
        if not isinstance(world, World):
            raise TypeError(f"LaneSource: world: expected World(rank=..., size=...); got {world!r:.80}")
        if open_stream is None:
            refuse_apart(urls, settings.key_rule)
        check_even(settings.global_batch_size, world_size=world.size)
        if settings.lanes % world.size:
            raise PlanError(
                f"{settings.lanes} lanes cannot be shared by {world.size} ranks alike; run on a number of ranks that "
                "divides them, or begin a run with other ones"
            )
        if len(urls) < settings.lanes:
            raise PlanError(f"{len(urls)} shards for {settings.lanes} lanes; use at most as many lanes as shards")
        if settings.epochs is not None and settings.global_batch_size % settings.lanes:
            raise PlanError(
                f"global_batch_size {settings.global_batch_size} is not a multiple of {settings.lanes} lanes: with "
                "epochs, a step needs a pack of every lane, or the run would end where one lane has none; "
                f"use {gcd(settings.lanes, settings.global_batch_size)} lanes, or leave epochs out"
            )
        self.urls = urls
        self.world = world
        self.settings = settings
        self.start: State | None = None
        self._open_stream = open_stream or open_url
        self._measure = PageMeasurer(settings.family, settings.tiling, settings.limits)

    def __repr__(self) -> str:
        return (
            f"<LaneSource of rank {self.world.rank} of {self.world.size}: {self.settings.lanes} lanes of "
            f"{len(self.urls)} shards>"
        )

    def start_at(self, state: JsonState | None) -> None:
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
                f"the saved state is after {first} packs, in the middle of the packs of {self.world.size} ranks; "
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
        self._close_lanes()
        names = dict(zip(self.urls, shard_names(self.urls), strict=True))
        self._lanes = lanes = {
            number: Lane(self.urls, names, number, self.settings, self._measure, self._open_stream)
            for number in numbers
        }
        for number, lane in lanes.items():
            lane.reset(None if saved is None else saved[str(number)])
        self._states = {number: lane.state() for number, lane in lanes.items()}

    def advance(self) -> LanePack:
        """The next pack of this rank."""
        self.refuse_copies()
        number = self._next_pack
        assert self._lanes is not None, "a node is reset before it is asked for items"
        lane = self._lanes[number % self.settings.lanes]
        pages, left_out = lane.next_pack(), lane.take_left_out()
        self._states = {**self._states, number % self.settings.lanes: lane.state()}
        self._next_pack += self.world.size
        return LanePack(number=number, pages=pages, bad=tuple(left_out.bad), unfit=tuple(left_out.unfit))

    def get_state(self) -> State:
        """How many packs came before the next one of rank 0, and each lane's place."""
        first = self._next_pack - self.world.rank
        return {self.NEXT_KEY: first, self.LANES_KEY: {str(lane): state for lane, state in self._states.items()}}

    def completed(self, state: State) -> State | None:
        """The state itself, when it is between two steps."""
        return None if state[self.NEXT_KEY] % self.settings.global_batch_size else state

    def close(self) -> None:
        """Close this node and all lanes."""
        super().close()
        self._close_lanes()

    def _close_lanes(self) -> None:
        for lane in (self._lanes or {}).values():
            lane.close()


def merge_lane_states(states: Sequence[State]) -> State:
    """One state out of those that all ranks saved after the same step; any number of ranks can continue from it.

    Raises:
        StateError: they were not saved after the same step.
    """
    places = {state[LaneSource.NEXT_KEY] for state in states}
    if len(places) != 1:
        raise StateError(f"the ranks' states belong to different packs, {sorted(places)}; save all after the same step")
    items = [item for state in states for item in state[LaneSource.LANES_KEY].items()]
    lanes = dict(sorted(items, key=lambda item: int(item[0])))  # the same text, however many ranks there were
    return {LaneSource.NEXT_KEY: places.pop(), LaneSource.LANES_KEY: lanes}
