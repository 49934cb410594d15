"""Building one shard: read its pages, write the tar, then a record of it; the record last, as it says that all is done.

The record holds what the shard's files do not: which pages were quarantined and why, how many pages came of each kind
of source, and the tokens of each sample.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wdstream.errors import PageError, SourceError
from wdstream.make_shards.assign import shard_name
from wdstream.make_shards.jobs import Job, Quarantined
from wdstream.make_shards.token_counts import TextCounts, TokenCounter
from wdstream.raw.options import MakeShardsOptions
from wdstream.raw.readers import RawSample, open_reader
from wdstream.shards.page_members import members_from_page
from wdstream.shards.writer import SampleEntry, ShardWriter
from wdstream.storage.atomic import write_file

STATE_FOLDER = ".make-shards"
OnPage = Callable[[int, int | None], None]  # (number of the unit, page; None while its file is opened)


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
    """Where the record of a shard lies."""
    return out / STATE_FOLDER / f"shard-{number:06d}.json"


def load_record(out: Path, number: int) -> ShardRecord | None:
    """The record of a shard, or None when the shard was not finished."""
    path = record_path(out, number)
    if not path.is_file():
        return None
    tree: dict[str, Any] = json.loads(path.read_bytes())
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
    quarantined: list[Quarantined] = []
    pages: Counter[str] = Counter()
    counts: list[TextCounts] = []
    path = out / shard_name(job.number)
    for stale in (path, record_path(out, job.number)):
        stale.unlink(missing_ok=True)
    writer: ShardWriter | None = None
    try:
        for kind, sample, members, found in _samples(job, raw, options, quarantined, on_page, counter):
            writer = writer or ShardWriter(path)
            writer.add(sample.page.key, members, SampleEntry.of(sample.page, sample.sizes))
            pages[kind] += 1
            counts += found
    except BaseException as error:
        if writer is not None:
            writer.__exit__(type(error), error, error.__traceback__)
        raise
    on_page(len(job.items), None)  # from here on only the disk is waited for
    summary = writer.close() if writer is not None else None
    counted = _recorded(counter, counts)
    record = ShardRecord(
        number=job.number,
        samples=summary.samples if summary else 0,
        num_bytes=summary.bytes if summary else 0,
        digest=summary.digest if summary else "",
        pages=pages,
        quarantined=tuple(quarantined),
        tokens={name: tuple(count.tokens for count in counts) for name in counted},
        paragraphs={name: tuple(count.paragraphs for count in counts) for name in counted if options.paragraphs},
    )
    record.save(out)
    return record


def _samples(
    job: Job,
    raw: Path,
    options: MakeShardsOptions,
    quarantined: list[Quarantined],
    on_page: OnPage,
    counter: TokenCounter | None,
) -> Iterator[tuple[str, RawSample, dict[str, bytes], list[TextCounts]]]:
    """Kind of source, sample, members and counts of every page that can be read; the others go to `quarantined`."""
    skips = {(skip.item, skip.page): skip.reason for skip in job.skips}
    for number, unit in enumerate(job.items):
        name = unit.file.path
        try:
            if (number, None) in skips:
                raise SourceError(skips[number, None])
            on_page(number, None)
            with open_reader(unit, raw, options) as reader:
                for page in range(unit.first, unit.first + unit.count):
                    shown = page if unit.file.kind != "image" or unit.file.num_pages > 1 else 0
                    try:
                        if (number, page) in skips:
                            raise SourceError(skips[number, page])
                        on_page(number, page)
                        sample = _read(reader.read, page, options)
                        members = members_from_page(sample.page, sample.extensions) if sample else {}
                        counts = counter.count([sample.page]) if sample and counter else []
                    except PageError as error:
                        quarantined.append(Quarantined(file=name, page=shown, reason=str(error)))
                        continue
                    if sample is not None:
                        yield unit.file.kind, sample, members, counts
        except PageError as error:
            quarantined.append(Quarantined(file=name, page=0, reason=str(error)))


def _recorded(counter: TokenCounter | None, counts: list[TextCounts]) -> list[str]:
    """The tokenizer whose counts are recorded; none where not all tokens are supervised: all is then counted at the
    end."""
    if counter is None or any(count.tokens != count.supervised for count in counts):
        return []
    return [counter.fingerprint]


def _read(read: Callable[[int], RawSample | None], page: int, options: MakeShardsOptions) -> RawSample | None:
    try:
        return read(page)
    except MemoryError as error:
        raise SourceError(f"needs more memory than the limit of {options.memory_limit_mb} MiB") from error
