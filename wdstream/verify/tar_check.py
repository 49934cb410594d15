"""One tar: its structure from header to header, its idx and meta, then every sample against the index and by itself.

A function of one task, which runs in processes: everything it needs is in the task, everything it found in the result.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import AbsentFileError, ForbiddenFileError, PageError, ShardError, StorageFailureError
from wdstream.make_shards.token_counts import TokenCounter
from wdstream.records import Page
from wdstream.shards.layout import KeyRule, SampleSpan, ShardPaths, group_samples, prefixed_key
from wdstream.shards.meta import ShardEntry, ShardMeta, parse_meta, split_indexed
from wdstream.shards.page_members import page_from_members
from wdstream.shards.tar_header import BLOCK_SIZE, ZERO_BLOCK, Member, ReadAt, refuse_rest, walk
from wdstream.shards.writer import SampleEntry
from wdstream.storage.ahead import ReadAhead
from wdstream.storage.local import ByteRange, Storage
from wdstream.storage.remote import open_storage
from wdstream.text.row_forms import DEFAULT_RULES, rules_with_map
from wdstream.text.script import script_of
from wdstream.verify.findings import Finding, ReadCounts
from wdstream.verify.options import VerifyOptions
from wdstream.verify.page_check import PageMarks, all_text, marks_of, odd_text, opened_images

_TAIL_BYTES = 1 << 20
_BEYOND = 1 << 62
_DONE = _BEYOND + 1
Rows = Mapping[str, NDArray[np.generic]]
"""Columns of one shard, by name; `image_width` and `image_height` of all its images, the rest of its samples."""


_OF_BYTES = frozenset({"tar", "checksum", "sample", "image", "tokens"})
"""Kinds of what is found where bytes of a tar are not what they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TarTask:
    """A tar to check.

    Attributes:
        path: folder or URL of the index, and of what describes the tars.
        tars: folder or URL of the tars.
        name: of the tar.
        entry: what `index.json` says of it; None where it is not listed.
        rows: its rows of the index's columns; None where they are damaged, or there are none.
        tokens: (n,) tokens of each sample, to be counted again; None to leave that out.
        fingerprint: of the tokenizer that is to count them, wherever this is done.
        options: what to look at.
        field_map: by which its samples are read, as text.
    """

    path: str
    tars: str
    name: str
    entry: ShardEntry | None
    rows: Rows | None
    tokens: NDArray[np.int32] | None
    options: VerifyOptions
    field_map: str = ""
    fingerprint: str = ""


@dataclass(slots=True, kw_only=True)
class TarResult(ReadCounts):
    """What was read and found in a tar.

    Attributes:
        name: of the tar.
        findings: in the order of the tar.
        keys: of the samples that can be compared; `marks` are theirs.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    marks: list[PageMarks] = field(default_factory=list)


def check_tar(task: TarTask) -> TarResult:
    """Read a tar once, and say all that is wrong with it.

    Whatever its bytes are, nothing is raised because of them; where it cannot be read, that is what is found.
    """
    check = _TarCheck(task)
    check.run()
    if check.is_remote and any(found.kind in _OF_BYTES for found in check.result.findings):
        check = _TarCheck(task, is_doubted=True)  # each byte twice: it may have been damaged on its way
        check.run()
    return check.result


class _TarCheck:
    """The checks of one tar, and what they need of each other."""

    def __init__(self, task: TarTask, *, is_doubted: bool = False) -> None:
        self._is_doubted = is_doubted
        self.result = TarResult(name=task.name)
        self._task = task
        self._rules = rules_with_map(DEFAULT_RULES, task.field_map)
        self._described: Storage = open_storage(task.path)
        self._storage: Storage = open_storage(task.tars)
        self._read: ReadAt = self._read_again
        self._meta: ShardMeta | None = None
        self._companions: dict[str, bytes | None] = {}

    def run(self) -> None:
        try:
            self._check()
        except (ForbiddenFileError, StorageFailureError) as error:
            self._find("not readable", f"{error}; what comes after that place was not looked at")

    @property
    def is_remote(self) -> bool:
        """Whether the tar is not a file of this machine."""
        return self._storage.local_path("") is None

    def _is_there(self) -> bool:
        """Whether there is a tar; its size is compared with the one listed."""
        task = self._task
        try:
            self.result.num_bytes = self._storage.size(task.name) or 0
        except AbsentFileError as error:
            self._find("tar", f"{error}, though the index lists it")
            return False
        if task.entry is not None and self.result.num_bytes != task.entry.bytes:
            self._find("tar", f"{task.entry.bytes} bytes expected, found {self.result.num_bytes}: cut off or changed")
        return True

    def _check(self) -> None:
        if not self._is_there():
            return
        if not self.is_remote:
            self._check_samples()
            return
        name, size = self._task.name, self.result.num_bytes
        with ReadAhead(self._storage.read, name, size, is_in_clear=self._is_doubted) as ahead:
            self._read = ahead.read  # the whole tar once, front to back
            self._check_samples()

    def _check_samples(self) -> None:
        """The structure, and each row as soon as it was passed, so that a tar at a URL is read once."""
        rows = self._task.rows if self._task.rows is not None else self._rows_of_meta()
        checks = _Passed(self._row_checks(rows) if rows is not None else iter(()))
        found, of_rows = self.result.findings, list[Finding]()

        def check_passed(place: int) -> None:
            self.result.findings = of_rows
            checks.advance(place)
            self.result.findings = found

        spans, end = self._structure(check_passed)
        self._check_companions(spans, end)
        check_passed(_BEYOND)
        found += of_rows
        if rows is None:
            for span in spans:
                self._check_span(span)
        else:
            self._check_unlisted(spans, set(np.asarray(rows["offset"]).tolist()))

    def _check_unlisted(self, spans: list[SampleSpan], known: set[int]) -> None:
        """Samples that the index does not have: the meta says which were left out. Where there is none, nothing does,
        but the tar has the size that the index lists."""
        left_out = {failure.key for failure in self._meta.failures} if self._meta is not None else set()
        for span in spans:
            if span.offset in known:
                continue
            if self._is_bare() or left_out & {span.key, prefixed_key(self._task.name, span.key)}:
                self.result.num_left_out += 1
            else:
                self._find("not indexed", f"a sample at byte {span.offset} that the index does not have", key=span.key)

    def _structure(self, on_passed: Callable[[int], None]) -> tuple[list[SampleSpan], int]:
        """The samples of the tar as its headers have them, and where they end; up to where it is broken."""
        size, read = self.result.num_bytes, self._read
        members: list[Member] = []
        try:
            for member in walk(read, 0, size):
                members.append(member)  # those before the place where it is broken stay in the list
                on_passed(member.end)
            end = members[-1].end if members else 0
            if read(end, BLOCK_SIZE) != ZERO_BLOCK:
                raise ShardError(f"no end-of-archive block at byte {end} of {size}: truncated")
            for start in range(end, size, _TAIL_BYTES):
                refuse_rest(read(start, _TAIL_BYTES))
        except (ForbiddenFileError, StorageFailureError):
            raise
        except ShardError as error:
            self._find("tar", str(error))
        end = members[-1].end if members else 0
        rule: KeyRule = "dotted" if self._has_dotted_keys() else "webdataset"
        return list(group_samples(members, rule)), end

    def _has_dotted_keys(self) -> bool:
        meta = self._load_meta()
        return meta is not None and any("." in meta.key(row).rpartition("/")[2] for row in range(meta.num_samples))

    def _load_meta(self) -> ShardMeta | None:
        """The shard's meta, where it is there and can be read."""
        name = ShardPaths.of(Path(self._task.name)).meta.name
        if name not in self._companions and (data := self._companion(name)) is not None:
            with suppress(ShardError):
                self._meta = parse_meta(data, name, self._task.path)
        return self._meta

    def _is_bare(self) -> bool:
        """Whether the tar is at a URL, and nothing that describes it."""
        return self._described.local_path("") is None and self._load_meta() is None

    def _check_companions(self, spans: list[SampleSpan], end: int) -> None:
        """idx and meta next to the tar: there, whole, and those of this tar. At a URL they need not be there."""
        paths, entry, meta = ShardPaths.of(Path(self._task.name)), self._task.entry, self._load_meta()
        stored = self._companion(paths.meta.name)
        idx = self._companion(paths.idx.name) if self._task.tars == self._task.path else None
        for path in (paths.idx, paths.meta):
            local = self._described.local_path(path.name)
            if local is not None and path.name in self._companions and not local.is_file():
                self._find("meta", "is not there", file=path.name)
        if meta is None and stored is not None:
            self._find("meta", "is damaged, or of another version", file=paths.meta.name)
        if meta is not None and entry is not None and meta.digest != entry.digest:
            self._find("meta", f"its digest is {meta.digest}, {entry.digest} listed in the index", file=paths.meta.name)
        elif meta is not None and stored is not None and not meta.is_stored_as(stored):
            self._find(
                "meta", "its arrays are whole, but its bytes are not those that were written", file=paths.meta.name
            )
        wanted = np.asarray([*(span.offset for span in spans), end], "<u8").tobytes()
        if idx is not None and idx != wanted:
            self._find("meta", "its offsets are not those of the tar's samples", file=paths.idx.name)

    def _companion(self, name: str) -> bytes | None:
        """The bytes of a file next to the tar; None where it is not there, or cannot be read, which is found."""
        if name not in self._companions:
            self._companions[name] = None
            try:
                self._companions[name] = self._described.read_file(name)
            except AbsentFileError:
                pass
            except ShardError as error:
                self._find("not readable", str(error), file=name)
        return self._companions[name]

    def _rows_of_meta(self) -> Rows | None:
        meta, entry = self._load_meta(), self._task.entry
        is_listed = meta is not None and (entry is None or meta.digest == entry.digest)
        return meta.columns if meta is not None and is_listed else None

    def _row_checks(self, rows: Rows) -> Iterator[int]:
        """The end of each sample that the index has, in order; it is checked when the next one is asked for."""
        ends = np.asarray(rows["offset"]) + np.asarray(rows["nbytes"])
        first_image = np.concatenate([[0], np.cumsum(np.asarray(rows["num_images"], np.int64))])
        for row, end in enumerate(ends.tolist()):
            yield end
            self._check_row(rows, row, slice(first_image[row], first_image[row + 1]))

    def _check_row(self, rows: Rows, row: int, images: slice) -> None:
        """A sample's checksum, then its content compared with what the index says."""
        offset, nbytes, crc, key_hash = (int(rows[name][row]) for name in ("offset", "nbytes", "crc", "key_hash"))
        data = self._read(offset, nbytes)
        if len(data) != nbytes or zlib.crc32(data) != crc:
            data = self._read_again(offset, nbytes)  # of a URL: it may have been damaged on its way
        if len(data) != nbytes or zlib.crc32(data) != crc:
            what = f"checksum {crc:08x} expected of {nbytes} bytes at byte {offset}, found {zlib.crc32(data):08x}"
            self._find("checksum", what, key=self._key_of_row(row))
            return
        try:
            key, members = split_indexed(data, self._task.name, key_hash)
            page = page_from_members(key, members, rules=self._rules)
        except (ShardError, PageError) as error:
            self._find("sample", str(error), key=self._key_of_row(row))
            return
        widths, heights = (np.asarray(rows[name][images]).tolist() for name in ("image_width", "image_height"))
        counts = {name: int(rows[name][row]) for name in ("text_bytes", "text_chars", "starts_with_text")}
        self._check_page(page, expected=(list(zip(widths, heights, strict=True)), counts), row=row)

    def _read_again(self, offset: int, length: int) -> bytes:
        """Bytes of the tar by a request of their own."""
        return self._storage.read(ByteRange(name=self._task.name, offset=offset, length=length))

    def _check_span(self, span: SampleSpan) -> None:
        """A sample that no row describes."""
        data = self._read(span.offset, span.end - span.offset)
        try:
            if span.fault:
                raise PageError(span.fault)
            members = {
                extension: data[member.data_offset - span.offset :][: member.size]
                for extension, member in span.members.items()
            }
            page = page_from_members(span.key, members, rules=self._rules)
        except PageError as error:
            self._find("sample", str(error), key=span.key)
            return
        self._check_page(page)

    def _check_page(
        self, page: Page, *, expected: tuple[list[tuple[int, int]], dict[str, int]] | None = None, row: int = -1
    ) -> None:
        """What a page holds, by itself and against its row."""
        result = self.result
        result.num_samples += 1
        result.num_images += len(page.images)
        result.num_without_image += not page.images
        result.scripts[script_of(all_text(page))] += 1
        for kind, what in odd_text(page):
            self._find(kind, what, key=page.key)
        try:
            sizes, pixels, too_large = opened_images(page, self._task.options)
        except PageError as error:
            self._find("image", str(error), key=page.key)
            return
        for what in too_large:
            self._find("not decoded", what, key=page.key)
        if expected is not None:
            for what in _differences(SampleEntry.of(page, sizes), *expected):
                self._find("sample", what, key=page.key)
            self._check_tokens(page, row)
        result.keys.append(page.key)
        result.marks.append(marks_of(page, pixels))

    def _check_tokens(self, page: Page, row: int) -> None:
        task = self._task
        if task.tokens is None or task.options.tokenizer is None:
            return
        try:
            found = _counter(task.options.tokenizer, task.fingerprint).count([page])[0].tokens
        except PageError as error:
            self._find("tokens", str(error), key=page.key)
            return
        if found != int(task.tokens[row]):
            self._find("tokens", f"{task.tokens[row]} tokens in the index, its text has {found}", key=page.key)

    def _key_of_row(self, row: int) -> str:
        meta = self._load_meta()
        return meta.key(row) if meta is not None and row < meta.num_samples else f"sample {row} of the tar"

    def _find(self, kind: str, what: str, *, key: str = "", file: str | None = None) -> None:
        self.result.findings.append(Finding(kind=kind, file=file or self._task.name, key=key, what=what))


class _Passed:
    """Checks of rows, each done when its end was passed."""

    def __init__(self, checks: Iterator[int]) -> None:
        self._checks = checks
        self._end = next(checks, _DONE)

    def advance(self, place: int) -> None:
        """Do the checks of all rows that end here or before."""
        while self._end <= place:
            self._end = next(self._checks, _DONE)


def _differences(entry: SampleEntry, sizes: list[tuple[int, int]], counts: Mapping[str, int]) -> Iterator[str]:
    """What a page has otherwise than its row says."""
    if list(entry.image_sizes) != sizes:
        yield f"images of {sizes} in the index, its own are {list(entry.image_sizes)}"
    for name, expected in counts.items():
        found = int(getattr(entry, name))
        if found != expected:
            yield f"{name} {expected} in the index, its own is {found}"


@lru_cache(maxsize=1)
def _counter(tokenizer: Path, fingerprint: str) -> TokenCounter:
    return TokenCounter.open_same(tokenizer, fingerprint)
