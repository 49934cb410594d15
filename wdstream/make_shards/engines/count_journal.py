"""Counts of tokens so far, kept next to the index piece by piece, so that `wdstream lengths` continues after a kill.

A piece is written when it is whole, and sent to where the index is. It counts for one index, tokenizer and choice of
paragraphs; the others are removed. When the columns are written, all are. Parts of a job array leave theirs, so that
the job which writes the columns counts what is missing between them.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
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

CountRows = Callable[[int, int], Iterator[list[TextCounts]]]
"""Counts the rows from a number up to another, in order, a few at a time."""


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

    def counted(self, count: CountRows, first: int, end: int, *, is_part: bool = False) -> Iterator[list[TextCounts]]:
        """Counts of rows in order: those that were made before, and the missing ones, which are made now.

        Args:
            count: makes them.
            first, end: rows from one up to the other.
            is_part: whether others count other rows, and these are to be kept for whoever writes the columns.
        """
        starts, row = self._starts(), first
        while row < end:
            if row in starts:
                rows = self._read(self._path(row))  # one in memory at a time
                if rows is not None:
                    row += len(rows)
                    yield rows
                    continue
                self._path(row).unlink(missing_ok=True)
            stop = min((start for start in starts if row < start < end), default=end)
            self._rows, self._first, self._began_at = [], row, time.monotonic()
            for rows in count(row, stop):
                self.add(rows)
                yield rows
            row = stop
            if is_part:
                self._keep()

    def add(self, rows: Sequence[TextCounts]) -> None:
        """Take in the counts of the next rows."""
        self._rows += rows
        if len(self._rows) >= _PIECE_ROWS or time.monotonic() - self._began_at > _PIECE_S:
            self._keep()

    def _keep(self) -> None:
        """Write a piece of what was counted since the last one."""
        if self._rows:
            path = self._path(self._first)
            with atomic_write(path) as file:
                write_npz(file, {"of": self._of(), **_arrays(self._rows)})
            self.send([f"{INDEX_FOLDER}/{path.name}"])
            self._first += len(self._rows)
            self._rows, self._began_at = [], time.monotonic()

    def remove_others(self) -> None:
        """Remove pieces of another tokenizer; those of another index or choice go when they are met."""
        own = {self._path(start) for start in self._starts()}
        for path in self._paths():
            if path not in own:
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all pieces, as the columns are written."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return sorted((self.folder / INDEX_FOLDER).glob("counted-*.npz"))

    def first_row(self, name: str) -> int:
        """The row that a piece of this tokenizer begins with, by the name of its file; -1 for another file."""
        found = re.fullmatch(rf"(?:.*/)?counted-{self.counter.fingerprint}-(\d{{12}})\.npz", name)
        return -1 if found is None else int(found[1])

    def _starts(self) -> set[int]:
        """The rows that pieces begin with."""
        return {self.first_row(path.name) for path in self._paths()} - {-1}

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
