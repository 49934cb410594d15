"""`verify_shards`: the whole check in order: index, folder, every tar, duplicates."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from wdstream.errors import ShardIndexError
from wdstream.make_shards.token_counts import TokenCounter
from wdstream.shards.catalog import INDEX_FOLDER, token_column
from wdstream.storage.engines.mapping import map_tasks, on_every_machine
from wdstream.storage.remote import open_storage
from wdstream.verify.duplicates import PageTable
from wdstream.verify.findings import Finding, VerifyReport
from wdstream.verify.index_check import CheckedIndex, check_folder, check_index
from wdstream.verify.options import VerifyOptions
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
    if options.tokenizer is not None:
        options = options.replace(tokenizer=on_every_machine(options.tokenizer, options))
    folder = open_storage(path).local_path("")
    if folder is not None and not folder.is_dir():
        raise ShardIndexError(f"{path}: no such folder of shards")
    index = check_index(path)
    unlisted, findings = check_folder(path, index)
    if not index.shards and not unlisted:
        raise ShardIndexError(f"{path}: no index and no tar that can be read{_reasons(index.findings)}")
    report = VerifyReport(path=str(path), is_deep=options.deep)
    report.add([*index.findings, *findings])
    fingerprint = "" if options.tokenizer is None else TokenCounter.open(options.tokenizer).fingerprint
    column = token_column(fingerprint) if fingerprint else None
    if column is not None and column not in index.columns:
        what = f"no whole column of the tokens of {options.tokenizer}, so there is nothing to compare"
        report.add([Finding(kind="tokens", file=f"{INDEX_FOLDER}/{column}.npy", what=what)])
    table = PageTable()
    total = sum(entry.bytes for entry in index.shards)
    seen = path if folder is None else on_every_machine(folder, options)
    tasks = _tasks(str(seen), index, unlisted, fingerprint, options)
    for result in _checked(tasks, folder, options):
        _count(report, table, result)
        if on_progress is not None:
            on_progress(report.num_bytes, max(total, report.num_bytes))
    report.add(table.findings())
    return report


def _checked(tasks: Iterator[TarTask], folder: Path | None, options: VerifyOptions) -> Iterator[TarResult]:
    needs = [on_every_machine(needed, options) for needed in (folder, options.tokenizer) if needed is not None]
    return map_tasks(
        check_tar, tasks, options, options.num_workers, most=options.workers, needs=needs, command="verify"
    )


def _reasons(findings: Sequence[Finding]) -> str:
    return "".join(f"; {found.line()}" for found in findings)


def _tasks(
    path: str, index: CheckedIndex, unlisted: Sequence[str], fingerprint: str, options: VerifyOptions
) -> Iterator[TarTask]:
    """A task for each tar, made when it is asked for; `fingerprint` is of the tokenizer whose counts are compared."""
    column = token_column(fingerprint) if fingerprint else None
    for number, entry in enumerate(index.shards):
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
    for name in unlisted:
        yield TarTask(path=path, tars=index.tars, name=name, entry=None, rows=None, tokens=None, options=options)


def _count(report: VerifyReport, table: PageTable, result: TarResult) -> None:
    report.num_shards += 1
    report.add_counts(result)
    report.add(result.findings)
    table.add(result.name, result.keys, result.marks)
