"""Indexing a folder of tars of anyone: each described, what is bad refused or left out, and the rest merged.

What is left out is listed, with its reason, in `index/left_out.jsonl`: a line per sample or tar.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path

from wdstream.errors import ConfigError, ShardError, ShardIndexError
from wdstream.shards.apart.describe_all import describe_all
from wdstream.shards.apart.tar_list import TarList
from wdstream.shards.catalog import INDEX_FOLDER, INDEX_JSON
from wdstream.shards.changed import NOTHING_KNOWN, KnownShards, describe_changed
from wdstream.shards.describe import PLAIN_TAR, ImageSize, TarRules, describe_tar, listed, repacking
from wdstream.shards.index import MAP_FILE, IndexReport, merge_index, metas_in, read_map, shards_in, write_left_out
from wdstream.shards.layout import TAR_SUFFIX, ShardPaths, prefixed_key
from wdstream.shards.meta import ShardEntry, ShardMeta
from wdstream.shards.repeated import RepeatedKey, describe_repeated, find_apart, find_repeated, plain_hashes
from wdstream.storage.atomic import sync_folder, write_file
from wdstream.storage.compression import COMPRESSED_SUFFIXES
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.engines.settings import LOCAL, EngineSettings
from wdstream.text.characters import one_line
from wdstream.text.row_forms import rules_with_map

OnBytes = Callable[[int, int], None]  # (bytes of tar done, bytes of tar in total)
OnFiles = Callable[[Sequence[str]], None]
"""Called with names of files in a folder that are complete; with none, for all that changed or went."""
_REBUILT = "rebuild.tmp"
"""In `index/`: what tars are described as again, until all are; the index that is there stays until then."""
_MAX_FOLDERS = 1000
"""Folders below the shards that are looked into for tars."""


@dataclass(frozen=True, slots=True)
class TarFolder:
    """A folder of tars to be described, written by anyone; idx, meta and `index/` are written next to them.

    Attributes:
        folder: holds the tars, or only what describes them.
        image_size: (width, height) of an image after EXIF rotation, from its bytes; with several workers, a function
            of a module.
        rules: how keys are read, and whether bad tars, and bad or repeated keys, are left out rather than refused.
        workers: processes, or tasks of a cluster at a time; each describes one shard. None for all that there are.
        engine: who describes tars.
        recorded: digests of shards by file name, as who made the shards recorded them.
        on_progress: called after each shard with bytes done and bytes in total.
        tars: those of the set, where they are not in `folder`.
        keep: called with names of files in `folder` that are complete, so that a run after a kill need not make them
            again, where `folder` is a copy of what is elsewhere.
    """

    folder: Path
    image_size: ImageSize
    rules: TarRules = PLAIN_TAR
    _: KW_ONLY
    workers: int | None = 1
    engine: EngineSettings = LOCAL
    recorded: Mapping[str, str] = field(default_factory=dict)
    on_progress: OnBytes | None = None
    tars: TarList | None = None
    keep: OnFiles | None = None

    def index(self, *, rebuild: bool = False, accept_changed: bool = False) -> IndexReport:
        """Describe every tar that has no idx and meta that fit, then merge the index.

        An index that is there lists what its shards were. A shard that is so again is taken without a word, new ones
        are added, and one that is not as it was refuses the whole, so that damage is never indexed. Where all are
        described again, the index and what it was made of stay as they are until all could be.

        Args:
            rebuild: describe all tars again, those that seem complete too.
            accept_changed: take shards as they are now, whatever they were.

        Raises:
            ConfigError: the folder was indexed by another map, and is not rebuilt.
            ForbiddenFileError, StorageFailureError: tars that are elsewhere cannot be read.
            ShardError: when tars are broken or cannot serve as shards, keys are repeated, or shards are not as they
                were, naming all; whatever can be described is by then.
            ShardIndexError: when there is no tar, or no sample with text.
        """
        elsewhere = tuple(_not_read(self.folder)) if self.tars is None else self.tars.skipped
        rules, is_other_map = self._with_map(is_rebuilt=rebuild)
        job = replace(self, rules=rules)
        if is_other_map and not rebuild:
            job._forget()
        known = NOTHING_KNOWN if accept_changed or is_other_map else KnownShards.read(self.folder, self.recorded)
        todo = [name for name in self._there() if rebuild or not job._fits(name, known)]
        with _apart(self.folder, is_wanted=rebuild) as apart:
            broken, changed = job._describe(todo, known, apart)
            changed |= known.gone(self._there())
            if changed:
                raise ShardError(describe_changed(self.folder, changed))
            metas = self._complete_metas(broken, apart)
            repeated = _repeated(metas, rules)
            no_files = _no_files(self.folder) if self.tars is None else {}
            if not rules.skip_bad:
                _refuse_bad(self.folder, broken | no_files, len(todo) + len(no_files), repeated)
            job._leave_out_repeated(metas, repeated, apart)
            _refuse_untrainable(self.folder, metas, (*elsewhere, *sorted(broken.items())))
            if is_other_map and rebuild:
                job._forget()
            for name in broken:
                ShardPaths.of(self.folder / name).meta.unlink(missing_ok=True)  # of better days
            if apart is not None:
                _put_in_place(self.folder, metas, apart)
        report = merge_index(self.folder, tars=self.tars)
        skipped = dict(report.skipped) | broken | no_files | dict(elsewhere)
        report = replace(report, skipped=tuple(sorted(skipped.items())))
        write_left_out(report)
        return report

    def describe_part(self, part: WorkPart, fetch: OnFiles | None = None) -> tuple[int, int]:
        """Describe the tars of one part that have no idx and meta that fit, and leave index and other tars as they are.

        `index` describes what is then missing, and merges all.

        Args:
            part: whose tars, by their places in the list of all.
            fetch: called with names of what may describe them, to be brought to `folder` where they are there.

        Returns:
            How many tars the part has, and how many of them were described now.

        Raises:
            ConfigError: the folder was indexed by another map.
            ShardError: tars are broken, or not as they were, naming all; the others are described.
        """
        rules, is_other_map = self._with_map(is_rebuilt=False)
        if is_other_map:
            raise ConfigError(
                f"part: {self.folder} is described without a map so far; a map is given to the whole, without --part"
            )
        job = replace(self, rules=rules)
        known = KnownShards.read(self.folder, self.recorded)
        own = [name for number, name in enumerate(self._there()) if part.owns(number)]
        if fetch is not None:
            fetch([ShardPaths.of(Path(name)).meta.name for name in own])
        todo = [name for name in own if not job._fits(name, known)]
        broken, changed = job._describe(todo, known, None)
        if changed:
            raise ShardError(describe_changed(self.folder, changed))
        if not rules.skip_bad:
            _refuse_bad(self.folder, broken, len(own), [])
        return len(own), len(todo) - len(broken)

    def _there(self) -> list[str]:
        """Names of the tars, sorted."""
        names = shards_in(self.folder, self.tars)
        if self.tars is not None:
            return [name for name in names if name in self.tars.sizes]
        return [name for name in names if (self.folder / name).is_file()]

    def _num_bytes(self, name: str) -> int:
        """How many a tar has, wherever it is."""
        return (self.folder / name).stat().st_size if self.tars is None else self.tars.sizes[name]

    def _lacks_idx(self, name: str) -> bool:
        """Whether the tar is elsewhere, where its idx belongs, and is not."""
        tars = self.tars
        return tars is not None and not tars.address and ShardPaths.of(Path(name)).idx.name not in tars.others

    def _with_map(self, *, is_rebuilt: bool) -> tuple[TarRules, bool]:
        """The rules with the map that the folder's index has, where none is given; and whether it is another one now.

        Raises:
            ConfigError: it is another one, and the tars are not to be read again.
        """
        folder, rules = self.folder, self.rules
        before, given = read_map(folder), rules.rows.field_map
        if given is None:
            return (replace(rules, rows=rules_with_map(rules.rows, before)) if before else rules), False
        if str(given) == before:
            return rules, False
        if (folder / INDEX_FOLDER / INDEX_JSON).exists() and not is_rebuilt:
            was = f"by the map {before}" if before else "without a map"
            raise ConfigError(f"{folder} was indexed {was}, not by {given}: give --rebuild, which reads all tars again")
        return rules, True

    def _forget(self) -> None:
        """Make the map of the rules that of the folder: what is there by another one goes first, so that after a kill
        nothing is there that is not by the map that is there."""
        for name in shards_in(self.folder, self.tars):
            ShardPaths.of(self.folder / name).meta.unlink(missing_ok=True)
        (self.folder / INDEX_FOLDER).mkdir(exist_ok=True)
        (self.folder / INDEX_FOLDER / INDEX_JSON).unlink(missing_ok=True)
        write_file(self.folder / INDEX_FOLDER / MAP_FILE, f"{self.rules.rows.field_map}\n".encode())
        if self.keep is not None:
            self.keep(())

    def _describe(
        self, todo: Sequence[str], known: KnownShards, apart: Path | None
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Describe tars; the troubles of those that are broken, and of those that are not as they were, by name."""
        broken: dict[str, str] = {}
        changed: dict[str, str] = {}
        total, done = sum(map(self._num_bytes, todo)), 0
        tars = [self.folder / name for name in todo]
        places = None if self.tars is None else self.tars.all()
        described = describe_all(tars, self.image_size, self.workers, self.rules, known, apart, places, self.engine)
        for tar, troubles in described:
            done += self._num_bytes(tar.name)
            if troubles:
                (changed if known.of(tar) else broken)[tar.name] = "\n".join(troubles)
            elif apart is None and self.keep is not None:
                paths = ShardPaths.of(tar)
                self.keep([path.name for path in (paths.idx, paths.meta) if path.is_file()])
            if self.on_progress is not None:
                self.on_progress(done, total)
        return broken, changed

    def _fits(self, name: str, known: KnownShards) -> bool:
        """Whether a tar is described, as what is known of it, with keys of the form that is asked for."""
        try:
            meta = metas_in(self.folder, self.tars)(name)
        except ShardError:
            return False
        digests = known.of(self.folder / name)
        if self._lacks_idx(name) or (digests and meta.digest not in digests):
            return False
        return not self.rules.prefix_keys or _has_prefix(name, meta)

    def _complete_metas(self, broken: Mapping[str, str], apart: Path | None) -> dict[str, ShardMeta]:
        """The meta of each shard that is complete, by file name; a broken one may have files of better days."""
        metas: dict[str, ShardMeta] = {}
        load = metas_in(self.folder, self.tars, apart)
        for name in shards_in(self.folder, self.tars):
            try:
                if name not in broken:
                    metas[name] = load(name)
            except ShardError:
                continue  # the merge reports it
        return metas

    def _leave_out_repeated(
        self, metas: dict[str, ShardMeta], repeated: Sequence[RepeatedKey], apart: Path | None
    ) -> None:
        """Describe again each tar with a key that an earlier one has, without it."""
        reasons: dict[str, dict[str, str]] = {}
        for key in repeated:
            for name in key.left_out:
                reasons.setdefault(name, {})[self.rules.key(name, key.key)] = key.describe()
        for name, left_out in reasons.items():
            before = {failure.key: failure.reason for failure in metas[name].failures}
            metas[name] = describe_tar(
                self.folder / name,
                self.image_size,
                self.rules,
                left_out=before | left_out,
                known={metas[name].digest},  # the rest of the tar is to be as it was
                described_in=apart,
                elsewhere=None if self.tars is None else self.tars.of(name),
            )


@contextmanager
def _apart(folder: Path, *, is_wanted: bool) -> Iterator[Path | None]:
    """A folder for the descriptions of tars that are described again; None where none is wanted."""
    apart = folder / INDEX_FOLDER / _REBUILT
    shutil.rmtree(apart, ignore_errors=True)  # of a run that was killed
    if not is_wanted:
        yield None
        return
    apart.mkdir(parents=True)
    try:
        yield apart
    finally:
        shutil.rmtree(apart, ignore_errors=True)


def _put_in_place(folder: Path, names: Iterable[str], apart: Path) -> None:
    """Take what tars are described as now. After a kill, what does not fit the index that is there is described again
    as it lists it."""
    for name in names:
        now, before = ShardPaths.of(folder / name, apart), ShardPaths.of(folder / name)
        if now.idx.is_file():
            now.idx.replace(before.idx)
        now.meta.replace(before.meta)
    sync_folder(folder)


def _has_prefix(name: str, meta: ShardMeta) -> bool:
    """Whether the keys of a tar have its name before them."""
    keys = [meta.key(0)] if meta.num_samples else [failure.key for failure in meta.failures]
    return all(key.startswith(prefixed_key(name, "")) for key in keys)


def _repeated(metas: Mapping[str, ShardMeta], rules: TarRules) -> list[RepeatedKey]:
    """Keys that several tars have; where keys get a prefix, only those of images and texts in tars of their own."""
    if not metas:
        return []
    entries = [ShardEntry.of(name, meta) for name, meta in metas.items()]
    found = find_repeated(metas.__getitem__, entries, [plain_hashes(name, meta) for name, meta in metas.items()])
    are_prefixed = {name for name, meta in metas.items() if _has_prefix(name, meta)}
    return [key for key in found if key.are_apart or not are_prefixed.issuperset(key.shards)] + [*find_apart(metas)]


def _no_files(folder: Path) -> dict[str, str]:
    """What is called a tar and is neither a file nor a folder, with what it is."""
    found = {}
    for path in folder.glob("*" + TAR_SUFFIX):
        if not path.exists():
            found[path.name] = f"{path} is a link to nothing that can be read"
        elif not path.is_file() and not path.is_dir():
            found[path.name] = f"{path} is a pipe, a socket or a device, not a file"
    return found


def _refuse_bad(folder: Path, broken: Mapping[str, str], num_tars: int, repeated: Sequence[RepeatedKey]) -> None:
    """All that is bad in one message.

    Raises:
        ShardError: there is something.
    """
    if broken:
        lines = [line.strip() for name in sorted(broken) for line in broken[name].split("\n")]
        more = f"\n{describe_repeated(repeated)}" if repeated else ""
        raise ShardError(
            f"{folder}: {len(broken)} of {num_tars} tars cannot be indexed:{listed(lines)}{more}\n"
            "mend them, or leave out what is bad, and list it, with --skip-bad"
        )
    if repeated:
        raise ShardError(f"{folder}: {describe_repeated(repeated)}")


def _refuse_untrainable(folder: Path, metas: Mapping[str, ShardMeta], skipped: Sequence[tuple[str, str]]) -> None:
    """Nothing trainable is an error: no sample at all, or none with text."""
    samples = sum(meta.num_samples for meta in metas.values())
    if any(meta.columns["text_chars"].any() for meta in metas.values()):
        return
    reasons = [f"{name}: {reason}" for name, reason in skipped]
    reasons += [f"{name}: {one_line(bad.key)}: {bad.reason}" for name, meta in metas.items() for bad in meta.failures]
    if samples:
        what = f"none of its {samples:,} samples has text, so there is nothing to train on: text is in txt or json"
    elif metas or skipped:
        what = "no sample of these tars can be used"
    else:
        what = "no tar at all; write shards with `wdstream make-shards`, or give a folder of tars of others"
    raise ShardIndexError(f"{folder}: {what}{listed(reasons)}")


def _not_read(folder: Path) -> Iterator[tuple[str, str]]:
    """What looks like shards, but is not read: compressed tars next to the others, and tars in folders below."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name.lower().endswith(COMPRESSED_SUFFIXES):
            yield path.name, f"compressed: {repacking(folder)}, or stream it (data.streaming)"
        elif path.name.lower().endswith(TAR_SUFFIX) and not path.name.endswith(TAR_SUFFIX):
            yield path.name, f"a shard's name ends in {TAR_SUFFIX}, in lower case: rename it"
    for count, (place, folders, names) in enumerate(os.walk(folder)):
        folders[:] = sorted(name for name in folders if name != INDEX_FOLDER)
        tars = [name for name in names if name.endswith(TAR_SUFFIX) or name.lower().endswith(COMPRESSED_SUFFIXES)]
        if tars and count:
            name = f"{Path(place).relative_to(folder)}/"
            yield (
                name,
                f"{len(tars)} tars in a folder below are not read: index {folder / name} by itself, or move them",
            )
        if count >= _MAX_FOLDERS:
            break
