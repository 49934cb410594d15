"""Metadata of pages as columns, so that `where:` can ask for them: of a shard, and merged over all shards of an index.

A name becomes a column when its values are scalars of one kind on all pages: true and false, whole numbers, numbers, or
text. Pages may lack it. What cannot be a column is left out with a reason, and stays in the json of its page.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ShardError, load_json

Scalar = bool | int | float | str
_SCALARS = (bool, int, float, str)
Kind = Literal["bool", "int", "float", "text"]

MAX_NAMES = 64
"""Columns of an index; more names than that are left out, in order of their names."""
MAX_SHARD_NAMES = 1024
"""Names in one shard; where there are more, names are data themselves, and none becomes a column."""
MAX_DISTINCT = 1 << 16
"""Different texts of a column. A name with more (an address, a title) says little about many pages."""
MAX_CHARS = 256
"""Of a text in a column."""

DTYPES: Mapping[Kind, np.dtype[Any]] = {
    "bool": np.dtype("u1"),
    "int": np.dtype("<i8"),
    "float": np.dtype("<f8"),
    "text": np.dtype("<i4"),  # its number in the column's list of texts
}
TEXTS_DTYPE = np.dtype("u1")
ABSENT: Mapping[Kind, int | float] = {"bool": 2, "int": -(1 << 63), "float": math.nan, "text": -1}
"""What a column holds where a page lacks the name."""
TOO_MANY_NAMES = "*"
"""Stands for all names of a shard that has too many."""
_LARGEST_EXACT = 1 << 53
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_KEYWORDS = frozenset({"and", "or", "not", "in", "is", "if", "else", "lambda", "True", "False", "None", "for", "await"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PageMetadata:
    """What of a page's metadata can be columns, and why the rest cannot, by name."""

    values: Mapping[str, Scalar] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, meta: Mapping[str, object]) -> "PageMetadata":
        """Of all metadata of a page. Null, and numbers that are not finite, are as if the name were not there."""
        values: dict[str, Scalar] = {}
        left_out: dict[str, str] = {}
        for name, value in meta.items():
            if value is None or (isinstance(value, float) and not math.isfinite(value)):
                continue
            if type(value) is str and len(value) <= MAX_CHARS and value.isascii() and _is_a_word(name):
                values[name] = value  # as nearly all are
                continue
            trouble = _trouble(name, value)
            if trouble is not None:
                left_out[name] = trouble
            elif isinstance(value, _SCALARS):
                values[name] = value
        return cls(values=values, left_out=left_out)


def _trouble(name: str, value: object) -> str | None:
    """Why this value of this name cannot be in a column."""
    if not _is_a_word(name):
        return "its name is not a word of letters, digits and _ that an expression can hold"
    if not isinstance(value, _SCALARS):
        return "it holds lists or objects"
    if isinstance(value, str) and len(value) > MAX_CHARS:
        return f"it holds texts of more than {MAX_CHARS} characters"
    if isinstance(value, str) and not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        return "it holds text that is not Unicode"
    if isinstance(value, int) and not -(1 << 63) < value < 1 << 63:
        return "it holds whole numbers of more than 64 bits"
    return None


@lru_cache(maxsize=4096)  # pages have the same names
def _is_a_word(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name not in _KEYWORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataArray:
    """One column of a shard.

    Attributes:
        kind: of its values.
        values: (n,) of the kind's type, ABSENT where a page lacks the name.
        texts: of a column of texts, sorted, each once.
    """

    kind: Kind
    values: NDArray[Any]
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMetadata:
    """The columns of one shard, and why other names are none, by name."""

    columns: Mapping[str, MetadataArray] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, pages: Sequence[PageMetadata]) -> "ShardMetadata":
        """Of all pages of a shard, in order."""
        left_out = {name: reason for page in pages for name, reason in page.left_out.items()}
        rows: dict[str, dict[int, Scalar]] = {}
        for row, page in enumerate(pages):
            for name, value in page.values.items():
                rows.setdefault(name, {})[row] = value
        if len(rows.keys() | left_out.keys()) > MAX_SHARD_NAMES:
            return cls(left_out={TOO_MANY_NAMES: f"pages have more than {MAX_SHARD_NAMES} different names"})
        columns: dict[str, MetadataArray] = {}
        for name in sorted(rows.keys() - left_out.keys()):
            column = _column(rows[name], len(pages))
            if isinstance(column, str):
                left_out[name] = column
            else:
                columns[name] = column
        return cls(columns=columns, left_out=dict(sorted(left_out.items())))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As stored in `x.meta.npz`: a description, and an array per column."""
        described = [[name, column.kind, list(column.texts)] for name, column in self.columns.items()]
        text = json.dumps({"columns": described, "left_out": dict(self.left_out)}, separators=(",", ":"))
        numbered = {f"metadata.{number}": column.values for number, column in enumerate(self.columns.values())}
        return {"metadata": np.frombuffer(text.encode(), "u1"), **numbered}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], num_samples: int) -> "ShardMetadata":
        """The inverse of `arrays`, trusting nothing.

        Raises:
            ShardError: an array does not fit its description.
        """
        described = load_json(arrays["metadata"].tobytes())
        columns: dict[str, MetadataArray] = {}
        for number, (name, kind, texts) in enumerate(described["columns"]):
            values = arrays[f"metadata.{number}"]
            if values.dtype != DTYPES[kind] or values.shape != (num_samples,):
                raise ShardError(f"metadata {name!r} is {values.dtype} of shape {values.shape}")
            most = {"bool": 2, "text": len(texts) - 1}.get(kind)
            if most is not None and len(values) and not -1 <= int(values.min()) <= int(values.max()) <= most:
                raise ShardError(f"metadata {name!r} holds {values.min()} to {values.max()}, at most {most} expected")
            columns[str(name)] = MetadataArray(kind=kind, values=values, texts=tuple(map(str, texts)))
        left_out = {str(name): str(reason) for name, reason in described["left_out"].items()}
        return cls(columns=columns, left_out=left_out)


def _column(rows: Mapping[int, Scalar], num_pages: int) -> MetadataArray | str:
    """The column of one name from its values by row, or why there is none."""
    kinds = {type(value) for value in rows.values()}
    kind = _common_kind({_KIND_OF[each] for each in kinds})
    if kind is None:
        return "it holds values of several kinds"
    if kind == "float" and _are_inexact(value for value in rows.values() if isinstance(value, int)):
        return "it holds fractions, and whole numbers that would be rounded next to them"
    values = np.full(num_pages, ABSENT[kind], DTYPES[kind])
    texts = tuple(sorted({str(value) for value in rows.values()})) if kind == "text" else ()
    numbers = {text: number for number, text in enumerate(texts)}
    for row, value in rows.items():
        values[row] = numbers[value] if isinstance(value, str) else value
    return MetadataArray(kind=kind, values=values, texts=texts)


_KIND_OF: Mapping[type, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}


def _common_kind(kinds: "set[Kind]") -> Kind | None:
    """The kind that holds values of all these kinds; None where there is none."""
    if kinds == {"int", "float"}:
        return "float"
    return next(iter(kinds)) if len(kinds) == 1 else None


def _are_inexact(values: "Any") -> bool:
    return any(abs(value) > _LARGEST_EXACT for value in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataEntry:
    """A column of an index: its kind, and how many pages lack it."""

    kind: Kind
    absent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataList:
    """What `index.json` says of metadata.

    Attributes:
        columns: by name; the file is `metadata.<name>.npy`, with `metadata.<name>.text.npy` for its texts, as JSON.
        left_out: why other names that pages have did not become columns.
        unread: shards that an earlier wdstream described without metadata; where there are any, there is no column.
    """

    columns: Mapping[str, MetadataEntry] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    unread: int = 0


class MetadataMerge:
    """Merges the metadata of shards: first `add` each, then `entries`, then `values` of each again."""

    def __init__(self) -> None:
        self._left_out: dict[str, str] = {}
        self._kinds: dict[str, dict[Kind, str]] = {}  # and the first shard that has it
        self._texts: dict[str, set[str]] = {}
        self._present: dict[str, int] = {}
        self._large: set[str] = set()  # whole numbers that a float cannot hold
        self._unread = self._num_samples = 0

    def add(self, shard: str, metadata: ShardMetadata | None, num_samples: int) -> None:
        """Take in a shard; its metadata is None where it was not read."""
        self._num_samples += num_samples
        if metadata is None:
            self._unread += 1
            return
        for name, reason in metadata.left_out.items():
            self._left_out.setdefault(name, f"{reason} ({shard})")
        for name, column in metadata.columns.items():
            self._kinds.setdefault(name, {}).setdefault(column.kind, shard)
            present = ~absent_of(column.values, column.kind)
            self._present[name] = self._present.get(name, 0) + int(present.sum())
            if column.kind == "int" and (np.abs(column.values[present]) > _LARGEST_EXACT).any():
                self._large.add(name)
            if name not in self._left_out and column.kind == "text":
                texts = self._texts.setdefault(name, set())
                texts.update(column.texts)
                if len(texts) > MAX_DISTINCT:
                    self._left_out[name] = f"it has more than {MAX_DISTINCT:,} different texts"
                    del self._texts[name]

    def listed(self) -> MetadataList:
        """What there is over all shards."""
        left_out, columns = dict(self._left_out), dict[str, MetadataEntry]()
        for name in sorted(self._kinds):
            kinds = self._kinds[name]
            kind = _common_kind(set(kinds))
            if TOO_MANY_NAMES in left_out:
                left_out.setdefault(name, left_out[TOO_MANY_NAMES])
            elif kind is None:
                shown = ", ".join(f"{kind} in {shard}" for kind, shard in sorted(kinds.items()))
                left_out.setdefault(name, f"it holds values of several kinds ({shown})")
            elif kind == "float" and name in self._large:
                left_out.setdefault(name, "it holds fractions, and whole numbers that would be rounded next to them")
            elif name not in left_out and len(columns) == MAX_NAMES:
                left_out[name] = f"there are {MAX_NAMES} columns before it in order of names, and no more are kept"
            if kind is not None and name not in left_out:
                columns[name] = MetadataEntry(kind=kind, absent=self._num_samples - self._present[name])
        shown_left_out = dict(sorted(left_out.items())[:MAX_SHARD_NAMES])
        if self._unread:
            return MetadataList(unread=self._unread)
        return MetadataList(columns=columns, left_out=shown_left_out)

    def texts(self, name: str) -> list[str]:
        """All texts of a column, sorted; their places are its numbers."""
        return sorted(self._texts[name])


def values_in(
    metadata: ShardMetadata, name: str, kind: Kind, *, num_samples: int, places: Mapping[str, int]
) -> NDArray[Any]:
    """The rows of a shard in a column of the index.

    Args:
        metadata: of the shard.
        name: of the column.
        kind: of the column.
        num_samples: of the shard.
        places: of the column's texts, by text.
    """
    column = metadata.columns.get(name)
    if column is None:
        return np.full(num_samples, ABSENT[kind], DTYPES[kind])
    if kind == "text":
        numbers: NDArray[Any] = np.array([places[text] for text in column.texts] + [-1], DTYPES[kind])
        return np.take(numbers, column.values)  # -1, which is absent, takes the last
    values = column.values.astype(DTYPES[kind])
    values[absent_of(column.values, column.kind)] = ABSENT[kind]
    return values


def absent_of(values: NDArray[Any], kind: Kind) -> NDArray[np.bool_]:
    """Which entries stand for a page without the name."""
    is_absent: NDArray[np.bool_] = np.isnan(values) if kind == "float" else values == ABSENT[kind]
    return is_absent
