"""`wdstream reshard`: pages of indexed shards into new shards, of another size, chosen, sorted, shuffled or uniform.

indexes ─► choose and order ─► cut ─► write, a process per shard ─► index, token columns ─► compare with the input
choice.py                            write_shards.py                                        here
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from wdstream.curation.resharding.choice import Choice, choose, common_rule, common_tokenizers, open_inputs
from wdstream.curation.resharding.exclude_list import excluded
from wdstream.curation.resharding.job_folder import JobFolder, digest_of
from wdstream.curation.resharding.job_output import JobOutput, job_output, make_pieces
from wdstream.curation.resharding.reshard_options import ReshardOptions
from wdstream.curation.resharding.set_form import SetForm, write_card
from wdstream.curation.resharding.write_shards import ShardTask, cut_shards, is_written, tasks_of, write_shard
from wdstream.errors import ConfigError, ShardError, ShardIndexError
from wdstream.plan.held_out import HoldOutRule
from wdstream.records import Bools
from wdstream.shards.apart.tar_list import list_tars
from wdstream.shards.catalog import INDEX_FOLDER, INDEX_JSON
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards
from wdstream.shards.token_columns import keep_rule, write_paragraphs, write_token_column
from wdstream.storage.engines.mapping import on_every_machine, sets_on_every_machine
from wdstream.storage.engines.part import PartDone, refuse_missing_pieces
from wdstream.storage.engines.part_locks import number_of_parts
from wdstream.storage.engines.settings import HOW_ONLY

_VERSION = 1
_ROWS_AT_ONCE = 4096
_SHOWN_KEYS = 5
_COMPARED = ("num_images", "text_bytes", "text_chars", "starts_with_text")

OnShardWritten = Callable[[int, int], None]
"""Called after each shard, with pages done and pages in total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReshardReport:
    """What reshard wrote.

    Attributes:
        out: the folder.
        num_input: pages of all inputs.
        num_pages: pages of the output.
        num_shards: of the output.
        num_bytes: of its tars.
        digest: over keys, sizes and texts of all pages in their order, equal in input and output.
        notes: what is not as it was: token columns that were left out, say.
    """

    out: Path | str
    num_input: int
    num_pages: int
    num_shards: int
    num_bytes: int
    digest: str
    notes: tuple[str, ...]

    def print(self, console: Console) -> None:
        """A line of figures, and the notes."""
        console.print(
            f"{self.out}: {self.num_pages:,} of {self.num_input:,} pages in {self.num_shards:,} shards, "
            f"{self.num_bytes / 1e6:,.1f} MB; each is there once, compared with the input (digest {self.digest})",
            highlight=False,
            soft_wrap=True,
        )
        for note in self.notes:
            console.print(note, markup=False, highlight=False, soft_wrap=True)


def reshard(
    paths: Sequence[Path | str],
    out: Path | str,
    *,
    options: ReshardOptions | None = None,
    on_progress: OnShardWritten | None = None,
) -> ReshardReport:
    """Write pages of indexed shards into new shards with an index.

    The same input and options give the same bytes, whatever the number of processes. Killed at any moment and started
    again, it continues after the last complete shard, and ends with those bytes.

    Args:
        paths: folders or URLs of shards with an index.
        out: folder or URL of the new shards; new, or one that the same job had begun.
        options: see `ReshardOptions`.
        on_progress: called after each shard.

    Raises:
        ConfigError: options, inputs or output cannot be used; folders have equal keys.
        ShardError: a page cannot be read, or the output not be written.
    """
    options = options or ReshardOptions()
    if options.own_part is not None:
        raise ConfigError("part: reshard makes the whole; reshard_part makes a part of it")
    with job_output(out, "reshard", paths, options, manifest=f"{INDEX_FOLDER}/{INDEX_JSON}") as output:
        report = _reshard(_ReshardJob(paths, output, options), on_progress)
    return replace(report, out=output.address, notes=tuple(map(output.as_output, report.notes)))


def _reshard(job: "_ReshardJob", on_progress: OnShardWritten | None) -> ReshardReport:
    options, choice, folder = job.options, job.choice, job.folder
    with folder.claimed(job.content()):
        if options.merges:
            job.merge_parts()
        num_bytes, form = job.write(on_progress)
        notes = _write_index(folder, choice, job.rule)
        if options.uniform:
            notes += write_card(folder.out, form, num_pages=len(choice), num_bytes=num_bytes)
        has_rule = job.rule is not None
        digest = _compare(choice, Shards.open(folder.out), has_keys=not options.prefix_keys, has_rule=has_rule)
    return ReshardReport(
        out=folder.out,
        num_input=sum(len(given.shards) for given in choice.inputs),
        num_pages=len(choice),
        num_shards=len(job.cuts),
        num_bytes=num_bytes,
        digest=digest,
        notes=(*job.remarks, *notes),
    )


def reshard_part(
    paths: Sequence[Path | str], out: Path | str, *, options: ReshardOptions, on_progress: OnShardWritten | None = None
) -> PartDone:
    """Write the new shards of one part of `reshard`, next to other parts or to a folder of its own.

    Raises:
        ConfigError: `options` ask for no part; and as `reshard`.
        ShardError: as `reshard`.
    """
    part = options.require_part("reshard_part", of="reshard")
    with job_output(out, "reshard", paths, options, manifest=f"{INDEX_FOLDER}/{INDEX_JSON}") as output:
        job = _ReshardJob(paths, output, options)
        with job.folder.claimed(job.content()):
            job.write(on_progress)
    cuts = [cut for number, cut in enumerate(job.cuts) if part.owns(number)]
    return PartDone(
        out=output.address, part=part, num_shards=len(cuts), num_pages=sum(cut.stop - cut.start for cut in cuts)
    )


class _ReshardJob:
    """What is to be written where, decided from the indexes alone."""

    def __init__(self, paths: Sequence[Path | str], output: JobOutput, options: ReshardOptions) -> None:
        self.options = options
        out = on_every_machine(output.path, options)
        self.folder = JobFolder(out=out, job="reshard", part=options.own_part, store=output.store)
        self.folder.refuse_inside(paths)
        inputs = open_inputs(sets_on_every_machine(paths, options))
        self.remarks: list[str] = []
        self.choice = choose(
            inputs,
            where=options.where,
            split=options.split,
            keep=None if options.exclude_list is None else partial(_not_on, options.exclude_list, self.remarks),
            sort=options.sort,
            shuffle_seed=options.seed if options.shuffle else None,
        )
        self.rule = _rule(self.choice, options)
        if not options.prefix_keys:
            _refuse_equal_keys(self.choice)
        self.cuts = list(cut_shards(self.choice.column("nbytes"), options.shard_bytes, options.pages))

    def content(self) -> dict[str, object]:
        """What decides the bytes of the output."""
        return _content(self.choice, self.cuts, self.options, self.rule)

    def merge_parts(self) -> None:
        """Bring what parts wrote elsewhere.

        Raises:
            ShardError: shards are missing.
        """
        places = self.options.merge_from
        self.folder.bring(places, lambda name: [name, f"{name}.idx", f"{name.removesuffix('.tar')}.meta.npz"])
        missing = [task.number for task in self._tasks() if not is_written(task)]
        of = number_of_parts([self.folder.state])
        refuse_missing_pieces(self.folder.out, missing, len(self.cuts), of)

    def write(self, on_progress: OnShardWritten | None) -> tuple[int, SetForm]:
        """Write all shards, or those of a part; returns bytes of their tars, and what samples of uniform ones have."""
        options, folder = self.options, self.folder
        total = sum(task.row.size for task in self._tasks())
        num_bytes, done, form = 0, 0, SetForm()
        inputs = [given.shards.path for given in self.choice.inputs]
        workers = min(options.num_workers, len(self.cuts)), options.workers
        written = make_pieces(write_shard, self._tasks(), is_written, folder, options, workers, inputs)
        for task, shard in zip(self._tasks(), written, strict=True):
            num_bytes, done = num_bytes + shard.num_bytes, done + task.row.size
            form.merge(shard.form or SetForm())
            if on_progress is not None:
                on_progress(done, total)
        return num_bytes, form

    def _tasks(self) -> Iterator[ShardTask]:
        options, part = self.options, self.options.own_part
        tasks = tasks_of(
            self.choice, self.folder, self.cuts, prefix_keys=options.prefix_keys, is_uniform=options.uniform
        )
        return (task for task in tasks if part is None or part.owns(task.number))


def _not_on(path: Path | str, remarks: list[str], choice: Choice) -> Bools:
    """Which pages stay of those that a list names some of."""
    mask, said = excluded(choice, path)
    remarks += said
    return ~mask


def _content(
    choice: Choice, cuts: Sequence[slice], options: ReshardOptions, rule: HoldOutRule | None
) -> dict[str, object]:
    """What decides the bytes of the output."""
    chosen = options.model_dump(mode="json", exclude={"workers", "exclude_list", "shard_size", *HOW_ONLY})
    return {
        "version": _VERSION,
        **chosen,
        "shard_bytes": options.shard_bytes,
        "input": [given.shards.fingerprint for given in choice.inputs],
        "names": [given.name for given in choice.inputs] if options.prefix_keys else [],
        "pages_chosen": len(choice),
        "shards": len(cuts),
        "held_out": None if rule is None else rule.to_json(),
        "order": digest_of(choice.source.tobytes(), choice.row.tobytes()),
    }


def _refuse_equal_keys(choice: Choice) -> None:
    """Pages of two folders with one key.

    Raises:
        ConfigError: with some of them.
    """
    hashes = choice.column("key_hash")
    order = np.argsort(hashes, kind="stable")
    ranked = hashes[order]
    same = np.flatnonzero(ranked[1:] == ranked[:-1])
    if not len(same):
        return
    shown = []
    for place in same[:_SHOWN_KEYS].tolist():
        first, second = (int(order[place + step]) for step in (0, 1))
        key = choice.inputs[choice.source[first]].shards.key(int(choice.row[first]))
        places = [str(choice.inputs[choice.source[page]].shards.path) for page in (first, second)]
        shown.append(f"\n  {key!r} in {places[0]} and in {places[1]}")
    raise ConfigError(
        f"{len(same):,} keys are in more than one folder:{''.join(shown)}\nput the name of the folder before each key "
        "with --prefix-keys, or leave pages out with --exclude-list"
    )


def _rule(choice: Choice, options: ReshardOptions) -> HoldOutRule | None:
    """The rule by which the output holds pages out: that of the input. None for one side of several rules.

    Raises:
        ConfigError: pages would change sides.
    """
    if options.split != "all":
        rules = {given.shards.catalog.split for given in choice.inputs}
        return None if len(rules) > 1 or options.prefix_keys else rules.pop()
    rule = common_rule(choice.inputs)
    if rule is not None and options.prefix_keys:
        raise ConfigError(
            f"pages are held out ({rule.describe()}), by keys that --prefix-keys changes: they would change sides. "
            "Take one side with --split train or held_out, or hold out again afterwards, of inputs without (`wdstream "
            "split --remove`)"
        )
    return rule


def _write_index(folder: JobFolder, choice: Choice, rule: HoldOutRule | None) -> list[str]:
    """The index over the new shards, with the token columns that all inputs have; returns what there is to say."""
    out, tars = folder.out, list_tars(folder.store, is_next_to_index=True) if folder.store else None
    (out / INDEX_FOLDER).mkdir(exist_ok=True)
    keep_rule(out / INDEX_FOLDER, rule)
    report = merge_index(out, tars=tars)
    known = {name for given in choice.inputs for name in given.shards.catalog.token_fingerprints()}
    common = common_tokenizers(choice.inputs)
    for fingerprint in common:
        _write_tokens(out, choice, fingerprint)
    missing = [
        f"token column {name} is not of all inputs and was left out: run `wdstream lengths {out} --tokenizer PATH`"
        for name in sorted(known.difference(common))
    ]
    return [*report.remarks(), *missing]


def _write_tokens(out: Path, choice: Choice, fingerprint: str) -> None:
    columns = [_paragraphs(given.shards, fingerprint) for given in choice.inputs]
    if all(column is not None for column in columns):
        with write_paragraphs(out, fingerprint) as writer:
            for start in range(0, len(choice), _ROWS_AT_ONCE):
                part = choice.take(slice(start, start + _ROWS_AT_ONCE))
                writer.add([_of_row(columns[s], r) for s, r in zip(part.source, part.row, strict=True)])
    write_token_column(out, fingerprint, choice.tokens(fingerprint), choice.supervised(fingerprint))


def _paragraphs(shards: Shards, fingerprint: str) -> tuple[NDArray[np.int64], NDArray[np.int32]] | None:
    try:
        return shards.paragraphs(fingerprint)
    except ShardIndexError:
        if f"paragraph_start.{fingerprint}" in shards.catalog.columns:
            raise
        return None


def _of_row(column: tuple[NDArray[np.int64], NDArray[np.int32]] | None, row: int) -> list[int]:
    assert column is not None
    starts, tokens = column
    counts: list[int] = tokens[starts[row] : starts[row + 1]].tolist()
    return counts


def _compare(choice: Choice, written: Shards, *, has_keys: bool, has_rule: bool) -> str:
    """That the output holds exactly the chosen pages, in their order; returns the digest of both.

    Raises:
        ShardError: it does not.
    """
    output = Choice(inputs=open_inputs([written.path]), source=np.zeros(len(written), np.int32), row=_all_rows(written))
    if len(output) != len(choice):
        raise ShardError(f"{written.path}: {len(choice):,} pages expected, found {len(output):,}; write it again")
    digests = [_digest(side, has_keys=has_keys, has_rule=has_rule) for side in (choice, output)]
    if digests[0] != digests[1]:
        raise ShardError(
            f"{written.path}: its pages are not those of the input (digest {digests[0]} expected, found {digests[1]}); "
            "remove the folder and write it again"
        )
    return digests[0]


def _digest(choice: Choice, *, has_keys: bool, has_rule: bool) -> str:
    names = (*_COMPARED, "key_hash") if has_keys else _COMPARED
    columns = [choice.column(name) for name in names] + ([choice.held_out()] if has_rule else [])
    return digest_of(*(column.tobytes() for column in (*columns, *choice.first_image())))


def _all_rows(shards: Shards) -> NDArray[np.int64]:
    return np.arange(len(shards), dtype=np.int64)
