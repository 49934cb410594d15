"""From a pack of the plan to a pack of arrays: read, decode, tile, label, encode. Pure, so it runs in any thread.

    PackPlan ──► for each sample: read_page ► decode_page ► tile_page ► label_page ► build_sample ──► encode_pack

A page that fails keeps its slot: as many tokens as planned, blank tiles of the planned sizes, nothing to learn. No
other page of the pack changes and no rank waits. What is not a page's own fault, a missing shard or a stale index, is
fatal.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from wdstream.batches.pack import encode_pack
from wdstream.batches.sample import IGNORED, build_sample
from wdstream.errors import PageError, RowError, ShardError
from wdstream.families.base import Family
from wdstream.nodes.decode import MAX_PIXELS, decode_page
from wdstream.nodes.tile import tile_page
from wdstream.pages.label import label_page
from wdstream.pages.tile import TilingPolicy, plan_tiles
from wdstream.records import EncodedPack, Failure, ImageSegment, PackPlan, Sample, Size, TiledPage
from wdstream.shards.shards import Shards

WHITE = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class PackBuilder:
    """What building a pack takes beside the pack itself.

    Attributes:
        datasets: the data sets of the plan.
        locate: global sample number to (data set, row).
        family: token ids, positions, pixel layout.
        tiling: how pages are cut.
        max_pixels: images above this are not decoded.
        known_bad: reasons of samples that failed before, by sample number; they are not read again.
    """

    datasets: Sequence[Shards]
    locate: Callable[[int], tuple[int, int]]
    family: Family
    tiling: TilingPolicy
    max_pixels: int = MAX_PIXELS
    known_bad: Mapping[int, str] = field(default_factory=dict)

    def build(self, pack: PackPlan) -> EncodedPack:
        """All samples of a pack as arrays, in plan order.

        Raises:
            ShardError: a shard is missing or damaged as a whole, or a page is not as long as planned.
        """
        samples: list[Sample] = []
        failures: list[Failure] = []
        for number, tokens, patches in zip(pack.samples, pack.tokens, pack.patches, strict=True):
            dataset, row = self.locate(number)
            shards = self.datasets[dataset]
            try:
                sample = self._build_sample(number, shards, row)
            except PageError as error:
                sample = self._blank_sample(shards, row, tokens)
                failures.append(Failure(key=sample.key, sample=number, reason=str(error)))
            self._check(sample, shards, tokens, patches)
            samples.append(sample)
        return encode_pack(samples, self.family, number=pack.number, failures=failures)

    def _build_sample(self, number: int, shards: Shards, row: int) -> Sample:
        if number in self.known_bad:
            raise RowError(self.known_bad[number])
        page = decode_page(shards.read_page(row), max_pixels=self.max_pixels)
        return build_sample(label_page(tile_page(page, policy=self.tiling)), self.family)

    def _blank_sample(self, shards: Shards, row: int, tokens: int) -> Sample:
        """A sample of the planned shape: its image blocks, then padding ids in place of the text; nothing is learnt."""
        begin, end = int(shards.image_start[row]), int(shards.image_start[row + 1])
        sizes = zip(shards.image_width[begin:end].tolist(), shards.image_height[begin:end].tolist(), strict=True)
        plans = tuple(plan_tiles(width, height, self.tiling) for width, height in sizes)
        page = TiledPage(
            key=shards.key(row),
            plans=plans,
            tiles=tuple(tuple(_blank_tile(size) for size in plan.sizes) for plan in plans),
            segments=tuple(ImageSegment(index=index) for index in range(end - begin)),
        )
        bare = build_sample(label_page(page), self.family)
        text = np.full(max(tokens - bare.num_tokens, 0), self.family.pad_id, dtype=np.int64)
        ids = np.concatenate([bare.input_ids[:-1], text, bare.input_ids[-1:]])
        return Sample(
            key=bare.key,
            input_ids=ids,
            labels=np.full_like(ids, IGNORED),
            tiles=bare.tiles,
            num_patches=bare.num_patches,
        )

    def _check(self, sample: Sample, shards: Shards, tokens: int, patches: int) -> None:
        """The plan's lengths and those built must agree, or every limit and every total of the run is wrong."""
        if (sample.num_tokens, sample.num_patches) != (tokens, patches):
            raise ShardError(
                f"page {sample.key!r} of {shards.path}: the plan has {tokens} tokens and {patches} patches, the page "
                f"{sample.num_tokens} and {sample.num_patches}: the index or its token column is not of these shards "
                f"and this tokenizer. Run `wdstream index {shards.path} --rebuild`, then "
                f"`wdstream lengths {shards.path} --tokenizer {self.family.model_dir}`"
            )


def _blank_tile(size: Size) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((size[1], size[0], 3), WHITE, dtype=np.uint8)
