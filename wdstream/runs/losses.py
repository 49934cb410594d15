"""losses/pages.blocks: the loss of every page of every step of a run, with `train.record_losses`; and who reads it.

    one row per document:  step, pack, slot, dataset, sample, tokens (supervised), loss (their summed cross-entropy)

Keys are not in it: a plan knows them by the sample number, and of tars without an index pages.jsonl has them by pack
and slot. Rows of a step are in the order of packs, whatever the number of processes that trained it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.runs.blocks import append_block, read_blocks
from wdstream.runs.layout import RunLayout

NO_SAMPLE = -1
"""The sample number of a page of tars without an index."""
_TYPES = {
    "step": "<i8",
    "pack": "<i8",
    "slot": "<i4",
    "dataset": "<i4",
    "sample": "<i8",
    "tokens": "<i4",
    "loss": "<f4",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRows:
    """Documents of some steps, n of them.

    Attributes:
        step, pack, slot: int64, int64 and int32 (n,): where each was trained.
        dataset: int32 (n,), number of its dataset.
        sample: int64 (n,), its number in the plan; NO_SAMPLE where there is none.
        tokens: int32 (n,), supervised ones; 0 for a page that failed.
        loss: float32 (n,), sum of their cross-entropies.
    """

    step: NDArray[np.int64]
    pack: NDArray[np.int64]
    slot: NDArray[np.int32]
    dataset: NDArray[np.int32]
    sample: NDArray[np.int64]
    tokens: NDArray[np.int32]
    loss: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.step)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns by name, in the types that are stored."""
        return {name: np.asarray(getattr(self, name), dtype=kind) for name, kind in _TYPES.items()}

    def where(self, chosen: NDArray[Any]) -> "LossRows":
        """Some of the rows: by a mask, or by places in order."""
        return LossRows(**{name: column[chosen] for name, column in self.columns().items()})

    def sorted(self) -> "LossRows":
        """By step, pack and slot."""
        return self.where(np.lexsort((self.slot, self.pack, self.step)))

    @property
    def mean(self) -> NDArray[np.float64]:
        """float64 (n,), loss per supervised token; 0 where there is none."""
        means: NDArray[np.float64] = self.loss / np.maximum(self.tokens, 1).astype(np.float64)
        return means


def join_rows(parts: Sequence[LossRows]) -> LossRows:
    """All rows of some, in order."""
    columns = [part.columns() for part in parts]
    joined = {name: np.concatenate([np.empty(0, kind), *(c[name] for c in columns)]) for name, kind in _TYPES.items()}
    return LossRows(**joined)


def append_losses(path: Path, rows: LossRows) -> None:
    """Write rows of steps that are not in the file yet; of one process."""
    path.parent.mkdir(exist_ok=True)
    append_block(path, rows.columns())


def read_losses(files: RunLayout, *, first: int = 0, last: int | None = None) -> Iterator[LossRows]:
    """The rows of steps `first` to `last` of a run, a block of steps at a time; nothing where none were recorded.

    Raises:
        DamagedFileError: the file is damaged in the middle.
    """
    for columns in read_blocks(files.losses, first=first, last=last):
        rows = LossRows(**_known(columns))
        inside = rows.step >= first
        yield rows.where(inside if last is None else inside & (rows.step <= last))


def _known(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Without columns that a later version may add."""
    return {name: columns[name] for name in _TYPES}
