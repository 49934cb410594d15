"""The documents of all pages of a set: which are held out, by the rule that is kept or one that is asked for."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ConfigError
from wdstream.plan.held_out import (
    DOCUMENT_RULES,
    HeldOutCounts,
    HoldOut,
    HoldOutRule,
    count_held_out,
    field_of,
    hash_documents,
)
from wdstream.shards.catalog import HELD_OUT_DTYPE
from wdstream.shards.meta import Column, ShardMeta, field_values
from wdstream.shards.metadata import absent_of

LoadMeta = Callable[[str], ShardMeta]
"""The meta of a shard that is there, by the name of its tar."""


class DocumentTable:
    """The documents of all pages, as shards come: for the rule that is kept, or for one that is asked for."""

    def __init__(self, where: str, kept: HoldOutRule | None, asked: HoldOut | None, load: LoadMeta) -> None:
        """`where` the shards are, for messages; `load` reads what describes one again."""
        self._where, self._load = where, load
        self._asked = None if kept is not None and (asked is None or kept.answers(asked)) else asked
        self._kept = kept if self._asked is None else None
        self._hashes: list[NDArray[np.uint64]] = []
        self._names: list[str] = []
        self._lacking = 0
        self.rule: HoldOutRule | None = None

    @property
    def column(self) -> Column:
        """1 for each row that is held out, once the rule is known."""
        assert self.rule is not None
        return self.rule.select(np.concatenate(self._hashes)).astype(HELD_OUT_DTYPE)

    def add(self, name: str, meta: ShardMeta) -> None:
        """Take in a shard.

        Raises:
            ShardIndexError: its metadata cannot say what its documents are.
        """
        by = self._asked or self._kept
        if by is None:
            return
        values = _tar_samples(meta) if by.by == "file" else None
        if field := field_of(by.by):
            values = field_values(meta, field, name, self._where)
            self._lacking += sum(value is None for value in values)
        keys = map(meta.key, range(meta.num_samples))
        self._hashes.append(hash_documents(keys, values, by=by.by, seed=by.seed))
        self._names.append(name)

    def finish(self) -> HeldOutCounts | None:
        """Fix the rule, and count; None where nothing is held out.

        Raises:
            ConfigError: what is asked for would hold out nothing, or everything; or no page has the metadata.
        """
        if self._asked is None and self._kept is None:
            return None
        hashes = np.concatenate(self._hashes)
        rule = self._kept or self._new_rule(hashes)
        counts = count_held_out(rule, hashes, self._key_of, lacking=self._lacking)
        if self._asked is not None:
            counts.require_both_sides()
        self.rule = rule
        return counts

    def _new_rule(self, hashes: NDArray[np.uint64]) -> HoldOutRule:
        assert self._asked is not None
        if field_of(self._asked.by) and self._lacking == len(hashes):
            raise ConfigError(
                f"holdout by {self._asked.by!r}: no page of {self._where} has metadata of this name; give one that "
                f"pages have, or {', '.join(DOCUMENT_RULES)}"
            )
        return self._asked.rule(hashes)

    def _key_of(self, row: int) -> str:
        for name, hashes in zip(self._names, self._hashes, strict=True):
            if row < len(hashes):
                return self._load(name).key(row)
            row -= len(hashes)
        raise IndexError(row)


def _tar_samples(meta: ShardMeta) -> list[object] | None:
    """The keys of pages that are each a sample of a raw tar, None for others: in `tar@0017` the number is the name of
    the sample, and says nothing of a document."""
    columns = {} if meta.metadata is None else meta.metadata.columns
    if "sample" not in columns:
        return None
    has = [name in columns and ~absent_of(columns[name].values, columns[name].kind) for name in ("sample", "page")]
    is_whole = np.broadcast_to(has[0] & np.logical_not(has[1]), meta.num_samples)
    return [meta.key(row) if is_whole[row] else None for row in range(meta.num_samples)]
