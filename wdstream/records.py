"""The vocabulary, in flow order.

    Page ──Decode──► DecodedPage ──Tile──► TiledPage ──Label──► LabelledPage ──EstimateLength──► Sample
    list[Sample] (a pack) ──Collate──► batch (a dict of tensors, see wdstream/batches)

Sizes are (width, height), grids (columns, rows), boxes (left, top, right, bottom) with right and bottom exclusive.
Pixels are uint8 arrays of shape (height, width, 3), RGB. A page's text and images are in reading order in `segments`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ConfigError

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
Box = tuple[int, int, int, int]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
MAX_SIDE = 1 << 24
"""Longest side of a page in pixels; keeps every product of the tiling rules within 64 bits."""
MAX_PIXELS = 200_000_000
"""Pixels of an image, at most, unless the settings say otherwise."""
Resample = Literal["bilinear", "bicubic", "lanczos"]
RESAMPLES: tuple[Resample, ...] = get_args(Resample)
"""The filters by which images are resized."""
CHANNELS = 3
"""Of every image: RGB."""
IGNORED = -100
"""Label of a token on which nothing is supervised; PyTorch's cross entropy skips it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Rank `rank` of `size` data-parallel processes; made once at the edge, nothing below reads the environment.

    Raises:
        ConfigError: one is not a whole number, or rank is not in [0, size).
    """

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        for name, value in (("rank", self.rank), ("size", self.size)):
            if not hasattr(value, "__index__"):
                raise ConfigError(f"World: {name}: expected a whole number, found {value!r:.80}")
        if not 0 <= self.rank < self.size:
            raise ConfigError(f"World(rank={self.rank}, size={self.size}): rank must be in [0, {self.size})")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSegment:
    """A span of text; `is_supervised` is False where the model reads it and is not trained to write it: tile labels."""

    text: str
    is_supervised: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSegment:
    """Image number `index` of a page; after Label, tile number `index` of the page's flat list of tiles.

    `label` is set where the label of a tile is a token of the model family, inside the tile's block.
    """

    index: int
    label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSegment:
    """A mark in a chat row: what follows, up to the next mark, is said by `role`. See wdstream/text/messages.py.

    Attributes:
        role: system, user, assistant or tool.
        is_supervised: whether the turn is supervised.
        is_plain: whether its content is passed to the chat template as one string, not as a list of content blocks.
        more: what the turn has besides, as the JSON of an object: calls of tools, definitions of tools, names.
    """

    role: str
    is_supervised: bool = False
    is_plain: bool = False
    more: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSegment:
    """Token ids, used as they are: a chat row's turns, written out by the model's template
    (families/shared/chat.py)."""

    ids: tuple[int, ...]
    is_supervised: bool


Segment = TextSegment | ImageSegment | TurnSegment | TokenSegment


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One document page, or one row of images and text, with its images still encoded.

    Attributes:
        key: unique name; the basename has no dot.
        images: encoded image files, in order of appearance.
        segments: text and images in reading order; every image appears exactly once.
        meta: free metadata (language, source file, page number, ...); JSON-serialisable.
    """

    key: str
    images: tuple[bytes, ...]
    segments: tuple[Segment, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedPage:
    """A page whose images are pixels: each uint8 (height, width, 3), EXIF orientation applied."""

    key: str
    images: tuple[Pixels, ...]
    segments: tuple[Segment, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a crop is on its output canvas: resized to (width, height), pasted at (left, top)."""

    width: int
    height: int
    left: int
    top: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlan:
    """How one image is cut, decided from its size alone.

    Attributes:
        grid: (columns, rows); (1, 1) for an image that is not cut.
        boxes: the crop of each output image in emission order; the overview, if any, comes first and is the whole page.
        sizes: (width, height) of each output image.
        placements: content size and paste offset of each on its canvas; the canvas is filled when it covers it.
        labels: a label per output image, or None.
        has_overview: whether the first output image is the overview.
        pad_color: RGB of the canvas around the content.
        has_own_labels: whether labels are tokens of the model family inside a tile's block, not text before it.
    """

    grid: tuple[int, int]
    boxes: tuple[Box, ...]
    sizes: tuple[Size, ...]
    placements: tuple[Placement, ...]
    labels: tuple[str, ...] | None
    has_overview: bool
    pad_color: tuple[int, int, int] = (0, 0, 0)
    has_own_labels: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TileArrays:
    """What `TilePlan` says of sizes, for n pages; the tiles of page i are [starts[i], starts[i] + counts[i]).

    Attributes:
        counts: int64 (n,), output images of each page, overview included.
        columns: int64 (n,), as `TilePlan.grid`.
        rows: int64 (n,).
        has_overview: bool (n,).
        is_labelled: bool (n,), whether its tiles have a label as text.
        is_rtl: bool (n,), whether tiles of a row come right to left.
        tile_widths: int64 (counts.sum(),), output sizes in emission order, overview first.
        tile_heights: int64 (counts.sum(),).
    """

    counts: Ints
    columns: Ints
    rows: Ints
    has_overview: Bools
    is_labelled: Bools
    is_rtl: Bools
    tile_widths: Ints
    tile_heights: Ints

    @property
    def starts(self) -> Ints:
        """int64 (n,): where each page's tiles begin."""
        return np.cumsum(self.counts) - self.counts


class ImageSizes(Protocol):
    """The sizes to which a model family resizes images."""

    @property
    def size_multiple(self) -> int:
        """Pixels; the sides of an image are resized to multiples of this."""

    @property
    def min_pixels(self) -> int:
        """Images of a smaller area are enlarged."""

    @property
    def max_pixels(self) -> int:
        """Images of a larger area are shrunk."""

    @property
    def max_tile_side(self) -> int | None:
        """Pixels; images with a longer side are shrunk, so larger tiles lose detail. None: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TiledPage:
    """A page with its tiles cut: `plans[i]` and `tiles[i]` belong to image i; each tile is uint8 (h, w, 3).

    `continues` says that its text continues in another sample, so that its EOS is not supervised (`overlength: split`).
    """

    key: str
    plans: tuple[TilePlan, ...]
    tiles: tuple[tuple[Pixels, ...], ...]
    segments: tuple[Segment, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)
    continues: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPage:
    """A page flattened: `segments` index into the flat tuple `tiles`; label text comes before its tile.

    `continues` is the TiledPage's.
    """

    key: str
    tiles: tuple[Pixels, ...]
    segments: tuple[Segment, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)
    continues: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A page as a model sees it, pixels not yet laid out.

    Attributes:
        key: the page's key.
        input_ids: int64 (num_tokens,).
        labels: int64 (num_tokens,), -100 where nothing is supervised; the first token is always -100.
        tiles: the images in order of their blocks in `input_ids`, each uint8 (h, w, 3), not yet resized by the family.
        num_patches: vision patches of all tiles, before any merge.
    """

    key: str
    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    tiles: tuple[Pixels, ...]
    num_patches: int

    @property
    def num_tokens(self) -> int:
        """Tokens of this sample."""
        return len(self.input_ids)


NO_PACK = -1
"""Number of the pack, or its index in a step, where a rank has a place and no pack."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PackPlan:
    """One pack, decided from the index: no pixels, no text.

    Attributes:
        number: position in the run's global sequence of packs; step = number // global_batch_size.
        samples: global sample numbers (row of the first dataset, then of the next, ...; then those of parts of pages,
            plan/split_pages.py), in order of placement.
        tokens: planned tokens of each sample.
        patches: planned vision patches of each sample.
        supervised: planned supervised tokens of each sample.
        scales: numerator over 64 by which the sides of each sample's images are shrunk before tiling; 64 leaves them.
        language_cost: predicted cost in the language model (plan/deal.py).
        vision_cost: predicted cost in the vision tower, in the same unit.
    """

    number: int
    samples: tuple[int, ...]
    tokens: tuple[int, ...]
    patches: tuple[int, ...]
    supervised: tuple[int, ...]
    scales: tuple[int, ...] = ()
    language_cost: int = 0
    vision_cost: int = 0

    def __repr__(self) -> str:
        return (
            f"<PackPlan {self.number}: {len(self.samples)} samples, {sum(self.tokens)} tokens, "
            f"{sum(self.patches)} patches>"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTotals:
    """What is the same on every rank of a step, counted where it was planned.

    Attributes:
        num_supervised, num_pages, num_tokens, num_patches: in all its packs; parts of a page count as pages.
        digest: 64 bits over its packs (plan/deal.py).
        imbalance: predicted cost of the slowest rank over the mean.
        pages_by_dataset, tokens_by_dataset: what each dataset of the plan gives.
        language_cost, vision_cost: predicted, of all its packs.
    """

    num_supervised: int
    num_pages: int
    num_tokens: int
    num_patches: int
    digest: int
    imbalance: float
    pages_by_dataset: tuple[int, ...]
    tokens_by_dataset: tuple[int, ...]
    language_cost: int = 0
    vision_cost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class StepPlan:
    """The packs of one optimizer step and how ranks share them.

    Attributes:
        step: number of the step, from 0.
        packs: all packs of the step, in plan order.
        assignment: for each rank the indices in `packs` that it computes, in order; equal counts. NO_PACK where the
            packs do not divide evenly.
        totals: over all packs; None where nobody counted.
    """

    step: int
    packs: Sequence[PackPlan]
    assignment: Sequence[tuple[int, ...]]
    totals: StepTotals | None = field(default=None, compare=False)

    @property
    def num_supervised(self) -> int:
        """Supervised tokens of the whole step: the loss normaliser, known without a collective."""
        if self.totals is not None:
            return self.totals.num_supervised
        return sum(sum(pack.supervised) for pack in self.packs)

    def __repr__(self) -> str:
        pages = sum(len(pack.samples) for pack in self.packs) if self.totals is None else self.totals.num_pages
        return f"<StepPlan {self.step}: {len(self.packs)} packs of {pages} samples for {len(self.assignment)} ranks>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A page that failed at run time and kept its slot, tiles blank, labels masked: one line of the quarantine.

    Of a page that is split every part fails; key and sample number are the page's.
    """

    key: str
    sample: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPack:
    """One pack as arrays, ready to collate. L tokens, D documents, R position rows (1, or 4 with M-RoPE).

    Attributes:
        number: the pack's number in the run (`PackPlan.number`); 0 when packed outside a plan.
        input_ids: int64 (L,).
        labels: int64 (L,).
        position_ids: int64 (R, L); row 0 is the text position and restarts with every document.
        lengths: tokens of each document, in order; sums to L.
        pixels: the family's pixel arrays over all images of the pack, uint8 pixels among them.
        keys: the documents' keys, in order.
        num_patches: vision patches of all images, before any merge.
        step: the plan of the pack's step, or only its number where there is no plan; None outside a run.
        failures: pages that failed and kept their slot.
        unfit: pages that a stream without a plan passed over on the way to this pack, because no pack takes them.
        without_image: documents that have no image.
    """

    number: int
    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    lengths: tuple[int, ...]
    pixels: Mapping[str, NDArray[Any]]
    keys: tuple[str, ...]
    num_patches: int = 0
    step: StepPlan | int | None = None
    failures: tuple[Failure, ...] = ()
    unfit: tuple[Failure, ...] = ()
    without_image: int = 0
