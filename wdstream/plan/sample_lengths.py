"""How long samples are, from sizes and token counts alone: tokens, patches, and why some fit no pack.

For a sample with T text tokens and images cut into tiles, no pixel touched:

    tokens     = prefix + T + sum over tiles (image tokens + tokens of the label text before the tile) + 1 (EOS)
    patches    = sum over tiles of their vision patches
    supervised = T + 1, less 1 for a sample that starts with its text and has no prefix (a first token has no left
    context)

`LengthEstimator` is the one place that knows this, for the thousands of samples of a plan and for the single page of a
stream without an index alike. What images cost is asked once for each size (`ImageCostTable`).
"""

from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wdstream.plan.protocols import LengthModel, TileModel
from wdstream.records import MAX_SIDE, Bools, Ints, TileArrays

if TYPE_CHECKING:
    from wdstream.plan.settings import PackSettings

FULL_SCALE = 64
"""Images are shrunk to scale / FULL_SCALE of their sides."""


class Reject(IntEnum):
    """Why a sample is not in the plan; ACCEPTED when it is. The first reason that applies, in this order; the last two
    before all others: nothing else is asked of a sample that is on the other side of a split."""

    ACCEPTED = 0
    FILTERED = 1
    EMPTY_TEXT = 2
    TOO_MANY_PIXELS = 3
    IMAGE_SIZE_REFUSED = 4
    TOO_MANY_TOKENS = 5
    TOO_MANY_PATCHES = 6
    HELD_OUT = 7
    NOT_HELD_OUT = 8

    @property
    def reason(self) -> str:
        """As in reports: "too many tokens"."""
        return self.name.lower().replace("_", " ")


def counts_by_reason(counts: Ints) -> str:
    """Counts by code of Reject, (codes,), for messages; those of 0 are left out."""
    return ", ".join(f"{reason.reason} {counts[reason]}" for reason in Reject if counts[reason])


def scaled_size(width: int, height: int, scale: int) -> tuple[int, int]:
    """The size in pixels of an image shrunk to scale / 64 of its sides, halves rounded up, sides at least 1.

    The builder resizes a page's images to this before it tiles them; `PackPlan.scales` says by which scale.
    """
    half = FULL_SCALE // 2
    return max((width * scale + half) // FULL_SCALE, 1), max((height * scale + half) // FULL_SCALE, 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleLengths:
    """Lengths of n samples, int64 (n,) each.

    Attributes:
        tokens: of the whole sample.
        patches: vision patches of all its images.
        supervised: tokens that are supervised.
        vision_cost: predicted cost in the vision tower (deal.py).
        scale: of its images, FULL_SCALE unless an over-long sample was downscaled.
        reject: codes of Reject; the other numbers of a rejected sample mean nothing.
    """

    tokens: Ints
    patches: Ints
    supervised: Ints
    vision_cost: Ints
    scale: Ints
    reject: Ints

    def spread(self, is_here: Bools, others: Reject) -> "SampleLengths":
        """These lengths at the places (m,) where `is_here`; all other samples are rejected for the reason given."""
        spread = {}
        for field in fields(self):
            spread[field.name] = np.full(len(is_here), others if field.name == "reject" else 0, dtype=np.int64)
            spread[field.name][is_here] = getattr(self, field.name)
        return SampleLengths(**spread)


_REFUSED = -1
"""In place of tokens and patches: the family cannot take a tile of this size."""

MAX_KNOWN_SIZES = 1 << 18
"""Sizes remembered by a plan, 32 bytes each; then the table starts again."""

NO_SIZES: tuple[Ints, Ints] = np.empty(0, dtype=np.int64), np.empty((3, 0), dtype=np.int64)
"""Sizes, width << 32 | height, ascending, int64 (S,); and their tokens, patches and vision costs, int64 (3, S)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageCosts:
    """Costs of I images, int64 (I,) each; `tokens` and `patches` are _REFUSED where the family refuses a tile.

    Attributes:
        tokens: tokens of all tiles with the ids around them and the labels before them.
        patches: vision patches of all tiles.
        vision_cost: predicted cost in the vision tower (deal.py).
    """

    tokens: Ints
    patches: Ints
    vision_cost: Ints


class ImageCostTable:
    """Costs of images under one family and tiling policy, remembered by size."""

    def __init__(self, family: LengthModel, tiling: TileModel, *, max_sizes: int = MAX_KNOWN_SIZES) -> None:
        self._family = family
        self._tiling = tiling
        self._max_sizes = max_sizes
        self._label_tokens: dict[tuple[int, ...], int] = {}  # by grid, see _labels
        self._known = NO_SIZES

    def look_up(self, widths: Ints, heights: Ints) -> ImageCosts:
        """Costs of images of these sizes in pixels, (I,) each; sizes must be within the tiling policy's limits."""
        wanted = (widths << 32) | heights
        sizes, costs = self._known
        places = np.searchsorted(sizes, wanted)
        is_known = places < len(sizes)
        is_known[is_known] = sizes[places[is_known]] == wanted[is_known]
        if not is_known.all():
            sizes, costs = self._with((sizes, costs), np.unique(wanted[~is_known]))
            if len(sizes) > self._max_sizes:
                sizes, costs = self._with(NO_SIZES, np.unique(wanted))
            places = np.searchsorted(sizes, wanted)
            self._known = sizes, costs  # replaced as a whole: a thread that reads the old one is not disturbed
        tokens, patches, vision_cost = costs[:, places]
        return ImageCosts(tokens=tokens, patches=patches, vision_cost=vision_cost)

    def _with(self, known: tuple[Ints, Ints], new: Ints) -> tuple[Ints, Ints]:
        """Known sizes and their costs, and new ones, ascending and different from all known."""
        sizes, costs = known
        places = np.searchsorted(sizes, new)
        new_costs = self._compute(new >> 32, new & 0xFFFFFFFF)
        return np.insert(sizes, places, new), np.insert(costs, places, new_costs, axis=1)

    def _compute(self, widths: Ints, heights: Ints) -> Ints:
        """(3, I): tokens, patches and vision cost of images of these sizes."""
        cut = self._tiling.plan_tiles_arrays(widths, heights)
        tokens, patches = self._family.image_cost(cut.tile_widths, cut.tile_heights)
        is_refused = np.logical_or.reduceat(tokens < 0, cut.starts)  # every image has at least one tile
        costs = np.stack((tokens, patches, self._family.cost.vision(patches)))
        summed = np.add.reduceat(costs, cut.starts, axis=1)
        summed[0] += self._labels(cut)
        summed[:, is_refused] = _REFUSED
        return summed

    def _labels(self, cut: TileArrays) -> Ints:
        """(I,): tokens of the texts before the tiles. They depend on the grid alone, of which there are few."""
        flags = cut.has_overview * 4 + cut.is_labelled * 2 + cut.is_rtl
        grids, indices = np.unique(np.stack((cut.columns, cut.rows, flags)), axis=1, return_inverse=True)
        tokens = [self._tokens_of_grid(*grid) for grid in grids.T.tolist()]
        return np.array(tokens, dtype=np.int64)[indices.reshape(-1)]

    def _tokens_of_grid(self, columns: int, rows: int, flags: int) -> int:
        tokens = self._label_tokens.get((columns, rows, flags))
        if tokens is None:
            pieces = self._tiling.grid_text_pieces(columns, rows, flags >= 4, flags & 2 > 0, flags & 1 > 0)
            tokens = sum(self._family.text_cost(piece) for piece in pieces if piece)
            self._label_tokens[columns, rows, flags] = tokens
        return tokens


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleSizes:
    """All that the lengths of n samples follow from; their m images are in order, sample after sample.

    Attributes:
        text_tokens: int64 (n,), tokens of all text; of a chat row, which ends with an EOS of its own, one less.
        num_images: int64 (n,).
        widths, heights: int64 (m,), pixels, EXIF applied.
        supervised_text: int64 (n,), how many of the text tokens are supervised; None: all.
        starts_with_text: bool (n,); None: the samples without images do.
    """

    text_tokens: Ints
    num_images: Ints
    widths: Ints
    heights: Ints
    supervised_text: Ints | None = None
    starts_with_text: Bools | None = None

    @cached_property
    def bounds(self) -> Ints:
        """int64 (n + 1,): the images of sample i are those from bounds[i] on and before bounds[i + 1]."""
        return np.concatenate(([0], np.cumsum(self.num_images)))

    def sum(self, values: NDArray[Any]) -> Ints:
        """Sum over the images of each sample: (m,) to int64 (n,)."""
        if len(values) == len(self.num_images) and (self.num_images == 1).all():
            return values.astype(np.int64)
        sums = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))[self.bounds]
        return sums[1:] - sums[:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthLimits:
    """What a sample may be, to be packed.

    Attributes:
        max_tokens: tokens of a pack, or fewer where the family takes no document so long.
        max_patches: vision patches of a pack.
        max_pixels: of an image.
        downscale: shrink the images of a sample that is too long, as far as it takes and no further.
    """

    max_tokens: int
    max_patches: int
    max_pixels: int
    downscale: bool = False

    @classmethod
    def of(cls, settings: "PackSettings", family: LengthModel, *, downscale: bool) -> "LengthLimits":
        """Those of a pack's settings, and of the longest document that the family takes."""
        longest = family.max_document_tokens
        return cls(
            max_tokens=settings.sequence_length if longest is None else min(settings.sequence_length, longest),
            max_patches=settings.max_patches,
            max_pixels=settings.max_pixels,
            downscale=downscale,
        )


class LengthEstimator:
    """Lengths of samples under one family, tiling policy and limits; arrays of one for a single page."""

    def __init__(
        self, family: LengthModel, tiling: TileModel, limits: LengthLimits, *, max_sizes: int = MAX_KNOWN_SIZES
    ) -> None:
        """`max_sizes`: image sizes remembered; where pages come one by one, few make the table cheap to extend."""
        self.limits = limits
        self._prefix = family.prefix_tokens
        self._table = ImageCostTable(family, tiling, max_sizes=max_sizes)

    def estimate(self, sizes: SampleSizes) -> SampleLengths:
        """Tokens, patches, supervised tokens, vision cost, scale and reject reason of n samples.

        `scale` is below FULL_SCALE where only shrunk images let a sample fit (`LengthLimits.downscale`); tokens,
        patches and cost are then those at that scale. A sample that fits no pack has its first reason in `reject`;
        under TOO_MANY_TOKENS and TOO_MANY_PATCHES its lengths are exact all the same.
        """
        text = sizes.text_tokens
        # More pixels than are decoded, or longer than the tiling rules take.
        is_too_large = (sizes.widths * sizes.heights > self.limits.max_pixels) | (
            np.maximum(sizes.widths, sizes.heights) > MAX_SIDE
        )
        is_usable = ~is_too_large & (np.minimum(sizes.widths, sizes.heights) > 0)
        # An image that is too large or has no pixel is looked up as 1x1, and refused.
        costs = self._table.look_up(np.where(is_usable, sizes.widths, 1), np.where(is_usable, sizes.heights, 1))
        costs.tokens[~is_usable] = _REFUSED
        supervised = text if sizes.supervised_text is None else sizes.supervised_text
        # A first id that is text has nothing before it to be predicted from.
        starts_with_text = sizes.num_images == 0 if sizes.starts_with_text is None else sizes.starts_with_text
        lengths = SampleLengths(
            tokens=self._prefix + text + sizes.sum(np.maximum(costs.tokens, 0)) + 1,
            patches=sizes.sum(np.maximum(costs.patches, 0)),
            supervised=supervised + 1 - (starts_with_text & (self._prefix == 0)),
            vision_cost=sizes.sum(np.maximum(costs.vision_cost, 0)),
            scale=np.full(len(text), FULL_SCALE, dtype=np.int64),
            reject=np.zeros(len(text), dtype=np.int64),
        )
        reject = lengths.reject
        reject[lengths.patches > self.limits.max_patches] = Reject.TOO_MANY_PATCHES
        reject[lengths.tokens > self.limits.max_tokens] = Reject.TOO_MANY_TOKENS
        reject[sizes.sum(costs.tokens < 0) > 0] = Reject.IMAGE_SIZE_REFUSED
        reject[sizes.sum(is_too_large) > 0] = Reject.TOO_MANY_PIXELS
        reject[text == 0] = Reject.EMPTY_TEXT
        if self.limits.downscale:
            self._downscale(lengths, sizes)
        return lengths

    def _downscale(self, lengths: SampleLengths, sizes: SampleSizes) -> None:
        """Shrink images of over-long samples by the largest scale below FULL_SCALE under which the sample fits."""
        rows = np.flatnonzero((lengths.reject >= Reject.TOO_MANY_TOKENS) & (sizes.num_images > 0))
        for row in rows.tolist():
            images = slice(int(sizes.bounds[row]), int(sizes.bounds[row + 1]))
            scales = np.arange(FULL_SCALE - 1, 0, -1)
            widths, heights = (  # (scales, images), as scaled_size
                np.maximum((sides[images] * scales[:, None] + FULL_SCALE // 2) // FULL_SCALE, 1)
                for sides in (sizes.widths, sizes.heights)
            )
            costs = self._table.look_up(widths.reshape(-1), heights.reshape(-1))
            tokens = costs.tokens.reshape(widths.shape)
            sums = [cost.reshape(widths.shape).sum(axis=1) for cost in (tokens, costs.patches, costs.vision_cost)]
            sums[0] += self._prefix + int(sizes.text_tokens[row]) + 1
            fits = (tokens >= 0).all(axis=1)
            fits &= (sums[0] <= self.limits.max_tokens) & (sums[1] <= self.limits.max_patches)
            if fits.any():
                best = int(np.argmax(fits))
                for column, values in zip((lengths.tokens, lengths.patches, lengths.vision_cost), sums, strict=True):
                    column[row] = values[best]
                lengths.scale[row], lengths.reject[row] = scales[best], Reject.ACCEPTED
