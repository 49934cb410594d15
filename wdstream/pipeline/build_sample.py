"""The pages of a pack: built, or, where one fails, a blank one of the same shape in its place.

    Page ──► render_chat ► TileRenderer.cut ► (take_part) ► label_page ──► LabelledPage ──┐              a page that
                                                                                   is fine ├► build_all ──► Sample
    Slot ──► blank tiles of the planned sizes, padding ids for text ──► Sample ─────┘              a page that is not

The blank page has the tokens, tiles and patches that were planned and nothing to learn, so no other page moves.

One part of a page that is split, as the plan cut it: the page's images, and some of its paragraphs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wdstream.batches.sample import build_sample, build_samples
from wdstream.errors import ShardError
from wdstream.families.base import Family
from wdstream.families.shared.chat import render_chat
from wdstream.nodes.decode import MAX_PIXELS
from wdstream.nodes.tile import Tiling
from wdstream.pipeline.tile_renderer import TileRenderer
from wdstream.pixels.settings import DecodeMode
from wdstream.pixels.tile_cache import TileCache
from wdstream.plan.sample_lengths import FULL_SCALE, scaled_size
from wdstream.plan.split_pages import PagePart
from wdstream.records import IGNORED, ImageSegment, LabelledPage, Page, Pixels, Sample, Size, TextSegment, TiledPage
from wdstream.text.paragraphs import page_paragraphs
from wdstream.tiling.labels import label_page


def take_part(page: TiledPage, part: PagePart) -> TiledPage:
    """The part, under a name of its own; each paragraph is a segment, and so tokenised by itself, as it was counted.

    Raises:
        ShardError: the page has other paragraphs than the index says.
    """
    paragraphs = page_paragraphs(page.segments)
    if len(paragraphs) != part.num_paragraphs:
        raise ShardError(
            f"page {page.key!r}: planned {part.num_paragraphs} paragraphs, found {len(paragraphs)}; the index counts "
            "those of other shards. Run `wdstream index SHARDS --rebuild`, then `wdstream lengths SHARDS --tokenizer "
            "PATH --paragraphs`"
        )
    texts = (TextSegment(text=text) for text in paragraphs[part.begin : part.end])
    segments = (*page.segments[:-1], *texts)
    return replace(page, key=part.name(page.key), segments=segments, continues=not part.is_last)


WHITE = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What a pack reserves for a page.

    Attributes:
        key: the page's key, or the name of its part.
        image_sizes: (width, height) in pixels of each of its images.
        tokens: its length in the pack.
        scale: its images are first shrunk to scale / 64 of their sides.
    """

    key: str
    image_sizes: tuple[Size, ...]
    tokens: int
    scale: int = FULL_SCALE

    @property
    def scaled_sizes(self) -> tuple[Size, ...]:
        """(width, height) of its images as they are tiled."""
        return tuple(scaled_size(width, height, self.scale) for width, height in self.image_sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleBuilder:
    """How pages become samples.

    Attributes:
        family: token ids and sizes.
        tiling: how pages are cut.
        max_pixels: images above this are not decoded.
        decode: see PixelSettings.
        cache: keeps tiles of this tiling, decode and max_pixels; None for no cache.
    """

    family: Family
    tiling: Tiling
    max_pixels: int = MAX_PIXELS
    decode: DecodeMode = "exact"
    cache: TileCache | None = None

    def build_all(self, pages: Sequence[LabelledPage | Sample]) -> list[Sample]:
        """The samples of the pages of a pack, all at once; those that are samples already, blank ones, as they are."""
        built = iter(build_samples([page for page in pages if isinstance(page, LabelledPage)], self.family))
        return [page if isinstance(page, Sample) else next(built) for page in pages]

    def label(self, page: Page, *, scale: int = FULL_SCALE, part: PagePart | None = None) -> LabelledPage:
        """A page, or one part of it, with its tiles cut and in their places.

        Raises:
            PageError: the page is bad; put `blank` in its place.
            ShardError: the page has other paragraphs than were planned.
        """
        return label_page(self.tiled(page, scale=scale, part=part))

    def tiled(self, page: Page, *, scale: int = FULL_SCALE, part: PagePart | None = None) -> TiledPage:
        """A page, or one part of it, with its tiles cut.

        Raises:
            PageError: the page is bad.
            ShardError: the page has other paragraphs than were planned.
        """
        cutter = TileRenderer(tiling=self.tiling, max_pixels=self.max_pixels, decode=self.decode, cache=self.cache)
        tiled = cutter.cut(render_chat(page, self.family), scale=scale)
        return tiled if part is None else take_part(tiled, part)

    def blank(self, slot: Slot) -> Sample:
        """A sample of the slot's shape: its image blocks, then padding ids in place of the text."""
        bare = build_sample(label_page(self.blank_page(slot)), self.family)
        text = np.full(max(slot.tokens - bare.num_tokens, 0), self.family.pad_id, dtype=np.int64)
        ids = np.concatenate([bare.input_ids[:-1], text, bare.input_ids[-1:]])
        return replace(bare, input_ids=ids, labels=np.full_like(ids, IGNORED))

    def blank_page(self, slot: Slot) -> TiledPage:
        """The tiles of `blank`: white, and no text."""
        plans = tuple(self.tiling.plan_tiles(width, height) for width, height in slot.scaled_sizes)
        return TiledPage(
            key=slot.key,
            plans=plans,
            tiles=tuple(tuple(_blank_tile(size) for size in plan.sizes) for plan in plans),
            segments=tuple(ImageSegment(index=index) for index in range(len(plans))),
        )


def _blank_tile(size: Size) -> Pixels:
    return np.full((size[1], size[0], 3), WHITE, dtype=np.uint8)
