"""Building one shard: read its pages, write the tar, then a record of it; the record last, as it says that all is done.

The record holds what the shard's files do not: which pages were quarantined and why, how many pages each kind of source
has in it, and the tokens of each sample.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from wdstream.errors import PageError, SourceError
from wdstream.make_shards.assign import shard_name
from wdstream.make_shards.jobs import Job, OnPage, Quarantined
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.token_counts import TextCounts, TokenCounter
from wdstream.raw.registry import source_of_kind
from wdstream.raw.source import PageReader, StoredPage
from wdstream.shards.page_members import members_from_page
from wdstream.shards.writer import SampleEntry, ShardWriter
from wdstream.storage.atomic import write_file

STATE_FOLDER = ".make-shards"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """What came of one shard's pages.

    Attributes:
        number: of the shard.
        samples: samples in it; no tar exists when 0.
        num_bytes: of the tar.
        digest: of the shard's meta.
        pages: samples by kind of source.
        quarantined: pages that are not in it.
        tokens: per fingerprint of a tokenizer, tokens of each sample's text.
        paragraphs: as `tokens`, tokens of each paragraph of each sample that may be split, if wanted.
    """

    number: int
    samples: int
    num_bytes: int
    digest: str
    pages: Mapping[str, int]
    quarantined: tuple[Quarantined, ...]
    tokens: Mapping[str, tuple[int, ...]]
    paragraphs: Mapping[str, tuple[tuple[int, ...], ...]]

    def save(self, out: Path) -> None:
        """Write the record, whole or not at all."""
        tree = {
            "samples": self.samples,
            "bytes": self.num_bytes,
            "digest": self.digest,
            "pages": dict(sorted(self.pages.items())),
            "quarantined": [[entry.file, entry.page, entry.reason] for entry in self.quarantined],
            "tokens": dict(self.tokens),
            "paragraphs": dict(self.paragraphs),
        }
        write_file(record_path(out, self.number), json.dumps(tree, separators=(",", ":")).encode())


def record_path(out: Path, number: int) -> Path:
    """The file with the record of a shard."""
    return out / STATE_FOLDER / f"shard-{number:06d}.json"


def load_record(out: Path, number: int) -> ShardRecord | None:
    """The record of a shard, or None when the shard was not finished."""
    path = record_path(out, number)
    if not path.is_file():
        return None
    tree = json.loads(path.read_bytes())
    return ShardRecord(
        number=number,
        samples=tree["samples"],
        num_bytes=tree["bytes"],
        digest=tree["digest"],
        pages=tree["pages"],
        quarantined=tuple(Quarantined(file=file, page=page, reason=why) for file, page, why in tree["quarantined"]),
        tokens={name: tuple(counts) for name, counts in tree["tokens"].items()},
        # versions of wdstream before `overlength: split` wrote none
        paragraphs={name: tuple(map(tuple, counts)) for name, counts in tree.get("paragraphs", {}).items()},
    )


def open_counter(options: MakeShardsOptions) -> TokenCounter | None:
    """What counts tokens as the options want it; None without a tokenizer.

    Raises:
        ConfigError: the tokenizer cannot be read.
    """
    if options.tokenizer is None:
        return None
    return TokenCounter.open(options.tokenizer, with_paragraphs=options.paragraphs)


def build_shard(
    job: Job, raw: Path, out: Path, options: MakeShardsOptions, counter: TokenCounter | None, on_page: OnPage
) -> ShardRecord:
    """Build the shard of a job, and save its record.

    Args:
        job: a job of kind "shard".
        raw: the raw folder.
        out: the folder of shards.
        options: how pages become samples.
        counter: counts tokens, when wanted.
        on_page: called before each page, so that whoever watches knows where a process died.

    Raises:
        OSError: the shard cannot be written.
    """
    path = out / shard_name(job.number)
    for stale in (path, record_path(out, job.number)):
        stale.unlink(missing_ok=True)
    pages = _ShardPages(job, raw, options, counter, on_page)
    kinds: Counter[str] = Counter()
    counts: list[TextCounts] = []
    writer: ShardWriter | None = None
    with ExitStack() as stack:
        for kind, stored, members, page_counts in pages:
            writer = writer or stack.enter_context(ShardWriter(path))
            writer.add(stored.page.key, members, SampleEntry.of(stored.page, stored.sizes))
            kinds[kind] += 1
            counts += page_counts
        on_page(len(job.items), None)  # from here on only the disk is waited for
    summary = writer.summary if writer is not None else None
    counted = _recorded(counter, counts)
    record = ShardRecord(
        number=job.number,
        samples=summary.samples if summary else 0,
        num_bytes=summary.bytes if summary else 0,
        digest=summary.digest if summary else "",
        pages=kinds,
        quarantined=tuple(pages.quarantined),
        tokens={name: tuple(count.tokens for count in counts) for name in counted},
        paragraphs={name: tuple(count.paragraphs for count in counts) for name in counted if options.paragraphs},
    )
    record.save(out)
    return record


class _ShardPages:
    """The pages of a job's shard: kind of source, page, members and counts of each; what cannot be read is listed."""

    def __init__(
        self, job: Job, raw: Path, options: MakeShardsOptions, counter: TokenCounter | None, on_page: OnPage
    ) -> None:
        self.quarantined: list[Quarantined] = []
        self._job, self._raw, self._options = job, raw, options
        self._counter = counter
        self._on_page = on_page
        self._skips = {(skip.item, skip.page): skip.reason for skip in job.skips}

    def __iter__(self) -> Iterator[tuple[str, StoredPage, dict[str, bytes], list[TextCounts]]]:
        for number, item in enumerate(self._job.items):
            source = source_of_kind(item.file.kind)
            try:
                self._turn_to(number, None)
                with source.open(item, self._raw / item.file.path, self._options) as reader:
                    for page in range(item.first, item.first + item.count):
                        sample = self._sample(number, page, reader)
                        if sample is not None:
                            yield source.kind, *sample
            except PageError as error:
                self.quarantined.append(Quarantined(file=item.file.path, page=0, reason=str(error)))

    def _sample(
        self, number: int, page: int, reader: PageReader
    ) -> tuple[StoredPage, dict[str, bytes], list[TextCounts]] | None:
        """One page; None for a blank line, and for a page that is now in the quarantine."""
        file = self._job.items[number].file
        try:
            self._turn_to(number, page)
            stored = reader.read(page)
            if stored is None:
                return None
            members = members_from_page(stored.page, stored.extensions)
            return stored, members, self._counter.count([stored.page]) if self._counter else []
        except MemoryError:
            reason = f"needs more memory than the limit of {self._options.memory_limit_mb} MiB"
        except PageError as error:
            reason = str(error)
        shown = 0 if file.is_single_image else page
        self.quarantined.append(Quarantined(file=file.path, page=shown, reason=reason))
        return None

    def _turn_to(self, number: int, page: int | None) -> None:
        if (number, page) in self._skips:
            raise SourceError(self._skips[number, page])
        self._on_page(number, page)


def _recorded(counter: TokenCounter | None, counts: list[TextCounts]) -> list[str]:
    """The tokenizer whose counts are recorded; none where not all tokens are supervised: then all is counted later."""
    if counter is None or any(count.tokens != count.supervised for count in counts):
        return []
    return [counter.fingerprint]
