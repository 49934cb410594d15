"""One page of a pack: built, or, when it fails, a blank one of the same shape in its place.

    Page ──► decode_page ► tile_page ► label_page ► build_sample ──► Sample        a page that is fine
    Slot ──► blank tiles of the planned sizes, padding for text    ──► Sample        a page that is not

The blank page has the tokens, tiles and patches that were planned and nothing to learn, so no other page moves.
"""

from dataclasses import dataclass

import numpy as np

from wdstream.batches.sample import IGNORED, build_sample
from wdstream.families.base import Family
from wdstream.nodes.decode import MAX_PIXELS, decode_page
from wdstream.nodes.tile import tile_page
from wdstream.pages.label import label_page
from wdstream.pages.tile import TilingPolicy, plan_tiles
from wdstream.records import ImageSegment, Page, Pixels, Sample, Size, TiledPage

WHITE = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What a pack reserves for a page.

    Attributes:
        key: the page's key.
        image_sizes: (width, height) in pixels of each of its images.
        tokens: its length in the pack.
    """

    key: str
    image_sizes: tuple[Size, ...]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleBuilder:
    """How pages become samples.

    Attributes:
        family: token ids and sizes.
        tiling: how pages are cut.
        max_pixels: images above this are not decoded.
    """

    family: Family
    tiling: TilingPolicy
    max_pixels: int = MAX_PIXELS

    def build(self, page: Page) -> Sample:
        """The sample of a page.

        Raises:
            PageError: the page is bad; put `blank` in its place.
        """
        decoded = decode_page(page, max_pixels=self.max_pixels)
        return build_sample(label_page(tile_page(decoded, policy=self.tiling)), self.family)

    def blank(self, slot: Slot) -> Sample:
        """A sample of the slot's shape: its image blocks, then padding ids in place of the text."""
        plans = tuple(plan_tiles(width, height, self.tiling) for width, height in slot.image_sizes)
        page = TiledPage(
            key=slot.key,
            plans=plans,
            tiles=tuple(tuple(_blank_tile(size) for size in plan.sizes) for plan in plans),
            segments=tuple(ImageSegment(index=index) for index in range(len(plans))),
        )
        bare = build_sample(label_page(page), self.family)
        text = np.full(max(slot.tokens - bare.num_tokens, 0), self.family.pad_id, dtype=np.int64)
        ids = np.concatenate([bare.input_ids[:-1], text, bare.input_ids[-1:]])
        return Sample(
            key=slot.key,
            input_ids=ids,
            labels=np.full_like(ids, IGNORED),
            tiles=bare.tiles,
            num_patches=bare.num_patches,
        )


def _blank_tile(size: Size) -> Pixels:
    return np.full((size[1], size[0], 3), WHITE, dtype=np.uint8)
