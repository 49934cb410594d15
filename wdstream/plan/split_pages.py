"""Splitting pages that are too long for a pack: which paragraphs go into which part (`overlength: split`).

    a page of T tokens > longest:   part 1 = images + paragraphs [0, a) + EOS,  part 2 = images + [a, b) + EOS, ...

Greedy: a part takes as many whole paragraphs as fit, each tokenised by itself. The images come again with every part;
EOS is supervised in the last part only, since before it the text continues. Part p of sample s has the number
s + p * (samples of the plan), p from 1, so that s alone stays the whole page.

Everything here is a pure function of the index, called by the plan and again where a part is built.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from wdstream.errors import ConfigError
from wdstream.plan.protocols import Dataset, columns_by_row
from wdstream.plan.sample_lengths import LengthLimits, Reject, SampleLengths
from wdstream.records import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePart:
    """One part of a page that is split.

    Attributes:
        number: of the part, from 1.
        count: parts of the page.
        begin, end: its paragraphs are [begin, end).
        num_paragraphs: of the whole page.
    """

    number: int
    count: int
    begin: int
    end: int
    num_paragraphs: int

    @property
    def is_last(self) -> bool:
        """Whether the text of the page ends here."""
        return self.number == self.count

    def name(self, key: str) -> str:
        """How the part of the page `key` is called: `scans/7 part 2/3`."""
        return f"{key} part {self.number}/{self.count}"


def page_of_part(name: str) -> str | None:
    """The key of the page whose part is called so (`PagePart.name`); None where no part can be."""
    match = re.fullmatch(r"(.+) part \d+/\d+", name, re.DOTALL)
    return None if match is None else match[1]


def cut_paragraphs(tokens: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Cut a text into parts: as many whole paragraphs a part as fit into `room` tokens.

    Args:
        tokens: of each paragraph.
        room: tokens of text that a part may have.

    Returns:
        For each part the number of the paragraph after its last one, and the tokens of its text; empty where one
        paragraph alone does not fit.
    """
    parts: list[tuple[int, int]] = []
    used = 0
    for number, count in enumerate(tokens):
        if count > room:
            return []
        if used + count > room:
            parts.append((number, used))
            used = 0
        used += count
    return [*parts, (len(tokens), used)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitRows:
    """n measured rows with the pages among them that are split: m whole rows and parts, in order.

    Attributes:
        lengths: of each part, or whole row: (m,).
        rows: int64 (m,), which of the n rows each is of.
        parts: int64 (m,), number of the part; 0 is the whole row.
        parts_before_more: int64 (m,), parts of the row up to this one where more follow, else 0.
    """

    lengths: SampleLengths
    rows: Ints
    parts: Ints
    parts_before_more: Ints

    def after(self, count: int) -> "SplitRows":
        """All but the first `count`."""
        chosen = slice(count, None)
        return SplitRows(
            lengths=_take(self.lengths, chosen),
            rows=self.rows[chosen],
            parts=self.parts[chosen],
            parts_before_more=self.parts_before_more[chosen],
        )


class Splitter:
    """Splits the pages of one dataset."""

    def __init__(self, dataset: Dataset, fingerprint: str, limits: LengthLimits) -> None:
        """Bound to an index.

        Args:
            dataset: of pages.
            fingerprint: of the tokenizer.
            limits: of a sample.

        Raises:
            ConfigError: the index counts no paragraphs at all.
            ShardIndexError: it counts none of this tokenizer.
        """
        columns = columns_by_row(dataset.columns)
        paragraphs = columns.paragraphs(fingerprint)
        if paragraphs is None:
            raise ConfigError(
                f"overlength: 'split' needs tokens of paragraphs, which the columns of dataset {dataset.name!r} do "
                "not have; use 'reject' or 'downscale'"
            )
        self._starts, self._tokens = paragraphs
        self._text_tokens = columns.tokens(fingerprint)
        self._limits = limits

    def split(self, rows: Ints, lengths: SampleLengths) -> SplitRows | None:
        """Rows that were measured, with those that are too long and can be split in parts; None where there are none.

        Their code in `lengths.reject` becomes ACCEPTED.
        """
        cuts = {index: cut for index in self._too_long(lengths) if (cut := self._cut(int(rows[index]), lengths, index))}
        if not cuts:
            return None
        counts = np.zeros(len(rows), dtype=np.int64)  # parts of each row, 0 of a whole one
        counts[list(cuts)] = [len(cut) for cut in cuts.values()]
        lengths.reject[counts > 0] = Reject.ACCEPTED
        copies = np.maximum(counts, 1)
        origins = np.repeat(np.arange(len(rows)), copies)
        is_part = counts[origins] > 0
        parts = np.where(is_part, np.arange(len(origins)) - (np.cumsum(copies) - copies)[origins] + 1, 0)
        continues = parts < counts[origins]
        of_parts = _take(lengths, origins)
        text = np.array([count for cut in cuts.values() for _, count in cut], dtype=np.int64)
        less = text - self._text_tokens[rows[origins[is_part]]]  # than the whole page
        of_parts.tokens[is_part] += less
        of_parts.supervised[is_part] += less - continues[is_part]  # EOS is supervised where the text ends
        before_more = np.where(continues, parts, 0)
        return SplitRows(lengths=of_parts, rows=origins, parts=parts, parts_before_more=before_more)

    def part(self, row: int, lengths: SampleLengths, number: int) -> PagePart | None:
        """Part `number` of a row, `lengths` being those of this row alone; None where it has no such part."""
        cut = self._cut(row, lengths, 0) if self._too_long(lengths) else []
        if not 0 < number <= len(cut):
            return None
        return PagePart(
            number=number,
            count=len(cut),
            begin=cut[number - 2][0] if number > 1 else 0,
            end=cut[number - 1][0],
            num_paragraphs=cut[-1][0],
        )

    def _too_long(self, lengths: SampleLengths) -> list[int]:
        """Which samples have too many tokens and are otherwise fine."""
        is_long = (lengths.reject == Reject.TOO_MANY_TOKENS) & (lengths.patches <= self._limits.max_patches)
        indices: list[int] = np.flatnonzero(is_long).tolist()
        return indices

    def _cut(self, row: int, lengths: SampleLengths, index: int) -> list[tuple[int, int]]:
        """The parts of a row, as `cut_paragraphs` has them; none where it cannot be split."""
        tokens = self._tokens[int(self._starts[row]) : int(self._starts[row + 1])].tolist()
        around = int(lengths.tokens[index]) - int(self._text_tokens[row])  # images, what opens a document, EOS
        return cut_paragraphs(tokens, self._limits.max_tokens - around) if tokens else []


def _take(lengths: SampleLengths, chosen: Ints | slice) -> SampleLengths:
    """Some of the samples, their numbers copied."""
    columns = {column.name: getattr(lengths, column.name)[chosen] for column in fields(SampleLengths)}
    return SampleLengths(**{name: np.array(values) for name, values in columns.items()})
