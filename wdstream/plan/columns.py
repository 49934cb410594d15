"""What the plan reads of a data set: arrays of an index, one entry a sample or an image. `shards.Shards` has them
all."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

AnyInts = NDArray[np.integer[Any]]


class DatasetColumns(Protocol):
    """The index of a data set of n samples with m images in all.

    More columns are used where an object has them: `starts_with_text` (bool, n: the sample's first segment is
    text; without it, those without images do), `metadata` (a mapping of names to arrays of n, for `where:`),
    `supervised(fingerprint)` (n, or None: learnt tokens of all text, where that is not all of them), and, needed to
    split pages, `paragraphs(fingerprint)` (n + 1, where each sample's paragraphs begin in the other; tokens of each).
    """

    @property
    def fingerprint(self) -> str:
        """Hex; changes with any sample."""

    @property
    def shard_starts(self) -> AnyInts:
        """Shape (shards,): first row of each shard, ascending."""

    @property
    def num_images(self) -> AnyInts:
        """Shape (n,): images of each sample."""

    @property
    def image_start(self) -> AnyInts:
        """Shape (n,) or (n + 1,): where the images of each sample begin in the two columns below."""

    @property
    def image_width(self) -> AnyInts:
        """Shape (m,): pixels, EXIF applied."""

    @property
    def image_height(self) -> AnyInts:
        """Shape (m,): pixels, EXIF applied."""

    @property
    def text_bytes(self) -> AnyInts:
        """Shape (n,): UTF-8 bytes of all text."""

    @property
    def text_chars(self) -> AnyInts:
        """Shape (n,): characters of all text."""

    def tokens(self, fingerprint: str) -> AnyInts:
        """Shape (n,): tokens of all text under the tokenizer of this fingerprint; raises ShardIndexError without it."""

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """A data set and its part in the mixture: data sets have either all a weight, or all epochs.

    Attributes:
        columns: its index.
        name: shown in reports, and `dataset` in a `where:` expression.
        weight: share of the stream, in any unit; None when the data sets are given by epochs.
        epochs: how often each of its pages comes in a round.
    """

    columns: DatasetColumns
    name: str
    weight: int | float | Fraction | None = None
    epochs: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mix:
    """Data sets that share one weight, or are repeated together: their own weights divide it, their epochs multiply."""

    datasets: "tuple[Dataset | Mix, ...]"
    name: str
    weight: int | float | Fraction | None = None
    epochs: int = 1


def metadata_of(columns: DatasetColumns) -> Mapping[str, NDArray[Any]]:
    """Further columns that a data set may have, for `where:`; none for most."""
    found: Mapping[str, NDArray[Any]] = getattr(columns, "metadata", {})
    return found
