"""Lane: one of the V rows of shards that a LaneSource reads; it measures and packs what it reads.

its shards of each epoch ──► ReadTars ► Shuffle ► page, measured ► Pack ──► packs, and what was left out before each

A page is called by its shard's name and its key in there: `00017.tar/page-3`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO, overload

import numpy as np
from pydantic import ConfigDict, InstanceOf, PositiveInt

from wdstream.errors import PageError, ShardError, UnfitError
from wdstream.families.base import Family
from wdstream.nodes.as_page import as_page
from wdstream.nodes.mapper import Map
from wdstream.nodes.measure import MeasuredPage, PageMeasurer
from wdstream.nodes.node import State
from wdstream.nodes.pack import Pack
from wdstream.nodes.read_tars import ReadTars
from wdstream.nodes.shuffle import Shuffle
from wdstream.nodes.tar_urls import OpenStream
from wdstream.plan.order import combine, splitmix64
from wdstream.plan.sample_lengths import LengthLimits
from wdstream.plan.settings import PackSettings
from wdstream.raw.tars.samples import RawSample
from wdstream.records import Failure, Page
from wdstream.shards.layout import KeyRule, prefixed_key
from wdstream.shards.samples.told import reading_of_sample
from wdstream.storage.addresses import shown_url
from wdstream.text.maps.readings import RowReadings
from wdstream.text.placeholders import leading_mark
from wdstream.text.row_forms import DEFAULT_RULES, RowRules
from wdstream.tiling.plugin import LoadedTiling
from wdstream.tiling.policy import TilingPolicy

ENDLESS = 1 << 62
_log = logging.getLogger("wdstream")


class LaneSettings(PackSettings):
    """What decides the packs of every lane."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    family: Family
    """Whose lengths pages have."""
    tiling: TilingPolicy | LoadedTiling
    """How pages are cut."""
    pool: PositiveInt = 16
    """Pages that each lane chooses from, in memory with their images still encoded."""
    lanes: PositiveInt = 8
    """V; a multiple of every world size that the run may have."""
    shuffle: PositiveInt = 64
    """Pages of a lane that are shuffled together, in memory likewise."""
    key_rule: KeyRule = "webdataset"
    """Where a key ends, see ReadTars."""
    rules: InstanceOf[RowRules] = DEFAULT_RULES
    """How samples are read: a map, fields that are metadata."""
    downscale: bool = False
    """Shrink the images of pages that are too long for a pack, rather than leave them out."""

    @property
    def packing(self) -> list[object]:
        """As of PackSettings, what becomes of pages that are too long, and the map of samples, if there is one."""
        field_map = self.rules.field_map
        return [*super().packing, self.downscale, *([str(field_map)] if field_map is not None else [])]

    @property
    def limits(self) -> LengthLimits:
        """What a page may be, to be packed."""
        return LengthLimits.of(self, self.family, downscale=self.downscale)


@dataclass(slots=True, kw_only=True)
class LeftOut:
    """Pages that a lane passed over: `bad` ones cannot be read, `unfit` ones fit no pack."""

    bad: list[Failure] = field(default_factory=list)
    unfit: list[Failure] = field(default_factory=list)


class LaneShards(Sequence[str]):
    """The shards that one lane reads: epoch after epoch its share of all shards, in another order each time."""

    def __init__(self, urls: Sequence[str], *, lane: int, lanes: int, seed: int, epochs: int | None = None) -> None:
        self._urls = urls
        self._lane, self._lanes, self._seed = lane, lanes, seed
        self.share = len(range(lane, len(urls), lanes))
        self._length = ENDLESS if epochs is None else epochs * self.share
        # An epoch and its order in one value, so that threads that come together sort it twice at worst.
        self._kept: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        """The shard at a place of the lane."""
        assert isinstance(place, int), "a sequence without an end has no slices"
        epoch, place = divmod(place, self.share)
        kept, order = self._kept
        if kept != epoch:
            order = self._order(epoch)
            self._kept = epoch, order
        return self._urls[order[place]]

    def _order(self, epoch: int) -> list[int]:
        """Numbers of the lane's shards in an epoch: every V-th of all shards sorted by a hash."""
        shards = np.arange(len(self._urls), dtype=np.uint64)
        hashes = splitmix64(shards ^ np.uint64(combine(self._seed, epoch)))
        order: list[int] = np.argsort(hashes)[self._lane :: self._lanes].tolist()
        return order


class Lane:
    """One lane, opened by `reset`.

    Args:
        urls: all shards.
        names: what each is called in keys (read_tars.shard_names).
        number: which lane this is.
        settings: of all lanes.
        measure: the lengths of a page.
        open_stream: opens a tar; see ReadTars.

    Attributes:
        left_out: what was passed over since it was last taken away.
    """

    def __init__(
        self,
        urls: Sequence[str],
        names: Mapping[str, str],
        number: int,
        settings: LaneSettings,
        measure: PageMeasurer,
        open_stream: OpenStream,
    ) -> None:
        self._names = names
        self._number = number
        self._settings = settings
        self._measurer = measure
        self._open_stream = open_stream
        self._opened = self._measured = self._fitted = 0
        self._readings = RowReadings() if number == 0 else None  # until they are reported
        self.left_out = LeftOut()
        self._shards = LaneShards(urls, lane=number, lanes=settings.lanes, seed=settings.seed, epochs=settings.epochs)
        samples = Shuffle(
            ReadTars(self._shards, open_stream=self._open, keys=settings.key_rule),
            buffer=settings.shuffle,
            seed=settings.seed,
        )
        self._packs: Pack[MeasuredPage] = Pack(
            Map(samples, self._measure, on_error="skip", name="LaneSource"),
            sequence_length=settings.sequence_length,
            max_patches=settings.max_patches,
            pool=settings.pool,
            measure=lambda page: (page.tokens, page.patches),
        )

    def reset(self, state: State | None) -> None:
        """Open at a saved place, or at the beginning."""
        # Shards opened: until now, when the last page was measured, and when the last one fitted.
        self._opened = self._measured = self._fitted = 0
        self._packs.reset(state)
        self.left_out = LeftOut()  # what is read again was left out, and reported, before

    def next_pack(self) -> tuple[MeasuredPage, ...]:
        """The pages of the next pack; none after the last epoch."""
        pack = tuple(next(self._packs, ()))
        if self._readings is not None:
            for line in self._readings.lines():
                _log.info("the first samples: %s", line)
            self._readings = None
        return pack

    def take_left_out(self) -> LeftOut:
        """What was passed over since the last time."""
        left_out, self.left_out = self.left_out, LeftOut()
        return left_out

    def state(self) -> State:
        """Where the lane is, as JSON."""
        return self._packs.state_dict()

    def close(self) -> None:
        """Close the open tar."""
        self._packs.close()

    def _open(self, url: str) -> BinaryIO:
        # A shard is opened when all pages shuffled together are measured; one page a pass would fill that many passes.
        share, buffer = self._shards.share, self._settings.shuffle
        is_empty = self._opened - self._measured > share * (buffer + 1)
        if is_empty or self._measured - self._fitted > 2 * share:
            raise ShardError(
                f"lane {self._number}: no page of its {share} shards can be trained on, last {shown_url(url)}; the "
                "warnings above say why for each page, if there are any: mend or leave out these shards, or use fewer "
                "lanes"
            )
        self._opened += 1
        return self._open_stream(url)

    def _measure(self, sample: RawSample) -> MeasuredPage:
        self._measured = self._opened
        key = prefixed_key(self._names[sample.url], sample.key)  # many tools count keys again in every tar
        try:
            page = as_page(sample._replace(key=key), rules=self._settings.rules)
            assert isinstance(page, Page), "the members of a tar are bytes"
            measured = self._measurer(page)
            if self._readings is not None:
                reading = reading_of_sample(key, sample.members, self._settings.rules)
                self._readings.add(
                    self._names[sample.url], replace(reading, mark=leading_mark(page.segments) or reading.mark)
                )
        except PageError as error:
            left_out = self.left_out.unfit if isinstance(error, UnfitError) else self.left_out.bad
            left_out.append(Failure(key=key, sample=-1, reason=str(error)))
            raise
        self._fitted = self._opened
        return measured
