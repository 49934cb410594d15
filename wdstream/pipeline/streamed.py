"""The graph of a stream without an index, in order: from tars to the batches of one rank.

    lanes = lanes_from_config(config)
    with lanes.loader(world=World(rank=0, size=2), state=state) as loader:
        for batch in loader: ...          # as from a plan, but for `num_supervised`, which nobody knows in advance

Its packs are the same on every number of ranks that divides the lanes (nodes/lane_source.py). What a plan knows
before step 0 is not known here: how many steps there are, which pages a given step will have, how costly its packs are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from wdstream.batches.form import BatchForm
from wdstream.errors import PlanError, RowError, StateError
from wdstream.nodes.lane import LaneSettings
from wdstream.nodes.lane_source import LanePack, LaneSource, merge_lane_states
from wdstream.nodes.mapper import BatchMap, Map
from wdstream.nodes.node import JsonState, State, dataloader_share
from wdstream.nodes.prefetch import Prefetch
from wdstream.nodes.tar_urls import shard_names
from wdstream.nodes.tile import TileRenderer
from wdstream.pipeline.build_pack import PackBuilder, PackSlots, Slot
from wdstream.pipeline.loader import StreamLoader
from wdstream.pipeline.planned import family_for_pixels, fit_tiling
from wdstream.pixels.settings import PixelSettings
from wdstream.pixels.tile_cache import open_cache
from wdstream.plan.deal import check_even
from wdstream.plan.state import MEANING, Fingerprints
from wdstream.records import World

STREAM_VERSION = 2
"""Of the stream: raised whenever the same tars and settings would give other packs."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Lanes:
    """What a plan is for shards with an index, for shards without one.

    Attributes:
        urls: of the tars, see nodes/read_tars.py.
        settings: family and tiling in them are fitted to each other, as a plan's are.
        pixels: how images become tiles.

    Raises:
        ConfigError: the tiling asks for what the family has not.
    """

    urls: Sequence[str]
    settings: LaneSettings
    pixels: PixelSettings = field(default_factory=PixelSettings)

    def __post_init__(self) -> None:
        family, tiling = fit_tiling(self.settings.family, self.settings.tiling)
        family = family_for_pixels(family, self.pixels)
        object.__setattr__(self, "settings", self.settings.replace(family=family, tiling=tiling))

    def __repr__(self) -> str:
        settings = self.settings
        return (
            f"<Lanes: {settings.lanes} over {len(self.urls)} shards, family {settings.family.name}: packs of "
            f"{settings.sequence_length} tokens and {settings.max_patches} patches, {settings.global_batch_size} per "
            "step>"
        )

    @property
    def fingerprints(self) -> Fingerprints:
        """Of all that decides the stream, under the names that a plan's state has; part of every saved state."""
        settings = self.settings
        keys = [] if settings.key_rule == "webdataset" else [settings.key_rule]  # states of before have no such setting
        return Fingerprints.of(
            index=shard_names(self.urls),
            order=[settings.seed, settings.lanes, settings.shuffle, *keys],
            packing=settings.packing,
            version=f"lanes-{STREAM_VERSION}",
            family=settings.family,
            tiling=settings.tiling,
            pixels=self.pixels.fingerprint,
        )

    def loader(
        self,
        *,
        world: World | None = None,
        state: JsonState | None = None,
        workers: int = 2,
        prefetch: int = 2,
        micro_batch_size: int = 1,
        known_bad: Mapping[str, str] | None = None,
        form: BatchForm | None = None,
    ) -> StreamLoader:
        """The batches of one rank, from a saved state on.

        A batch's `num_supervised` is None. The loader's `state_dict()` holds this rank's lanes; `saved_state` makes one
        of those of all ranks. It never ends by itself: after the last epoch batches are empty, until the
        ranks agree that none of them has a page left (docs/nodes.md).

        Args:
            world: which rank this is; its size divides the lanes.
            state: what `saved_state` gave, on any world; None for the beginning.
            workers: threads that build packs. No influence on what comes.
            prefetch: batches ready ahead.
            micro_batch_size: packs per batch.
            known_bad: reasons of pages that failed before, by key; they stay blank.
            form: rows of one length, pinned memory; None: neither.

        Raises:
            PlanError: a step or the lanes cannot be divided so; or it runs in several workers of a DataLoader.
            StateError: the state is of another stream, or lacks lanes of this rank.
            ShardError: images and texts are in tars of their own.
        """
        if dataloader_share()[1] > 1:
            raise PlanError(
                "Lanes.loader: in several workers of a DataLoader each would read all lanes and give every batch: use "
                "num_workers=1 or 0; the loader has threads of its own (workers=)"
            )
        world, settings = world or World(), self.settings
        check_even(settings.global_batch_size, world_size=world.size, micro_batch_size=micro_batch_size)
        if state is not None:
            self.check(state)

        made = form or BatchForm()
        source = LaneSource(self.urls, settings=settings, world=world)  # LanePack: read and measured, still encoded
        packs = Map(source, self._builder(known_bad or {}), workers=workers, name="build_pack")  # EncodedPack
        collated = BatchMap(packs, lambda group: [made.batch(group, settings.family)], size=micro_batch_size)  # Batch
        ready = Prefetch(collated, depth=prefetch)  # the same, a few ahead
        make = partial(self.loader, world=world, state=state, workers=workers, prefetch=prefetch)
        make = partial(make, micro_batch_size=micro_batch_size, known_bad=known_bad, form=form)
        return StreamLoader(ready, source, state=state, make=make)

    def saved_state(self, states: Sequence[JsonState]) -> State:
        """The one state of the stream, out of what the loaders of all ranks say after the same step.

        Raises:
            StateError: they were not asked after the same step.
        """
        merged = merge_lane_states([dict(state) for state in states])
        step = merged[LaneSource.NEXT_KEY] // self.settings.global_batch_size
        return {"version": STREAM_VERSION, "step": step, **merged, "fingerprints": self.fingerprints}

    def check(self, state: JsonState) -> None:
        """Refuse a state of another stream.

        Raises:
            StateError: names each difference.
        """
        if LaneSource.LANES_KEY not in state:
            raise StateError(
                "the saved state is a plan's, of shards with an index; continue without data.streaming, or begin a new "
                "run"
            )
        if "fingerprints" not in state:
            raise StateError(
                "the saved state is that of one rank's loader; give what `Lanes.saved_state` makes of all ranks' states"
            )
        self.fingerprints.check(
            state["fingerprints"],
            step=state["step"],
            stream="stream",
            remedy="begin a new run in another train.output",
            meaning=MEANING | {"index": "the list of shards", "order": "the order: seed, lanes or shuffle_buffer"},
        )

    def _builder(self, known_bad: Mapping[str, str]) -> PackBuilder[LanePack]:
        settings, tiling, max_pixels = self.settings, self.settings.tiling, self.settings.max_pixels
        cache = open_cache(self.pixels, tiling=tiling.pixel_fingerprint, max_pixels=max_pixels)
        return PackBuilder(
            family=settings.family,
            renderer=TileRenderer(tiling=tiling, max_pixels=max_pixels, decode=self.pixels.decode, cache=cache),
            read=partial(lane_slots, global_batch_size=settings.global_batch_size, known_bad=known_bad),
        )


def lane_slots(pack: LanePack, *, global_batch_size: int, known_bad: Mapping[str, str]) -> PackSlots:
    """The slots of a pack of a lane, whose pages are in memory and measured already.

    Args:
        pack: of a LaneSource.
        global_batch_size: packs per step.
        known_bad: reasons of pages that failed before, by key; they stay blank.
    """
    slots = tuple(
        Slot(
            key=page.key,
            image_sizes=page.image_sizes,
            tokens=page.tokens,
            patches=page.patches,
            page=RowError(known_bad[page.key]) if page.key in known_bad else page.page,
            scale=page.scale,
        )
        for page in pack.pages
    )
    step = pack.number // global_batch_size
    return PackSlots(number=pack.number, slots=slots, step=step, failures=pack.bad, unfit=pack.unfit)
