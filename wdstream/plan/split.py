"""Splitting pages that are too long for a pack: which paragraphs go into which part (`overlength: split`).

    a page of T tokens > longest:   part 1 = images + paragraphs [0, a) + EOS,  part 2 = images + [a, b) + EOS, ...

Greedy: a part takes as many whole paragraphs as fit, each tokenised by itself. The images come again with every part;
EOS is learnt in the last part only, since before it the text goes on. Part p of sample s has the number
s + p * (samples of the plan), p from 1, so that s alone stays the whole page.

Everything here is a pure function of the index, called by the plan and again where a part is built.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from wdstream.errors import ConfigError
from wdstream.plan.columns import Dataset
from wdstream.plan.lengths import Bools, Ints
from wdstream.plan.measure import Reject, SampleLengths


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


def cut_paragraphs(tokens: Sequence[int], room: int) -> list[int]:
    """Where each part ends: as many whole paragraphs a part as fit into `room` tokens.

    Args:
        tokens: of each paragraph.
        room: tokens of text that a part may have.

    Returns:
        Places after the last paragraph of each part; empty where one paragraph alone does not fit.
    """
    ends: list[int] = []
    used = 0
    for place, count in enumerate(tokens):
        if count > room:
            return []
        if used + count > room:
            ends.append(place)
            used = 0
        used += count
    return [*ends, len(tokens)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitRows:
    """n measured rows with m parts of pages among them: a row that is split stands there once a part.

    Attributes:
        lengths: of each part, or whole row: (m,).
        places: int64 (m,), which of the n rows each is of.
        parts: int64 (m,), number of the part; 0 is the whole row.
        given: int64 (m,), parts of the row up to here where more follow, else 0.
    """

    lengths: SampleLengths
    places: Ints
    parts: Ints
    given: Ints

    def select(self, chosen: Bools | slice) -> "SplitRows":
        """Some of them."""
        return SplitRows(
            lengths=_take(self.lengths, chosen),
            places=self.places[chosen],
            parts=self.parts[chosen],
            given=self.given[chosen],
        )


class Splitter:
    """Splits the pages of one data set."""

    def __init__(self, dataset: Dataset, fingerprint: str, *, max_tokens: int, max_patches: int) -> None:
        """Bound to an index.

        Args:
            dataset: of pages.
            fingerprint: of the tokenizer.
            max_tokens: of the longest sample.
            max_patches: of the longest sample.

        Raises:
            ConfigError: the index counts no paragraphs at all.
            ShardIndexError: it counts none of this tokenizer.
        """
        paragraphs = getattr(dataset.columns, "paragraphs", None)
        if paragraphs is None:
            raise ConfigError(
                f"overlength: 'split' needs tokens of paragraphs, which the columns of data set {dataset.name!r} do "
                "not have; use 'reject' or 'downscale'"
            )
        self._starts, self._tokens = paragraphs(fingerprint)
        self._text_tokens = dataset.columns.tokens(fingerprint)
        self._max_tokens = max_tokens
        self._max_patches = max_patches

    def split(self, rows: Ints, lengths: SampleLengths) -> SplitRows | None:
        """Rows that were measured, with those that are too long and can be split in parts; None where there are none.

        Their code in `lengths.reject` becomes ACCEPTED.
        """
        ends = {place: cut for place in self._too_long(lengths) if (cut := self._cut(int(rows[place]), lengths, place))}
        if not ends:
            return None
        counts = np.ones(len(rows), dtype=np.int64)
        counts[list(ends)] = [len(cut) for cut in ends.values()]
        lengths.reject[list(ends)] = Reject.ACCEPTED
        places = np.repeat(np.arange(len(rows)), counts)
        first = np.cumsum(counts) - counts
        found = SplitRows(
            lengths=_take(lengths, places),
            places=places,
            parts=np.zeros(len(places), dtype=np.int64),
            given=np.zeros(len(places), dtype=np.int64),
        )
        for place, cut in ends.items():
            self._fill(found, slice(int(first[place]), int(first[place]) + len(cut)), int(rows[place]), cut)
        return found

    def part(self, row: int, lengths: SampleLengths, number: int) -> PagePart | None:
        """Part `number` of a row, `lengths` being those of this row alone; None where it has no such part."""
        cut = self._cut(row, lengths, 0) if self._too_long(lengths) else []
        if not 0 < number <= len(cut):
            return None
        return PagePart(
            number=number,
            count=len(cut),
            begin=[0, *cut][number - 1],
            end=cut[number - 1],
            num_paragraphs=cut[-1],
        )

    def _too_long(self, lengths: SampleLengths) -> list[int]:
        """Places of samples that have too many tokens and are otherwise fine."""
        is_long = (lengths.reject == Reject.TOO_MANY_TOKENS) & (lengths.patches <= self._max_patches)
        places: list[int] = np.flatnonzero(is_long).tolist()
        return places

    def _cut(self, row: int, lengths: SampleLengths, place: int) -> list[int]:
        """Where the parts of a row end, in paragraphs; empty where it cannot be split."""
        around = int(lengths.tokens[place]) - int(self._text_tokens[row])  # images, what opens a document, EOS
        tokens = self._paragraphs(row)
        return cut_paragraphs(tokens.tolist(), self._max_tokens - around) if len(tokens) else []

    def _paragraphs(self, row: int) -> Ints:
        return np.asarray(self._tokens[int(self._starts[row]) : int(self._starts[row + 1])], dtype=np.int64)

    def _fill(self, found: SplitRows, inside: slice, row: int, cut: list[int]) -> None:
        """Lengths and numbers of the parts of one row: `inside` they stand, with the numbers of the whole page."""
        sums = np.concatenate(([0], np.cumsum(self._paragraphs(row))))
        text = np.diff(sums[[0, *cut]])
        whole = int(self._text_tokens[row])
        is_last = np.arange(len(cut)) == len(cut) - 1
        found.lengths.tokens[inside] += text - whole
        found.lengths.supervised[inside] += text - whole - ~is_last  # EOS is learnt where the text ends
        found.parts[inside] = np.arange(1, len(cut) + 1)
        found.given[inside] = np.where(is_last, 0, found.parts[inside])


def _take(lengths: SampleLengths, chosen: Ints | Bools | slice) -> SampleLengths:
    """Some of the samples, their numbers copied."""
    columns = {column.name: getattr(lengths, column.name)[chosen] for column in fields(SampleLengths)}
    return SampleLengths(**{name: np.array(values) for name, values in columns.items()})
