"""LengthEstimator: lengths of samples of one data set, thousands at once, and the reasons why some are rejected."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.plan.filter import Where
from wdstream.plan.image_costs import ImageCosts, ImageCostTable
from wdstream.plan.protocols import AnyInts, Bools, Dataset, Ints, LengthModel, metadata_of
from wdstream.plan.settings import PlanSettings

FULL_SCALE = 64
"""Images are shrunk to scale / FULL_SCALE of their sides."""

MAX_SIDE = 1 << 24
"""Pixels; the limit of the tiling rules (tiling/arrays.py). Larger images are rejected."""


class Reject(IntEnum):
    """Why a sample is not in the plan; ACCEPTED when it is. The first reason that applies, in this order."""

    ACCEPTED = 0
    FILTERED = 1
    EMPTY_TEXT = 2
    TOO_MANY_PIXELS = 3
    IMAGE_SIZE_REFUSED = 4
    TOO_MANY_TOKENS = 5
    TOO_MANY_PATCHES = 6

    @property
    def reason(self) -> str:
        """As in reports: "too many tokens"."""
        return self.name.lower().replace("_", " ")


def scaled_size(width: int, height: int, scale: int) -> tuple[int, int]:
    """The size in pixels of an image shrunk to scale / 64 of its sides, halves rounded up, sides at least 1.

    The builder resizes a page's images to this before it tiles them; `PackPlan.scales` says by which scale.
    """
    return _scaled(width, scale), _scaled(height, scale)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleLengths:
    """Lengths of n samples, int64 (n,) each.

    Attributes:
        tokens: of the whole sample.
        patches: vision patches of all its images.
        supervised: tokens that are supervised.
        vision_cost: predicted cost in the vision tower (cost.py).
        scale: of its images, FULL_SCALE unless an over-long sample was downscaled.
        reject: codes of Reject; the other numbers of a rejected sample mean nothing.
    """

    tokens: Ints
    patches: Ints
    supervised: Ints
    vision_cost: Ints
    scale: Ints
    reject: Ints


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """Images of n samples, flat: sizes (m,), and per sample (n,) how many and where they begin."""

    widths: Ints
    heights: Ints
    counts: Ints
    starts: Ints
    is_one_each: bool

    def sum(self, values: NDArray[Any]) -> Ints:
        """Sum over the images of each sample: (m,) to (n,)."""
        if self.is_one_each:
            return values.astype(np.int64)
        ends = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
        summed: Ints = ends[self.starts + self.counts] - ends[self.starts]
        return summed


class LengthEstimator:
    """Measures samples of one data set by their rows; longer ones than `max_tokens` tokens are rejected."""

    def __init__(self, dataset: Dataset, family: LengthModel, table: ImageCostTable, settings: PlanSettings) -> None:
        """`table` may be shared by data sets. Raises ShardIndexError without the family's token column."""
        self._dataset = dataset
        self._columns = columns = dataset.columns
        self._text_tokens = columns.tokens(family.text_fingerprint)
        self._starts_with_text: AnyInts | None = getattr(columns, "starts_with_text", None)
        supervised = getattr(columns, "supervised", None)
        self._supervised_tokens: AnyInts | None = supervised(family.text_fingerprint) if supervised else None
        self._prefix = family.prefix_tokens
        self._table = table
        self._settings = settings
        # Some families take a document only up to a length of their own, shorter than a pack may be.
        longest: int | None = getattr(family, "max_document_tokens", None)
        self.max_tokens = settings.sequence_length if longest is None else min(settings.sequence_length, longest)

    def measure(self, rows: Ints, *, epoch: int | None = None) -> SampleLengths:
        """Lengths of the samples in these rows, (n,).

        Args:
            rows: row numbers of the data set.
            epoch: filters of this epoch apply; None applies none.

        Raises:
            ConfigError: a filter names a column that the data set does not have.
        """
        text = np.asarray(self._text_tokens[rows], dtype=np.int64)
        images = self._images(rows)
        is_too_large = self._is_too_large(images)
        costs = self._costs(images, is_too_large)
        image_tokens = images.sum(np.maximum(costs.tokens, 0))
        lengths = SampleLengths(
            tokens=self._prefix + text + image_tokens + 1,
            patches=images.sum(np.maximum(costs.patches, 0)),
            supervised=self._supervised(rows, text) + 1 - self._is_unsupervised_first(rows, images),
            vision_cost=images.sum(np.maximum(costs.vision_cost, 0)),
            scale=np.full(len(rows), FULL_SCALE, dtype=np.int64),
            reject=np.zeros(len(rows), dtype=np.int64),
        )
        self._reject(lengths, text, images.sum(is_too_large) > 0, images.sum(costs.tokens < 0) > 0)
        if self._settings.overlength == "downscale":
            self._downscale(lengths, images, text)
        for expression in () if epoch is None else self._settings.where_of(epoch):
            chosen = Where(expression).select(self._where_columns(rows, lengths, images, text), len(rows))
            lengths.reject[~chosen] = Reject.FILTERED
        return lengths

    def _images(self, rows: Ints) -> _Images:
        columns = self._columns
        counts = np.asarray(columns.num_images[rows], dtype=np.int64)
        first = np.asarray(columns.image_start[rows], dtype=np.int64)
        ends = np.cumsum(counts)
        starts = ends - counts
        is_one_each = len(rows) > 0 and bool((counts == 1).all())
        places = first if is_one_each else np.repeat(first - starts, counts) + np.arange(int(counts.sum()))
        return _Images(
            np.asarray(columns.image_width[places], dtype=np.int64),
            np.asarray(columns.image_height[places], dtype=np.int64),
            counts,
            starts,
            is_one_each,
        )

    def _is_too_large(self, images: _Images) -> Bools:
        longest = np.maximum(images.widths, images.heights)
        is_out: Bools = (images.widths * images.heights > self._settings.max_pixels) | (longest > MAX_SIDE)
        return is_out

    def _costs(self, images: _Images, is_too_large: Bools) -> ImageCosts:
        """Costs of images; those that are too large or have no pixel are looked up as 1x1 and not used."""
        is_usable = ~is_too_large & (np.minimum(images.widths, images.heights) > 0)
        if is_usable.all():
            return self._table.look_up(images.widths, images.heights)
        costs = self._table.look_up(np.where(is_usable, images.widths, 1), np.where(is_usable, images.heights, 1))
        costs.tokens[~is_usable] = -1
        return costs

    def _supervised(self, rows: Ints, text: Ints) -> Ints:
        """Tokens of text that are supervised: all, unless the data set says otherwise."""
        return text if self._supervised_tokens is None else np.asarray(self._supervised_tokens[rows], dtype=np.int64)

    def _is_unsupervised_first(self, rows: Ints, images: _Images) -> Bools:
        """Whether the first id of a sample is text, which has nothing before it to be predicted from."""
        if self._prefix:
            return np.zeros(len(rows), dtype=np.bool_)
        if self._starts_with_text is not None:
            return np.asarray(self._starts_with_text[rows], dtype=np.bool_)
        has_no_image: Bools = images.counts == 0
        return has_no_image

    def _reject(self, lengths: SampleLengths, text: Ints, is_too_large: Bools, is_refused: Bools) -> None:
        reject = lengths.reject
        reject[lengths.patches > self._settings.max_patches] = Reject.TOO_MANY_PATCHES
        reject[lengths.tokens > self.max_tokens] = Reject.TOO_MANY_TOKENS
        reject[is_refused] = Reject.IMAGE_SIZE_REFUSED
        reject[is_too_large] = Reject.TOO_MANY_PIXELS
        reject[text == 0] = Reject.EMPTY_TEXT

    def _downscale(self, lengths: SampleLengths, images: _Images, text: Ints) -> None:
        """Shrink images of over-long samples by the largest scale below FULL_SCALE under which the sample fits."""
        places = np.flatnonzero((lengths.reject >= Reject.TOO_MANY_TOKENS) & (images.counts > 0))
        for place in places.tolist():
            first = int(images.starts[place])
            inside = slice(first, first + int(images.counts[place]))
            scales = np.arange(FULL_SCALE - 1, 0, -1)
            widths, heights = (_scaled(sides[inside], scales[:, None]) for sides in (images.widths, images.heights))
            costs = self._table.look_up(widths.reshape(-1), heights.reshape(-1))
            tokens = costs.tokens.reshape(widths.shape)
            sums = [part.reshape(widths.shape).sum(axis=1) for part in (tokens, costs.patches, costs.vision_cost)]
            sums[0] += self._prefix + int(text[place]) + 1
            fits = (tokens >= 0).all(axis=1)
            fits &= (sums[0] <= self.max_tokens) & (sums[1] <= self._settings.max_patches)
            if fits.any():
                best = int(np.argmax(fits))
                for column, part in zip((lengths.tokens, lengths.patches, lengths.vision_cost), sums, strict=True):
                    column[place] = part[best]
                lengths.scale[place], lengths.reject[place] = scales[best], Reject.ACCEPTED

    def _where_columns(self, rows: Ints, lengths: SampleLengths, images: _Images, text: Ints) -> dict[str, Any]:
        has_image = images.counts > 0
        first = np.minimum(images.starts, max(len(images.widths) - 1, 0))
        sides = [images.widths, images.heights] if len(images.widths) else [np.zeros(1, dtype=np.int64)] * 2
        return {
            "tokens": lengths.tokens,
            "patches": lengths.patches,
            "text_tokens": text,
            "text_bytes": self._columns.text_bytes[rows],
            "text_chars": self._columns.text_chars[rows],
            "num_images": images.counts,
            "width": np.where(has_image, sides[0][first], 0),
            "height": np.where(has_image, sides[1][first], 0),
            "pixels": images.sum(images.widths * images.heights),
            "dataset": self._dataset.name,
            **{name: column[rows] for name, column in metadata_of(self._columns).items()},
        }


def _scaled(side: Any, scale: Any) -> Any:
    """A side in pixels, shrunk; numbers or arrays."""
    shrunk = (side * scale + FULL_SCALE // 2) // FULL_SCALE
    return max(shrunk, 1) if isinstance(shrunk, int) else np.maximum(shrunk, 1)
