"""The whole graph, in order: from the plan to the batches of one rank.

    plan = Plan(Shards.open("shards"), load_family("models/tiny"), TilingPolicy(), sequence_length=8192,
                max_patches=40_000, global_batch_size=16)
    with plan.loader(world=World(rank=0, size=8), state=state) as loader:
        for batch in loader: ...          # global_batch_size / (8 * micro_batch_size) batches make a step, rounded up

Torch is imported when a loader is built, so that planning, tracing and reports start at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from wdstream.families.base import Family
from wdstream.pipeline.planning.feed import Planning, SharedPlanner
from wdstream.pixels.settings import PixelSettings
from wdstream.plan.deal import packs_per_rank
from wdstream.plan.planner import Planner
from wdstream.plan.protocols import Dataset, LengthModel, Mix, check_members
from wdstream.plan.settings import PlanSettings
from wdstream.plan.state import Fingerprints
from wdstream.records import World
from wdstream.settings import takes_settings
from wdstream.shards.reader import Shards
from wdstream.shards.samples.row_name import name_of_row
from wdstream.storage.json_lines import write_lines
from wdstream.tiling.plugin import LoadedTiling
from wdstream.tiling.policy import TilingPolicy

if TYPE_CHECKING:
    from wdstream.batches.form import BatchForm
    from wdstream.nodes.node import JsonState
    from wdstream.pipeline.build_pack import PackBuilder
    from wdstream.pipeline.loader import StreamLoader
    from wdstream.pipeline.plan_source import PackTask

Datasets = Shards | Dataset | Mix | Sequence[Shards | Dataset | Mix]


class Plan(Planner):
    """A Planner over shards, which also builds what it plans.

    Attributes:
        family: of the model; for images that are not cut, with its processor's own splitting.
        tiling: the policy, fitted to the family's image sizes.
        pixels: how images become tiles.

    Raises:
        ConfigError: settings out of range, or that contradict each other.
        PlanError: a dataset is empty.
        ShardIndexError: a dataset lacks the family's token column.
    """

    @takes_settings(PlanSettings)
    def __init__(
        self,
        datasets: Datasets,
        family: Family,
        tiling: TilingPolicy | LoadedTiling,
        *,
        pixels: PixelSettings | None = None,
        **settings: object,
    ) -> None:
        """`datasets`: opened shards, or `Dataset`s and `Mix`es of them; settings: see PlanSettings."""
        family, tiling = fit_tiling(family, tiling)
        self.pixels = pixels or PixelSettings()
        if not isinstance(self.pixels, PixelSettings):
            raise TypeError(f"Plan: pixels: expected PixelSettings(...); got {pixels!r:.80}")
        self.family = family_for_pixels(family, self.pixels)
        self.tiling = tiling
        super().__init__(datasets, family, tiling, **settings)
        if self.pixels.fingerprint:
            self.fingerprints = Fingerprints({**self.fingerprints, "pixels": self.pixels.fingerprint})

    def __repr__(self) -> str:
        settings, pages = self.settings, sum(map(len, self.shards))
        return (
            f"<Plan of {len(self.datasets)} datasets with {pages} pages, family {self.family.name}: packs of "
            f"{settings.sequence_length} tokens and {settings.max_patches} patches, {settings.global_batch_size} per "
            "step>"
        )

    @property
    def shards(self) -> tuple[Shards, ...]:
        """The shards of each dataset, in the order of sample numbers."""
        return tuple(cast(Shards, dataset.columns) for dataset in self.datasets)

    def key(self, sample: int) -> str:
        """The key of a sample number, read from its shard, as batches have it; `KEY part 2/3` for part of a page."""
        dataset, row = self.locate(sample)
        key, part = name_of_row(self.shards[dataset], row), self.mixture.part_of(sample)
        return key if part is None else part.name(key)

    def loader(
        self,
        *,
        world: World | None = None,
        state: "JsonState | None" = None,
        workers: int = 2,
        prefetch: int = 2,
        micro_batch_size: int = 1,
        known_bad: Mapping[int, str] | None = None,
        planning: Planning = "auto",
        shared: SharedPlanner | None = None,
        form: "BatchForm | None" = None,
    ) -> "StreamLoader":
        """The batches of one rank, from a saved state of any rank of any world on.

        Args:
            world: which rank this is; no more ranks than global_batch_size. The only one when left out.
            state: what `loader.state_dict()` gave; None for the beginning.
            workers: threads that build packs; 0 builds them in the thread that prefetches. No influence on what comes.
            prefetch: batches ready ahead; 0 makes each when it is asked for.
            micro_batch_size: packs per batch.
            known_bad: reasons of samples that failed before, by number; they are not read again.
            planning: where steps are planned: thread, process, or auto, by the size of a step (planning/feed.py).
            shared: the ranks of this machine, where they share the process that plans.
            form: rows of one length, pinned memory; None: neither.

        Returns:
            An iterator of batches (batches/batch.py), each with the plan of its step. Its `state_dict()` is the
            stream's state after the last completed step, the same on every rank.

        Raises:
            PlanError: a step cannot be divided so.
            StateError: the state belongs to another plan.
        """
        from wdstream.batches.form import BatchForm
        from wdstream.nodes.mapper import BatchMap, Map
        from wdstream.nodes.prefetch import Prefetch
        from wdstream.pipeline.fetch_ahead import fetched_ahead
        from wdstream.pipeline.loader import StreamLoader
        from wdstream.pipeline.plan_source import PlanSource

        world = World() if world is None else world
        if not isinstance(world, World):
            raise TypeError(f"loader: world: expected World(rank=..., size=...); got {world!r:.80}")
        packs_per_rank(self.settings.global_batch_size, world_size=world.size, micro_batch_size=micro_batch_size)
        builder = pack_builder(self, known_bad=known_bad)
        made = form or BatchForm()
        # What another process needs to make this loader again; it plans by itself.
        again = partial(self.loader, world=world, state=state, workers=workers, prefetch=prefetch, known_bad=known_bad)
        again = partial(again, micro_batch_size=micro_batch_size, planning=planning, form=form)

        # PackTask: this rank's packs, as planned.
        source = PlanSource(self, world=world, micro_batch_size=micro_batch_size, planning=planning, shared=shared)
        mixture, shuffle_shards = self.mixture, self.settings.shuffle_shards
        # The same, those to come being fetched from a store into data.cache.
        tasks = fetched_ahead(source, datasets=self.shards, mixture=mixture, shuffle_shards=shuffle_shards)
        # EncodedPack: read, decode, tile, label, encode.
        packs = Map(tasks, builder, workers=workers, name="build_pack")
        collated = BatchMap(packs, lambda group: [made.batch(group, self.family)], size=micro_batch_size)  # Batch
        ready = Prefetch(collated, depth=prefetch)  # the same, a few ahead
        return StreamLoader(ready, source, state=state, make=again)


def family_for_pixels(family: Family, pixels: PixelSettings) -> Family:
    """The family with pixels by its own processor where the settings say `reference`; else the family itself."""
    if pixels.pixels != "reference":
        return family
    from wdstream.families.reference.pixels import with_reference_pixels  # brings transformers' processors

    return with_reference_pixels(family)


def fit_tiling(family: Family, tiling: TilingPolicy | LoadedTiling) -> tuple[Family, TilingPolicy | LoadedTiling]:
    """Family and policy fitted to each other: image sizes the family takes; its own splitting where nothing is cut."""
    check_members("family", family, LengthModel, "a model family, such as load_family(PATH)")
    if not isinstance(tiling, TilingPolicy):
        return family, tiling
    family = family.for_whole_images() if tiling.kind == "none" else family
    return family, tiling.for_family(family)


def pack_builder(plan: Plan, *, known_bad: Mapping[int, str] | None = None) -> "PackBuilder[PackTask]":
    """How packs of a plan become arrays; `known_bad` as in `Plan.loader`."""
    from wdstream.nodes.tile import TileRenderer
    from wdstream.pipeline.build_pack import PackBuilder
    from wdstream.pipeline.plan_source import PackReader
    from wdstream.pixels.tile_cache import open_cache

    max_pixels = plan.settings.max_pixels
    cache = open_cache(plan.pixels, tiling=plan.tiling.pixel_fingerprint, max_pixels=max_pixels)
    renderer = TileRenderer(tiling=plan.tiling, max_pixels=max_pixels, decode=plan.pixels.decode, cache=cache)
    reader = PackReader(datasets=plan.shards, mixture=plan.mixture, known_bad=known_bad or {})
    return PackBuilder(family=plan.family, renderer=renderer, read=reader)


def write_rejects(plan: Plan, path: Path) -> int:
    """List the pages that the plan leaves out, and those that it shrinks or splits so that they fit, as JSON lines.

    Returns:
        The number of lines.
    """
    lines = list(_rejects(plan))
    write_lines(path, lines)
    return len(lines)


def _rejects(plan: Plan) -> Iterator[dict[str, object]]:
    for sample, reason, is_packed in plan.exceptions():
        dataset, row = plan.locate(sample)
        shards = plan.shards[dataset]
        yield {
            "sample": sample,
            "key": name_of_row(shards, row),
            "dataset": plan.datasets[dataset].name,
            "shard": shards.shard_name(row),
            "reason": reason,
            "is_packed": is_packed,
        }
