"""Ragged arrays for the vectorised planner: lists of different lengths, end to end in one flat array.

`counts` int64 (n,) holds the length of each list; list i lies at flat[starts[i] : starts[i] + counts[i]].
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Sizes = tuple[Ints, Ints]
"""Widths and heights."""


def starts_of(counts: Ints) -> Ints:
    """Where each list begins: the exclusive running sum of counts."""
    return np.cumsum(counts) - counts


def places_of(counts: Ints) -> Ints:
    """For every flat element its place in its own list: 0, 1, ... counts[0]-1, 0, 1, ..."""
    return np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(starts_of(counts), counts)


def whole_root(squares: Ints) -> Ints:
    """floor(sqrt(n)), exact; as `math.isqrt`."""
    root = np.sqrt(squares.astype(np.float64)).astype(np.int64)
    root -= root * root > squares  # a float root of a large number may be off by one either way
    root += (root + 1) * (root + 1) <= squares
    return root


def ceil_div(values: Ints, divisor: Ints | int) -> Ints:
    """Quotients rounded up."""
    return -(-values // divisor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grids:
    """Grids of n pages, with what is known of each column and row.

    Attributes:
        columns: int64 (n,), columns of each page.
        rows: int64 (n,).
    """

    columns: Ints
    rows: Ints

    def heights(self, of_rows: Ints) -> Ints:
        """Spread a number per row, flat (rows.sum(),), over the tiles in emission order: (tiles,)."""
        return np.repeat(of_rows, self._columns_of_rows())

    def widths(self, of_columns: Ints) -> Ints:
        """Spread a number per column, flat (columns.sum(),) in emission order, over the tiles: (tiles,)."""
        columns_of_rows = self._columns_of_rows()
        # Tile t of a row is column t - (first tile of the row) of its page.
        first_column = np.repeat(starts_of(self.columns), self.rows)
        shift = np.repeat(first_column - starts_of(columns_of_rows), columns_of_rows)
        return of_columns[np.arange(len(shift), dtype=np.int64) + shift]

    def _columns_of_rows(self) -> Ints:
        return np.repeat(self.columns, self.rows)

    def unless(self, is_uncut: Flags) -> "Grids":
        """These grids, but (1, 1) for the pages that are not cut."""
        return Grids(columns=np.where(is_uncut, 1, self.columns), rows=np.where(is_uncut, 1, self.rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPages:
    """n pages cut into tiles, overviews apart.

    Attributes:
        grids: of all pages.
        tiles: output widths and heights of all tiles, flat, in emission order.
        owners: int64 (k,), pages that have an overview, rising.
        overviews: output widths and heights of their overviews, (k,) each.
        is_rtl: bool (n,), whether tiles of a row come right to left.
    """

    grids: Grids
    tiles: Sizes
    owners: NDArray[np.intp]
    overviews: Sizes
    is_rtl: Flags
