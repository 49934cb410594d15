"""What the plan asks of a dataset, a model family and a tiling policy, and the records that describe a mixture.

The families implement `LengthModel`, a tiling policy is a `TileModel`, `shards.Shards` is a `DatasetColumns`. Every
member is needed, also those that most have nothing to say to: a member that is missing or misspelt is an error when the
plan is made, and never means "as usual".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wdstream.plan.deal import CostModel
from wdstream.plan.held_out import Split
from wdstream.records import Bools, Ints, TileArrays

AnyInts = NDArray[np.integer[Any]]


class DatasetColumns(Protocol):
    """The index of a dataset of n samples with m images in total: arrays with one entry per sample or image."""

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

    @property
    def starts_with_text(self) -> AnyInts | Bools | None:
        """Shape (n,): whether a sample's first segment is text; None: of those without images."""

    @property
    def held_out(self) -> AnyInts | Bools | None:
        """Shape (n,): whether a sample is held out (held_out.py); None: there is no such split."""

    @property
    def metadata(self) -> Mapping[str, "MetadataValues"]:
        """Further columns by name, for `where:`; most have none."""

    def why_no_metadata(self, name: str) -> str | None:
        """Why `metadata` lacks a name that pages have, or may have; None where no page has it."""

    def tokens(self, fingerprint: str) -> AnyInts:
        """Shape (n,): tokens of all text under the tokenizer of this fingerprint; raises ShardIndexError without it."""

    def supervised(self, fingerprint: str) -> AnyInts | None:
        """Shape (n,): how many of these tokens are supervised; None: all of them."""

    def paragraphs(self, fingerprint: str) -> tuple[AnyInts, AnyInts] | None:
        """Where each sample's paragraphs begin, shape (n + 1,), and the tokens of each; None: not counted.

        Needed to split pages alone. Raises ShardIndexError where the tokenizer of this fingerprint did not count them.
        """

    def content_digest(self, tokenizer: str, *, paragraphs: bool, metadata: Sequence[str]) -> str:
        """Short hex over what decides a plan and `fingerprint` does not cover; "" where it covers everything.

        The columns of a tokenizer, those of paragraphs where pages are split, and metadata columns by name.
        """

    def __len__(self) -> int: ...


class MetadataValues(Protocol):
    """Metadata of one name over the n samples of a dataset: an array, or what is read when it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> NDArray[Any]:
        """Values of these rows; a masked array where samples lack the name, with the mask there."""


def columns_by_row(columns: DatasetColumns) -> DatasetColumns:
    """The same columns for a few rows at a time, where a dataset has a cheaper way to read those: `by_row`."""
    by_row: DatasetColumns = getattr(columns, "by_row", columns)
    return by_row


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """A dataset and its share in the mixture: datasets have either all a weight, or all epochs.

    Attributes:
        columns: its index.
        name: shown in reports, and `dataset` in a `where:` expression.
        weight: share of the stream, in any unit; None when the datasets have epochs instead.
        epochs: how often each of its pages comes in one pass over the mixture.
        where: an expression (filter.py) that chooses among its pages, besides those of the settings.
        split: of an index that holds pages out, the pages to take: all others, or those, or all. Of one that holds out
            none, `train` takes all, and `held_out` is refused.
    """

    columns: DatasetColumns
    name: str
    weight: int | float | Fraction | None = None
    epochs: int = 1
    where: str | None = None
    split: Split = "train"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mix:
    """Datasets that share one weight, or are repeated together: their own weights divide it, their epochs multiply."""

    datasets: "tuple[Dataset | Mix, ...]"
    name: str
    weight: int | float | Fraction | None = None
    epochs: int = 1


class LengthModel(Protocol):
    """What the plan must know of a model family. All of it is exact: the ids built later have these lengths."""

    @property
    def fingerprint(self) -> str:
        """Hex; changes with anything that changes a length: family, image sizes, tokenizer, code of the family."""

    @property
    def text_fingerprint(self) -> str:
        """Hex; names the token column of a dataset (the fingerprint of the text encoder)."""

    @property
    def size_multiple(self) -> int:
        """Pixels; the family resizes each side of a tile to a multiple of this."""

    @property
    def prefix_tokens(self) -> int:
        """Ids put before every sample and never supervised (1 for a BOS); most often 0."""

    @property
    def max_document_tokens(self) -> int | None:
        """Tokens of the longest document that it takes; None: as long as a pack."""

    @property
    def cost(self) -> CostModel:
        """What a token and a patch cost to train on."""

    def image_cost(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        """(tokens, patches) of each tile of this size in pixels; tokens count the ids around the image too.

        Both are -1 where the family refuses the size. All arrays are int64 of one shape.
        """

    def text_cost(self, text: str) -> int:
        """Tokens of one piece of text, tokenised by itself."""


class TileModel(Protocol):
    """A tiling policy, as far as the plan needs it."""

    @property
    def fingerprint(self) -> str:
        """Hex; changes with every setting that changes a tile or a label."""

    def plan_tiles_arrays(self, widths: Ints, heights: Ints) -> TileArrays:
        """Cut images of these sizes in pixels; both arrays have shape (I,)."""

    def grid_text_pieces(
        self, columns: int, rows: int, has_overview: bool, is_labelled: bool, is_rtl: bool, /
    ) -> Sequence[str]:
        """The text before each tile of an image cut this way; "" where there is none."""


def check_members(name: str, value: object, protocol: type, expected: str) -> None:
    """Refuse an argument that lacks members of a protocol of this module, before it fails somewhere below.

    Its type is asked first: to ask a property of the argument itself would read what it gives, a column for example.

    Raises:
        TypeError: names the argument, what was expected, and what is missing.
    """
    members = [member for member in vars(protocol) if not member.startswith("_")]
    missing = [member for member in members if not (hasattr(type(value), member) or hasattr(value, member))]
    if missing:
        lacks = f" without {', '.join(missing)}" if 2 * len(missing) < len(members) else ""
        raise TypeError(f"{name}: expected {expected}; got {value!r:.80}, a {type(value).__name__}{lacks}")
