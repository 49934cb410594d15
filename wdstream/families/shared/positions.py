"""Position ids of one document: a plain count, or M-RoPE.

M-RoPE is `get_rope_index` of the Qwen-VL models in transformers: text tokens take the running position in all three
rows; an image of (rows, columns) merged patches takes time 0, its row and its column, each on top of the running
position, which then advances by max(rows, columns). Row 0 of the result is the plain token count: the model reads
packing from it, and it restarts with every document.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import FamilyError
from wdstream.records import Ints, Size


class PositionRule(Protocol):
    """How the tokens of a document are numbered."""

    @property
    def num_rows(self) -> int:
        """R, rows of the position ids."""

    def positions(self, input_ids: Ints, image_sizes: Sequence[Size]) -> Ints:
        """Position ids of ONE document, int64 (R, L); row 0 counts its tokens.

        Args:
            input_ids: int64 (L,).
            image_sizes: (width, height) of its images before resizing, in order.
        """


@dataclass(frozen=True, slots=True)
class PlainPositions:
    """One row: `first`, `first` + 1, ..."""

    first: int = 0

    @property
    def num_rows(self) -> int:
        """One row of positions."""
        return 1

    def positions(self, input_ids: Ints, image_sizes: Sequence[Size]) -> Ints:
        """Text positions from `first` on; int64 (1, L)."""
        return np.arange(self.first, self.first + len(input_ids), dtype=np.int64)[None, :]


@dataclass(frozen=True, slots=True)
class MropePositions:
    """Four rows: text, time, height, width.

    Attributes:
        image_id: of a merged patch.
        grid: (columns, rows) of merged patches of an image of (width, height).
    """

    image_id: int
    grid: Callable[[int, int], tuple[int, int]]

    @property
    def num_rows(self) -> int:
        """Four rows: text, time, height, width."""
        return 4

    def positions(self, input_ids: Ints, image_sizes: Sequence[Size]) -> Ints:
        """`mrope_positions` of these ids; int64 (4, L)."""
        return mrope_positions(input_ids == self.image_id, [self.grid(*size) for size in image_sizes])


def mrope_positions(is_image: NDArray[np.bool_], grids: Sequence[tuple[int, int]]) -> Ints:
    """Positions of one document, int64 (4, L): text, time, height, width.

    Args:
        is_image: bool (L,), True on the tokens that stand for merged patches; images never touch.
        grids: (columns, rows) of merged patches of each image, in order.

    Raises:
        FamilyError: the runs of image tokens are not those of `grids`.
    """
    length = len(is_image)
    out = np.empty((4, length), dtype=np.int64)
    out[0] = np.arange(length)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_image, [False])).astype(np.int8)))
    starts, ends = edges[::2].tolist(), edges[1::2].tolist()
    sizes = [columns * rows for columns, rows in grids]
    if [end - start for start, end in zip(starts, ends, strict=True)] != sizes:
        raise FamilyError(
            f"positions: the ids hold image runs of {[e - s for s, e in zip(starts, ends, strict=True)]} tokens, "
            f"the images need {sizes}; this is a bug of the caller: ids and images belong to different pages"
        )
    cursor = position = 0
    for start, (columns, rows) in zip(starts, grids, strict=True):
        out[1:, cursor:start] = out[0, : start - cursor] + position
        position += start - cursor
        cursor = start + columns * rows
        time, height, width = out[1:, start:cursor].reshape(3, rows, columns)
        time[:] = position
        height[:] = np.arange(position, position + rows)[:, None]
        width[:] = np.arange(position, position + columns)
        position += max(columns, rows)
    out[1:, cursor:] = out[0, : length - cursor] + position
    return out
