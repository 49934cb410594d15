"""Doing the jobs of make-shards: building a shard, and surveying raw files for how many pages they have.

A shard's pages are read, the tar is written, then a record of it; the record last, as it says that all is done. It
holds what the shard's files do not: which pages were quarantined and why, how many pages each kind of source has in it,
and the tokens of each sample.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from wdstream.errors import PageError, SourceError
from wdstream.make_shards.jobs import Job, OnPage, Quarantined, shard_name
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.token_counts import TextCounts, open_counter
from wdstream.raw.registry import source_of_kind
from wdstream.raw.source import PageReader, RawFile, StoredPage
from wdstream.shards.page_members import members_from_page
from wdstream.shards.writer import SampleEntry, ShardWriter
from wdstream.storage.atomic import write_file

STATE_FOLDER = ".make-shards"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """What became of the pages of one shard.

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


class ShardBuilder:
    """Builds shards with the same options, one after the other.

    Args:
        raw: the raw folder.
        out: the folder of shards.
        options: how pages become samples.
        on_page: called before each page, so that it is known where a process died.

    Raises:
        ConfigError: the tokenizer cannot be read.
    """

    def __init__(self, raw: Path, out: Path, options: MakeShardsOptions, on_page: OnPage) -> None:
        self._raw, self._out = raw, out
        self._options = options
        self._on_page = on_page
        self._counter = open_counter(options.tokenizer, with_paragraphs=options.paragraphs)

    def build(self, job: Job) -> None:
        """Build the shard of a job, and save its record.

        Raises:
            OSError: the shard cannot be written.
        """
        path = self._out / shard_name(job.number)
        for stale in (path, record_path(self._out, job.number)):
            stale.unlink(missing_ok=True)
        quarantined: list[Quarantined] = []
        kinds: Counter[str] = Counter()
        counts: list[TextCounts] = []
        writer: ShardWriter | None = None
        with ExitStack() as stack:
            for kind, stored, members in self._pages(job, quarantined, counts):
                writer = writer or stack.enter_context(ShardWriter(path))
                writer.add(stored.page.key, members, SampleEntry.of(stored.page, stored.sizes))
                kinds[kind] += 1
            self._on_page(len(job.items), None)  # from here on only the disk is waited for
        summary = writer.summary if writer is not None else None
        counted = self._recorded(counts)
        record = ShardRecord(
            number=job.number,
            samples=summary.samples if summary else 0,
            num_bytes=summary.bytes if summary else 0,
            digest=summary.digest if summary else "",
            pages=kinds,
            quarantined=tuple(quarantined),
            tokens={name: tuple(count.tokens for count in counts) for name in counted},
            paragraphs={
                name: tuple(count.paragraphs for count in counts) for name in counted if self._options.paragraphs
            },
        )
        record.save(self._out)

    def _pages(
        self, job: Job, quarantined: list[Quarantined], counts: list[TextCounts]
    ) -> Iterator[tuple[str, StoredPage, dict[str, bytes]]]:
        """Kind of source, page and members of every page of a job, counted; what cannot be read is quarantined."""
        skips = {(skip.item, skip.page): skip.reason for skip in job.skips}
        for number, item in enumerate(job.items):
            source = source_of_kind(item.file.kind)
            try:
                self._turn_to(number, None, skips)
                with source.open(item, self._raw / item.file.path, self._options) as reader:
                    for page in range(item.first, item.first + item.count):
                        try:
                            self._turn_to(number, page, skips)
                            stored = self._read(reader, page)
                            if stored is None:  # a blank line
                                continue
                            members = members_from_page(stored.page, stored.extensions)
                            counts += self._counter.count([stored.page]) if self._counter else []
                        except PageError as error:
                            shown = 0 if item.file.is_single_image else page
                            quarantined.append(Quarantined(file=item.file.path, page=shown, reason=str(error)))
                        else:
                            yield source.kind, stored, members
            except PageError as error:
                quarantined.append(Quarantined(file=item.file.path, page=0, reason=str(error)))

    def _turn_to(self, number: int, page: int | None, skips: Mapping[tuple[int, int | None], str]) -> None:
        if (number, page) in skips:
            raise SourceError(skips[number, page])
        self._on_page(number, page)

    def _read(self, reader: PageReader, page: int) -> StoredPage | None:
        try:
            return reader.read(page)
        except MemoryError as error:
            raise SourceError(f"needs more memory than the limit of {self._options.memory_limit_mb} MiB") from error

    def _recorded(self, counts: Sequence[TextCounts]) -> list[str]:
        """The tokenizer whose counts are recorded; none where not all tokens are supervised: all is counted later."""
        if self._counter is None or any(count.tokens != count.supervised for count in counts):
            return []
        return [self._counter.fingerprint]


def survey_files(job: Job, raw: Path, on_page: OnPage) -> list[RawFile]:
    """The files of a survey job with their pages, in its order; one that cannot be read has 0 pages and the reason."""
    skips = {skip.item: skip.reason for skip in job.skips}
    files: list[RawFile] = []
    for number, item in enumerate(job.items):
        if number in skips:
            files.append(replace(item.file, reason=skips[number]))
            continue
        on_page(number, None)
        files.append(_survey(item.file, raw / item.file.path))
    return files


def _survey(file: RawFile, path: Path) -> RawFile:
    try:
        num_pages, marks = source_of_kind(file.kind).survey(path)
    except PageError as error:
        return replace(file, reason=str(error))
    except OSError as error:
        return replace(file, reason=f"file cannot be read: {error.strerror}")
    except MemoryError:
        return replace(file, reason="needs more memory than a process may use")
    return replace(file, num_pages=num_pages, marks=marks)
