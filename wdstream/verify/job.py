"""`verify_shards`: the whole check in order: index, folder, every tar, duplicates."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from wdstream.errors import ConfigError, ShardIndexError
from wdstream.make_shards.token_counts import TokenCounter
from wdstream.shards.catalog import INDEX_FOLDER, token_column
from wdstream.storage.engines.mapping import map_tasks, on_every_machine
from wdstream.storage.engines.part import PartDone
from wdstream.storage.remote import open_storage
from wdstream.verify.duplicates import PageTable
from wdstream.verify.findings import Finding, ReadCounts, VerifyReport
from wdstream.verify.index_check import CheckedIndex, check_folder, check_index
from wdstream.verify.options import VerifyOptions
from wdstream.verify.parts import digest_of_check, keep_results, kept_results
from wdstream.verify.tar_check import TarResult, TarTask, check_tar

OnTarRead = Callable[[int, int], None]
"""Called after each tar, with bytes done and bytes in total."""


def verify_shards(
    path: Path | str, *, options: VerifyOptions | None = None, on_progress: OnTarRead | None = None
) -> VerifyReport:
    """Read shards from end to end, and say all that is wrong with them. Nothing is written.

    Args:
        path: a folder of shards, or a URL with an index.
        options: see VerifyOptions.
        on_progress: called after each tar.

    Raises:
        ShardIndexError: there is no such folder, or nothing in it.
        ConfigError: the tokenizer cannot be read.
        ShardError: a process was lost.
    """
    options = options or VerifyOptions()
    if options.own_part is not None:
        raise ConfigError("part: verify_shards makes the whole report; verify_part does a part of it")
    job = _VerifyJob(path, options)
    report = VerifyReport(path=str(path), is_deep=options.deep)
    report.add([*job.index.findings, *job.findings])
    table = PageTable()
    with kept_results(job.places, job.digest, job.num_tars) if options.merges else nullcontext(job.check()) as results:
        for result in results:
            report.num_shards += 1
            report.add_counts(result)
            report.add(result.findings)
            table.add(result.name, result.keys, result.marks)
            if on_progress is not None:
                on_progress(report.num_bytes, max(job.num_bytes(), report.num_bytes))
    report.add(table.findings())
    return report


def verify_part(path: Path | str, *, options: VerifyOptions, on_progress: OnTarRead | None = None) -> PartDone:
    """Read the tars of one part, and keep what is found at `options.results`; the merge of all parts is the report.

    Raises:
        ConfigError: `options` ask for no part; and as `verify_shards`.
        ShardIndexError, ShardError: as there.
    """
    part = options.require_part("verify_part", of="verify_shards")
    assert options.results is not None, "the options see to it"
    job, counts, num_shards = _VerifyJob(path, options), ReadCounts(), 0
    for result in keep_results(options.results, part, job.digest, job.check()):
        num_shards += 1
        counts.add_counts(result)
        if on_progress is not None:
            on_progress(counts.num_bytes, max(job.num_bytes(), counts.num_bytes))
    return PartDone(out=options.results, part=part, num_shards=num_shards, num_pages=counts.num_samples)


class _VerifyJob:
    """What is to be checked.

    Attributes:
        index: what is listed, and what is wrong with that.
        findings: of the folder.
    """

    def __init__(self, path: Path | str, options: VerifyOptions) -> None:
        if options.tokenizer is not None:
            options = options.replace(tokenizer=on_every_machine(options.tokenizer, options))
        self._options, self._folder = options, open_storage(path).local_path("")
        if self._folder is not None and not self._folder.is_dir():
            raise ShardIndexError(f"{path}: no such folder of shards")
        self._path = str(path if self._folder is None else on_every_machine(self._folder, options))
        self.index = check_index(path)
        self._unlisted, self.findings = check_folder(path, self.index)
        if not self.index.shards and not self._unlisted:
            raise ShardIndexError(f"{path}: no index and no tar that can be read{_reasons(self.index.findings)}")
        self._fingerprint = "" if options.tokenizer is None else TokenCounter.open(options.tokenizer).fingerprint
        column = token_column(self._fingerprint) if self._fingerprint else None
        if column is not None and column not in self.index.columns:
            what = f"no whole column of the tokens of {options.tokenizer}, so there is nothing to compare"
            self.findings.append(Finding(kind="tokens", file=f"{INDEX_FOLDER}/{column}.npy", what=what))

    @property
    def places(self) -> list[str]:
        """Where parts kept what they found."""
        return [*self._options.merge_from] or [str(self._options.results)]

    @property
    def num_tars(self) -> int:
        """How many tars there are, those that are not listed too."""
        return len(self.index.shards) + len(self._unlisted)

    @property
    def digest(self) -> str:
        """Of what all parts are to have in common."""
        entries = [(entry.name, entry.digest, entry.bytes) for entry in self.index.shards]
        options = self._options
        return digest_of_check(entries, self._unlisted, options.deep, options.max_pixels, self._fingerprint)

    def num_bytes(self) -> int:
        """Of the listed tars that are to be read."""
        part = self._options.own_part
        return sum(entry.bytes for number, entry in enumerate(self.index.shards) if part is None or part.owns(number))

    def check(self) -> Iterator[TarResult]:
        """What is found in each tar, in order."""
        options = self._options
        needs = [
            on_every_machine(needed, options) for needed in (self._folder, options.tokenizer) if needed is not None
        ]
        tasks = _tasks(self._path, self.index, self._unlisted, self._fingerprint, options)
        return map_tasks(
            check_tar, tasks, options, options.num_workers, most=options.workers, needs=needs, command="verify"
        )


def _reasons(findings: Sequence[Finding]) -> str:
    return "".join(f"; {found.line()}" for found in findings)


def _tasks(
    path: str, index: CheckedIndex, unlisted: Sequence[str], fingerprint: str, options: VerifyOptions
) -> Iterator[TarTask]:
    """A task for each tar that is to be read, made when it is asked for; `fingerprint` is of the tokenizer whose counts
    are compared."""
    column = token_column(fingerprint) if fingerprint else None
    part = options.own_part
    for number, entry in enumerate(index.shards):
        if part is not None and not part.owns(number):
            continue
        tokens = None if column is None else index.tokens_of(number, column)
        rows = index.rows_of(number)
        yield TarTask(
            path=path,
            tars=index.tars,
            name=entry.name,
            entry=entry,
            rows=rows,
            tokens=tokens,
            fingerprint=fingerprint,
            options=options,
            field_map=index.field_map,
        )
    for number, name in enumerate(unlisted, start=len(index.shards)):
        if part is not None and not part.owns(number):
            continue
        yield TarTask(path=path, tars=index.tars, name=name, entry=None, rows=None, tokens=None, options=options)
