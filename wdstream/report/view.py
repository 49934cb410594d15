"""A pack as it is shown: every token of it belongs to one run, and every run is supervised or says why it is not.

    PackView ─► DocumentView ─► Run, Run, ...       tokens from:to of the pack, end to end without a gap
                            └─► ImageView ─► TileView, ...

Token numbers count from the start of the pack: a run is `input_ids[begin:end]`.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from wdstream.families.base import Family
from wdstream.records import Box, Pixels, Size

Kind = Literal["opening", "image", "label", "text", "given", "blank", "end"]
"""What a run stands for: ids that open a document, an image block, a tile label, text to learn, text that is only
given, the missing text of a failed page, EOS."""


class Mask(StrEnum):
    """Why nothing is supervised on a token."""

    IMAGE = "image block"
    LABEL = "tile label"
    GIVEN = "given text"
    OPENING = "opens the document"
    FIRST = "first token"
    FAILED = "failed page"
    GOES_ON = "text goes on"


MEANING = {
    Mask.IMAGE: "stands for pixels, which are not predicted",
    Mask.LABEL: "tells the model which tile follows",
    Mask.GIVEN: "said by others in a chat, or marked as not supervised in its row",
    Mask.OPENING: "put before a document by the model family",
    Mask.FIRST: "nothing stands before it in its document to predict it from",
    Mask.FAILED: "keeps the slot of a page that could not be read",
    Mask.GOES_ON: "ends a part of a page, while the page's text goes on in the next part",
}
"""What a mask means, in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Tokens [begin, end) of a pack that stand for one thing, all supervised or all masked.

    Attributes:
        begin, end: in the pack.
        kind: what they stand for.
        mask: why nothing is supervised on them; None where they are supervised.
        text: their ids as text; of images, runs of one id with their count.
        tile: number in `DocumentView.tiles`, for images and labels.
    """

    begin: int
    end: int
    kind: Kind
    mask: Mask | None
    text: str
    tile: int | None = None

    @property
    def num_tokens(self) -> int:
        """How many tokens."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True, kw_only=True)
class TileView:
    """One tile of an image.

    Attributes:
        number: in emission order, from 0, over all images of the document.
        label: as in the text before it; None without one.
        is_overview: whether it is the whole page beside its tiles.
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
        """In a few words."""
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
        """How it is cut, in words."""
        if len(self.tiles) == 1:
            return "one tile"
        columns, rows = self.grid
        return f"grid {columns}x{rows}" + (" and the overview" if self.has_overview else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentView:
    """One document of a pack.

    Attributes:
        place: in the pack, from 0.
        sample: number in the plan.
        key: of the page, or the name of its part.
        dataset: name of its data set.
        shard, row: file name of its shard, and its row in the data set's index.
        scale: its images are first shrunk to scale / 64 of their sides.
        begin, end: its tokens in the pack.
        num_patches: vision patches of its tiles.
        images: in reading order.
        runs: cover [begin, end) without a gap.
        failure: why the page could not be read; None for a page that is fine.
    """

    place: int
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
    runs: tuple[Run, ...]
    failure: str | None = None

    @property
    def tiles(self) -> tuple[TileView, ...]:
        """Of all images, in emission order."""
        return tuple(tile for image in self.images for tile in image.tiles)

    @property
    def num_tokens(self) -> int:
        """How many tokens."""
        return self.end - self.begin

    @property
    def num_supervised(self) -> int:
        """Tokens with a label."""
        return sum(run.num_tokens for run in self.runs if run.mask is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackView:
    """One pack of a run.

    Attributes:
        config: the configuration it was planned by.
        step: number of the step.
        place: of the pack in its step, from 0.
        num_packs: of the step.
        number: of the pack in the run, from 0.
        sequence_length, max_patches: the two capacities.
        family: that encoded it.
        tiling: kind of the tiling policy.
        documents: in order.
    """

    config: Path
    step: int
    place: int
    num_packs: int
    number: int
    sequence_length: int
    max_patches: int
    family: Family = field(repr=False, compare=False)
    tiling: str
    documents: tuple[DocumentView, ...]

    @property
    def siblings(self) -> str:
        """Which packs the step has, in words: numbers count from 0."""
        return "the only pack of its step" if self.num_packs == 1 else f"one of packs 0 to {self.num_packs - 1}"

    @property
    def num_tokens(self) -> int:
        """Of all documents."""
        return sum(document.num_tokens for document in self.documents)

    @property
    def num_patches(self) -> int:
        """Of all documents."""
        return sum(document.num_patches for document in self.documents)

    @property
    def num_supervised(self) -> int:
        """Tokens with a label."""
        return sum(document.num_supervised for document in self.documents)

    @property
    def num_tiles(self) -> int:
        """Of all documents."""
        return sum(len(document.tiles) for document in self.documents)

    @property
    def masked(self) -> dict[Mask, int]:
        """Tokens on which nothing is supervised, by reason; the most frequent first."""
        counts: Counter[Mask] = Counter()
        for document in self.documents:
            for run in document.runs:
                if run.mask is not None:
                    counts[run.mask] += run.num_tokens
        return dict(counts.most_common())
