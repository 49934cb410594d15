"""What the entries of a column may be. Digests say that a column is what was written; this says that it can be true."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import load_json
from wdstream.shards.catalog import Catalog, metadata_texts
from wdstream.shards.meta import Column

ColumnByName = Callable[[str], Column]

STARTS = frozenset({"image_start", "paragraph_start"})
"""Columns with an entry more than rows; each says something together with the one after it."""
_LEAST = {
    **dict.fromkeys(("offset", "num_images", "text_bytes", "text_chars", "starts_with_text", "image_start"), 0),
    **dict.fromkeys(("tokens", "supervised", "paragraphs", "paragraph_start", "shard"), 0),
    "held_out": 0,
    **dict.fromkeys(("nbytes", "image_width", "image_height"), 1),
}


def unit_of(name: str) -> str:
    """What the entries of a column are numbers of, for messages."""
    kind = name.partition(".")[0]
    if kind == "metadata" and name.count(".") > 1:  # texts
        return "bytes"
    return {"image_width": "images", "image_height": "images", "paragraphs": "paragraphs"}.get(kind, "rows")


def check_values(name: str, array: Column, catalog: Catalog, column: ColumnByName, *, first: int = 0) -> str | None:
    """What a column holds that it cannot, with the first entry; None when there is nothing.

    Args:
        name: of the column.
        array: its entries.
        catalog: of the index.
        column: gives another column of it, for what two columns say together; of as many entries.
        first: the number of the first entry, where these are not all.
    """
    kind, _, fingerprint = name.partition(".")
    if kind == "metadata":
        return _check_metadata(name, array, catalog, column)
    if kind in _LEAST and len(array):
        most = {"starts_with_text": 1, "held_out": 1, "shard": len(catalog.shards) - 1}.get(kind)
        wrong = array < _LEAST[kind]
        if most is not None:
            wrong |= array > most
        if wrong.any():
            limits = f"at least {_LEAST[kind]}" + ("" if most is None else f" and at most {most}")
            return _first(name, array, wrong, f"{limits} expected")
    if kind == "shard":
        ends = np.cumsum([shard.samples for shard in catalog.shards], dtype=np.int64)
        wrong = array != np.searchsorted(ends, np.arange(first, first + len(array)), side="right")
        return _first(name, array, wrong, "the shard of the row expected, shards in order")
    if kind == "image_start":
        return _check_starts(
            name, array, column("num_images")[: len(array) - 1], catalog.num_images, (first, catalog.num_samples)
        )
    if kind == "paragraph_start":
        total = catalog.columns[f"paragraphs.{fingerprint}"].length
        return _check_starts(name, array, None, total, (first, catalog.num_samples))
    if kind == "nbytes":
        ends = np.array([shard.bytes for shard in catalog.shards], dtype=np.int64)[column("shard")]
        starts = column("offset")
        return _first(name, array, (starts > ends) | (array > ends - starts), "a sample inside its tar expected")
    if kind == "text_chars":
        return _first(name, array, array > column("text_bytes"), "no more characters than bytes expected")
    if kind == "supervised":
        return _first(name, array, array > column(f"tokens.{fingerprint}") + 1, "no more than all tokens expected")
    return None


def _check_metadata(name: str, array: Column, catalog: Catalog, column: ColumnByName) -> str | None:
    """Numbers of texts that there are, and truth values; the texts are a list."""
    own_name = name.partition(".")[2]
    entry = catalog.metadata.columns.get(own_name)
    if entry is None:  # the texts of a column
        return None
    if entry.kind == "bool":
        return _first(name, array, array > 2, "0, 1 or 2 expected")
    if entry.kind == "text":
        texts = load_json(column(metadata_texts(own_name)).tobytes())
        wrong = (array < -1) | (array >= len(texts))
        return _first(name, array, wrong, f"the number of one of {len(texts)} texts expected")
    return None


def _check_starts(name: str, starts: Column, counts: Column | None, total: int, place: tuple[int, int]) -> str | None:
    """Numbers of first entries: from 0, rising by `counts` where those are known, to `total`.

    `place` is the number of the first entry here, and of the last of all.
    """
    first, last = place
    begin, end = (0 if first else starts[0]), (starts[-1] if first + len(starts) > last else total)
    if begin != 0 or end != total:
        return f"goes from {begin} in row 0 to {end} in row {last}; 0 to {total} expected"
    steps = np.diff(starts)
    wrong = steps < 0 if counts is None else steps != counts
    return _first(name, starts[1:], wrong, "each row to begin where the one before ends expected")


def _first(name: str, array: Column, wrong: NDArray[np.bool_], expected: str) -> str | None:
    """The first entry that is wrong, in words."""
    if not wrong.any():
        return None
    place = int(np.argmax(wrong))
    return f"holds {array[place]} in {unit_of(name)[:-1]} {place} ({int(wrong.sum())} such entries); {expected}"
