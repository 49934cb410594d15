"""What a report and the index need of the records of all shards, in some bytes per page."""

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from wdstream.make_shards.jobs import Quarantined
from wdstream.make_shards.record import ShardRecord
from wdstream.raw.listed.packed import TextHashes
from wdstream.text.maps.readings import RowReadings


@dataclass(slots=True, kw_only=True)
class RecordSums:
    """Sums over the records of all shards; of their samples, over those that have some.

    Attributes:
        numbers: of the shards.
        num_shards: those that hold samples.
        num_bytes, pages, without_image, dropped, misnamed, readings: as of `ShardRecord`.
        quarantined: pages that are in no shard.
        tokens: of each sample, while every shard has them.
        has_tokens, has_paragraphs: whether every shard has them.
        read: the files that were read for the shards.
        knows_reads: whether every shard says which.
    """

    numbers: "array[int]" = field(default_factory=lambda: array("Q"))
    num_shards: int = 0
    num_bytes: int = 0
    pages: Counter[str] = field(default_factory=Counter)
    without_image: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    misnamed: Counter[str] = field(default_factory=Counter)
    readings: RowReadings = field(default_factory=RowReadings)
    quarantined: list[Quarantined] = field(default_factory=list)
    tokens: "array[int]" = field(default_factory=lambda: array("Q"))
    has_tokens: bool = True
    has_paragraphs: bool = True
    read: TextHashes = field(default_factory=TextHashes)
    knows_reads: bool = True

    @classmethod
    def of(cls, records: Iterable[ShardRecord], fingerprint: str | None, *, with_reads: bool) -> "RecordSums":
        """The sums.

        Args:
            records: of all shards, in order.
            fingerprint: of the tokenizer whose counts are wanted, if any.
            with_reads: whether `read` is wanted.
        """
        sums = cls()
        for record in records:
            sums.numbers.append(record.number)
            sums.quarantined += record.quarantined
            for path in record.read if with_reads else ():
                sums.read.add(path)
            if record.samples:
                sums._add_samples(record)
                sums._add_tokens(record, fingerprint)
        return sums

    def _add_samples(self, record: ShardRecord) -> None:
        self.num_shards += 1
        self.num_bytes += record.num_bytes
        self.without_image += record.without_image
        self.knows_reads &= bool(record.read)
        for total, counts in (
            (self.pages, record.pages),
            (self.dropped, record.dropped),
            (self.misnamed, record.misnamed),
        ):
            total.update(counts)
        self.readings.update(record.readings)

    def _add_tokens(self, record: ShardRecord, fingerprint: str | None) -> None:
        self.has_tokens &= fingerprint in record.tokens
        self.has_paragraphs &= fingerprint in record.paragraphs
        if self.has_tokens and fingerprint is not None:
            self.tokens.extend(record.tokens[fingerprint])
