"""Counts of tokens so far, kept next to the index piece by piece, so that `wdstream lengths` continues after a kill.

A piece is written when it is whole, and sent to where the index is. It counts for one index, tokenizer and choice of
paragraphs; the others are removed. When the columns are written, all are.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wdstream.make_shards.token_counts import TextCounts, TokenCounter
from wdstream.shards.catalog import INDEX_FOLDER
from wdstream.shards.tar_folder import OnFiles
from wdstream.storage.atomic import atomic_write
from wdstream.storage.npz import read_npz, write_npz

_PIECE_S, _PIECE_ROWS = 30.0, 1 << 20
_NAME = "counted-{}-{:012d}.npz"


def nothing_sent(_names: Sequence[str]) -> None:
    """Where the folder is the set itself."""


@dataclass(slots=True, kw_only=True)
class CountJournal:
    """The counts of a set by one tokenizer, as far as they were made.

    Args:
        folder: of the set, or what stands for it.
        index: fingerprint of its index.
        counter: of the tokens.
        send: is given the name of each piece that was written.
    """

    folder: Path
    index: str
    counter: TokenCounter
    send: OnFiles = nothing_sent
    _rows: list[TextCounts] = field(default_factory=list)
    _first: int = 0
    _began_at: float = field(default_factory=time.monotonic)

    def found(self) -> Iterator[list[TextCounts]]:
        """What was counted before, in order of rows from the first; what does not belong to this count is removed."""
        used = set[Path]()
        while rows := self._read(path := self._path(self._first)):  # one in memory at a time
            used.add(path)
            self._first += len(rows)
            yield rows
        for path in self._paths():
            if path not in used:
                path.unlink(missing_ok=True)

    def add(self, rows: Sequence[TextCounts]) -> None:
        """Take in the counts of the next rows."""
        self._rows += rows
        if len(self._rows) >= _PIECE_ROWS or time.monotonic() - self._began_at > _PIECE_S:
            path = self._path(self._first)
            with atomic_write(path) as file:
                write_npz(file, {"of": self._of(), **_arrays(self._rows)})
            self.send([f"{INDEX_FOLDER}/{path.name}"])
            self._first += len(self._rows)
            self._rows, self._began_at = [], time.monotonic()

    @property
    def num_rows(self) -> int:
        """Rows that are counted."""
        return self._first + len(self._rows)

    def remove(self) -> None:
        """Remove all pieces, as the columns are written."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return sorted((self.folder / INDEX_FOLDER).glob("counted-*.npz"))

    def _path(self, first: int) -> Path:
        return self.folder / INDEX_FOLDER / _NAME.format(self.counter.fingerprint, first)

    def _of(self) -> np.ndarray:
        text = f"{self.index} {self.counter.fingerprint} {self.counter.with_paragraphs}"
        return np.frombuffer(text.encode(), np.uint8)

    def _read(self, path: Path) -> list[TextCounts] | None:
        """The counts of a piece; None where it is damaged, or of something else."""
        try:
            arrays = read_npz(path.read_bytes())
            return _counts(arrays) if arrays["of"].tobytes() == self._of().tobytes() else None
        except Exception:  # of whatever damage: it is counted again
            return None


def _arrays(rows: Sequence[TextCounts]) -> dict[str, np.ndarray]:
    paragraphs = [row.paragraphs for row in rows]
    return {
        "tokens": np.array([row.tokens for row in rows], np.int64),
        "supervised": np.array([row.supervised for row in rows], np.int64),
        "num_paragraphs": np.array([len(of) for of in paragraphs], np.int64),
        "paragraphs": np.array([tokens for of in paragraphs for tokens in of], np.int64),
    }


def _counts(arrays: dict[str, np.ndarray]) -> list[TextCounts]:
    paragraphs, ends = arrays["paragraphs"].tolist(), arrays["num_paragraphs"].cumsum().tolist()
    starts = [0, *ends[:-1]]
    of_rows = zip(arrays["tokens"].tolist(), arrays["supervised"].tolist(), starts, ends, strict=True)
    return [
        TextCounts(tokens=tokens, supervised=supervised, paragraphs=(*paragraphs[start:end],))
        for tokens, supervised, start, end in of_rows
    ]
