"""A pack as it is shown: every token of it belongs to one span, and every span is supervised or says why it is not.

    PackView ─► DocumentView ─► Span, Span, ...       tokens from:to of the pack, end to end without a gap
                            └─► ImageView ─► TileView, ...

Token numbers count from the start of the pack: a span is `input_ids[begin:end]`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Literal

from wdstream.families.base import Family
from wdstream.records import Box, Pixels, Size

SpanKind = Literal["opening", "image", "label", "text", "prompt", "blank", "end"]
"""What a span stands for: ids that open a document, an image block, a tile label, supervised text, text that is not
supervised, the missing text of a failed page, EOS."""


class Mask(StrEnum):
    """Why nothing is supervised on a token."""

    IMAGE = "image block"
    LABEL = "tile label"
    PROMPT = "prompt text"
    OPENING = "opens the document"
    FIRST = "first token"
    FAILED = "failed page"
    CONTINUES = "text continues"


MASK_MEANINGS = {
    Mask.IMAGE: "stands for pixels, which are not predicted",
    Mask.LABEL: "tells the model which tile follows",
    Mask.PROMPT: "said by others in a chat, or marked as not supervised in its row",
    Mask.OPENING: "put before a document by the model family",
    Mask.FIRST: "nothing before it in its document predicts it",
    Mask.FAILED: "keeps the slot of a page that could not be read",
    Mask.CONTINUES: "ends a part of a page whose text continues in the next part",
}
"""What a mask means, in a few words."""

SHOWN_TILES = 8
"""Spans of tiles and labels that are shown at the beginning and again at the end, unless all are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Tokens [begin, end) of a pack that stand for one thing, all supervised or all masked.

    Attributes:
        begin, end: in the pack.
        kind: what they stand for.
        mask: why nothing is supervised on them; None where they are supervised.
        text: their ids as text; of images, each id with the number of its repetitions.
        tile: number in `DocumentView.tiles`, for images and labels.
    """

    begin: int
    end: int
    kind: SpanKind
    mask: Mask | None
    text: str
    tile: int | None = None

    @property
    def num_tokens(self) -> int:
        """Its length in tokens."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanGroup:
    """Spans shown together; of many tiles, the `folded` ones in the middle are shown only when asked for."""

    shown: tuple[Span, ...]
    folded: tuple[Span, ...] = ()
    last: tuple[Span, ...] = ()

    @property
    def num_folded_tiles(self) -> int:
        """Tiles among the folded spans."""
        return sum(span.kind == "image" for span in self.folded)

    @property
    def num_folded_tokens(self) -> int:
        """Tokens of the folded spans."""
        return sum(span.num_tokens for span in self.folded)


def span_groups(spans: Sequence[Span]) -> Iterator[SpanGroup]:
    """Spans in groups, alternately of tiles with their labels and of the rest."""
    for is_tile, group in groupby(spans, key=lambda span: span.tile is not None):
        members = tuple(group)
        if is_tile and len(members) > 2 * SHOWN_TILES + 2:
            folded = members[SHOWN_TILES:-SHOWN_TILES]
            yield SpanGroup(shown=members[:SHOWN_TILES], folded=folded, last=members[-SHOWN_TILES:])
        else:
            yield SpanGroup(shown=members)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileView:
    """One tile of an image.

    Attributes:
        number: in emission order, from 0, over all images of the document.
        label: as in the text before it; None without one.
        is_overview: whether it is the whole page as one small image.
        box: what of the page it shows.
        size: (width, height) in pixels as it is cut.
        model_size: (width, height) as the model family resizes it.
        num_patches: vision patches.
        pixels: uint8 (height, width, 3), as it is cut.
    """

    number: int
    label: str | None
    is_overview: bool
    box: Box
    size: Size
    model_size: Size
    num_patches: int
    pixels: Pixels = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """What it is, and its label or number."""
        kind = "overview" if self.is_overview else "tile"
        return f"{kind} {self.number}" if self.label is None else f"{kind} {self.label}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageView:
    """One image of a page: (width, height) in pixels before it is cut, the grid (columns, rows), and its tiles."""

    size: Size
    grid: tuple[int, int]
    tiles: tuple[TileView, ...]

    @property
    def has_overview(self) -> bool:
        """Whether its first tile is the whole page."""
        return self.tiles[0].is_overview

    @property
    def cut(self) -> str:
        """How the image is cut, in words."""
        if len(self.tiles) == 1:
            return "one tile"
        columns, rows = self.grid
        return f"grid {columns}x{rows}" + (" and the overview" if self.has_overview else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentView:
    """One document of a pack.

    Attributes:
        slot: its place in the pack, from 0.
        sample: number in the plan.
        key: of the page, or the name of its part.
        dataset: name of its dataset.
        shard, row: file name of its shard, and its row in the dataset's index.
        scale: its images are first shrunk to scale / 64 of their sides.
        begin, end: its tokens in the pack.
        num_patches: vision patches of its tiles.
        images: in reading order.
        spans: cover [begin, end) without a gap.
        failure: why the page could not be read; None for a page that is fine.
    """

    slot: int
    sample: int
    key: str
    dataset: str
    shard: str
    row: int
    scale: int
    begin: int
    end: int
    num_patches: int
    images: tuple[ImageView, ...]
    spans: tuple[Span, ...]
    failure: str | None = None

    @property
    def tiles(self) -> tuple[TileView, ...]:
        """The tiles of all images, in emission order."""
        return tuple(tile for image in self.images for tile in image.tiles)

    @property
    def num_tokens(self) -> int:
        """Its length in tokens."""
        return self.end - self.begin

    @property
    def num_supervised(self) -> int:
        """Tokens with a label."""
        return sum(span.num_tokens for span in self.spans if span.mask is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackView:
    """One pack of a run.

    Attributes:
        config: the configuration it was planned by.
        step: number of the step.
        pack: its place among the packs of the step, from 0.
        num_packs: packs of the step.
        number: its number in the whole run, from 0.
        sequence_length, max_patches: the two capacities.
        family: that encoded it.
        tiling: kind of the tiling policy.
        documents: in order.
        notes: what else there is to say of the data: what is held out.
    """

    config: Path
    step: int
    pack: int
    num_packs: int
    number: int
    sequence_length: int
    max_patches: int
    family: Family = field(repr=False, compare=False)
    tiling: str
    documents: tuple[DocumentView, ...]
    notes: tuple[str, ...] = ()

    @property
    def siblings(self) -> str:
        """Which packs the step has, in words; packs are numbered from 0."""
        return "the only pack of its step" if self.num_packs == 1 else f"one of packs 0 to {self.num_packs - 1}"

    @property
    def num_tokens(self) -> int:
        """The tokens of all documents."""
        return sum(document.num_tokens for document in self.documents)

    @property
    def num_patches(self) -> int:
        """The patches of all documents."""
        return sum(document.num_patches for document in self.documents)

    @property
    def num_supervised(self) -> int:
        """Tokens with a label."""
        return sum(document.num_supervised for document in self.documents)

    @property
    def num_tiles(self) -> int:
        """The tiles of all documents."""
        return sum(len(document.tiles) for document in self.documents)

    @property
    def masked(self) -> dict[Mask, int]:
        """Tokens on which nothing is supervised, by reason; the most frequent first."""
        counts: Counter[Mask] = Counter()
        for document in self.documents:
            for span in document.spans:
                if span.mask is not None:
                    counts[span.mask] += span.num_tokens
        return dict(counts.most_common())
