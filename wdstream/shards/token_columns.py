"""Writing the columns that depend on a tokenizer: tokens of each sample, and where asked for, of each paragraph.

`overlength: split` cuts pages by the tokens of their paragraphs. Those two files are optional: `--paragraphs` of
make-shards, index and lengths counts them (make_shards/token_counts.py says why not always).

paragraphs.<fingerprint>.npy        int32 (paragraphs,), tokens of each paragraph, tokenised by itself, row after row
paragraph_start.<fingerprint>.npy   int64 (n + 1,), where each row's paragraphs begin in it; written last

A row that is not to be split has no paragraphs. Datasets have tens of millions of paragraphs, so they go to the file
as they come.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wdstream.errors import ShardIndexError
from wdstream.shards.catalog import (
    INDEX_FOLDER,
    PARAGRAPH_START_DTYPE,
    TOKEN_DTYPE,
    Catalog,
    IndexFiles,
    paragraph_files,
    supervised_file,
    token_file,
)
from wdstream.storage.atomic import atomic_write


class ParagraphWriter:
    """Takes the rows of an index, in order."""

    def __init__(self, file: BinaryIO) -> None:
        """Used by `write_paragraphs`."""
        self._file = file
        self._counts: list[NDArray[np.int64]] = []
        self._write_header(0)

    def add(self, rows: Sequence[Sequence[int]]) -> None:
        """Tokens of each paragraph of the next rows; an empty sequence for a row that is not to be split.

        Raises:
            ShardIndexError: a paragraph has more tokens than a column holds.
        """
        tokens = np.array([count for row in rows for count in row], dtype=np.int64)
        _check_range(tokens, "paragraphs")
        self._file.write(tokens.astype(TOKEN_DTYPE).tobytes())
        self._counts.append(np.array([len(row) for row in rows], dtype=PARAGRAPH_START_DTYPE))

    def starts(self) -> NDArray[np.int64]:
        """End the file, and return where each row begins in it: int64 (rows + 1,)."""
        starts: NDArray[np.int64] = np.concatenate([np.zeros(1, PARAGRAPH_START_DTYPE), *self._counts]).cumsum()
        self._file.seek(0)
        self._write_header(int(starts[-1]))
        return starts

    def _write_header(self, length: int) -> None:
        """The format leaves room for a longer number, so the header can be written again over itself."""
        header = {"descr": TOKEN_DTYPE.str, "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(self._file, header)


@contextmanager
def write_paragraphs(folder: Path, fingerprint: str) -> Iterator[ParagraphWriter]:
    """Write both files of a tokenizer into the index of `folder`; complete at the end of the block, or not at all."""
    tokens, starts = (folder / INDEX_FOLDER / name for name in paragraph_files(fingerprint))
    with atomic_write(tokens) as file:
        writer = ParagraphWriter(file)
        yield writer
        begins = writer.starts()
        starts.unlink(missing_ok=True)  # of a column that this one takes the place of
    with atomic_write(starts) as file:
        np.save(file, begins, allow_pickle=False)


def write_token_column(folder: Path, fingerprint: str, counts: ArrayLike, supervised: ArrayLike | None = None) -> Path:
    """Write the tokens of each sample's text for one tokenizer, next to the other columns.

    Args:
        folder: a folder of shards with an index.
        fingerprint: the tokenizer's, lower-case hexadecimal.
        counts: (n,) tokens of each row's text segments, row by row.
        supervised: (n,) how many of them are supervised (`Shards.supervised`); None means all, and needs no column.

    Returns:
        The file written.

    Raises:
        ShardIndexError: when there is no index, or `counts` does not fit it.
    """
    catalog = IndexFiles(folder).catalog
    path, supervised_path = (folder / INDEX_FOLDER / name(fingerprint) for name in (token_file, supervised_file))
    if supervised is None:
        supervised_path.unlink(missing_ok=True)
    else:
        _write_counts(supervised_path, supervised, catalog, folder)
    return _write_counts(path, counts, catalog, folder)


def _write_counts(path: Path, counts: ArrayLike, catalog: Catalog, folder: Path) -> Path:
    """Write a column of one count per sample."""
    values = np.asarray(counts)
    if values.shape != (catalog.num_samples,) or not np.issubdtype(values.dtype, np.integer):
        raise ShardIndexError(
            f"token counts are {values.dtype} of shape {values.shape}; integers of shape ({catalog.num_samples},) "
            f"expected, one per sample of {folder}"
        )
    _check_range(values, "samples")
    with atomic_write(path) as file:
        np.save(file, values.astype(TOKEN_DTYPE), allow_pickle=False)
    return path


def _check_range(counts: NDArray[np.int64], what: str) -> None:
    if len(counts) and not 0 <= int(counts.min()) <= int(counts.max()) <= np.iinfo(TOKEN_DTYPE).max:
        raise ShardIndexError(f"{what} of {counts.min()} to {counts.max()} tokens do not fit a column of tokens")
