"""A few figures that stand for many numbers: sizes of images, lengths of texts, columns of metadata."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LOW, _MIDDLE, _HIGH = 0.05, 0.5, 0.95
_SKETCHED = 1 << 16
"""Entries that a sketch looks at, evenly over all."""
_BINS = 16
_MOST = np.finfo(np.float64).max
_HALF = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberSummary:
    """What `count` numbers are like. Quantiles are entries themselves, of the nearest rank below.

    Attributes:
        count: of numbers; the others are 0 when there is none.
        total: their sum.
        low, median, high: the entries above 5 %, 50 % and 95 % of all.
        sketch: how many of an even sample are in each of 16 equal ranges from `least` to `high`, the rest in the last;
            for a picture.
    """

    count: int = 0
    total: float = 0
    least: float = 0
    low: float = 0
    median: float = 0
    high: float = 0
    most: float = 0
    sketch: tuple[int, ...] = ()

    @classmethod
    def of(cls, arrays: Sequence[NDArray[Any]]) -> "NumberSummary":
        """Of all entries of some arrays, which are finite numbers."""
        values = arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0, "i1"), *arrays])
        if not len(values):
            return cls()
        last = len(values) - 1
        places = [0, int(last * _LOW), int(last * _MIDDLE), int(last * _HIGH), last]
        least, low, median, high, most = np.partition(values, places)[places].tolist()
        sketch = _sketch(values, least, high)
        return cls(
            count=len(values),
            total=_sum(values),
            least=least,
            low=low,
            median=median,
            high=high,
            most=most,
            sketch=sketch,
        )

    def as_dict(self) -> dict[str, float]:
        """All but the sketch, by the names that `--json` has."""
        names = {"count": "count", "sum": "total", "min": "least", "p5": "low", "median": "median", "p95": "high"}
        return {name: getattr(self, of_field) for name, of_field in {**names, "max": "most"}.items()}


def _sum(values: NDArray[Any]) -> float:
    """Of whole numbers exact, beyond 64 bits, too; at most what a float holds, as JSON has no infinity."""
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return float(np.clip(values.sum(dtype=np.float64), -_MOST, _MOST))
    if values.dtype.itemsize < np.dtype(np.int64).itemsize:
        return int(values.sum(dtype=np.int64))
    high, low = values >> _HALF, values & ((1 << _HALF) - 1)
    return int(high.sum(dtype=np.int64)) * (1 << _HALF) + int(low.sum(dtype=np.int64))


def _sketch(values: NDArray[Any], least: float, high: float) -> tuple[int, ...]:
    """Counts of an even sample."""
    if high <= least:
        return ()
    sample = values[:: max(1, len(values) // _SKETCHED)].astype(np.float64)
    places = np.clip((sample - least) * (_BINS / (high - least)), 0, _BINS - 1).astype(np.int64)
    return tuple(np.bincount(places, minlength=_BINS).tolist())
