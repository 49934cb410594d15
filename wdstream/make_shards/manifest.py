"""Whose an output folder is: of one job, with these options and this input, and of one process at a time.

`make-shards.json` is the first file written, so that shards of two different jobs can never mix. How far a job is, is
in `.make-shards/`: the survey, and a record of each finished shard.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from wdstream.errors import ConfigError, load_json
from wdstream.make_shards.built_pages import remove_kept
from wdstream.make_shards.engines.part_folder import await_tasks, remove_debris_of
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.make_shards.record import STATE_FOLDER
from wdstream.raw.folder_state import OUTPUT_MARK
from wdstream.raw.listed.files import RawFiles
from wdstream.raw.listing import Listing
from wdstream.raw.page_language import FIND_LANGUAGE, finder_version
from wdstream.raw.plugins.active import plugin_fingerprints
from wdstream.raw.source import RawFile
from wdstream.shards.catalog import INDEX_FOLDER, SPLIT_JSON
from wdstream.shards.index_before import IndexBefore
from wdstream.storage.atomic import TEMP_SUFFIX, atomic_write, remove_unfinished, write_file
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.engines.part_locks import part_lock
from wdstream.storage.json_lines import read_lines
from wdstream.storage.lock import FileLock
from wdstream.text.characters import short_name

JOB_FILE = OUTPUT_MARK
QUARANTINE = "quarantine.jsonl"
_VERSION = 2
"""Of the rules by which raw pages are read. Version 1 had other labels of PDF pages, and fewer forms of rows."""
_SURVEY = "survey.jsonl"
_FILES_PER_LINE = 1024
_LOCK = "lock"
_LOCK_WAIT_S = 10.0
_SHOWN_NAMES = 3
_SHARD_FILE = re.compile(r"shard-(\d{6,})\.(?:tar|tar\.idx|meta\.npz|json)")
_OURS = ("shard-*.tar", "shard-*.tar.idx", "shard-*.meta.npz", JOB_FILE, QUARANTINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What decides the bytes of an output folder: options, and number, size and digest of the input."""

    options: dict[str, object]
    input: dict[str, object]
    version: int = _VERSION

    @classmethod
    def of(cls, options: MakeShardsOptions, listing: Listing) -> "Manifest":
        """The manifest of a job with these options and this input."""
        described = {"files": len(listing.files), "bytes": listing.num_bytes, "digest": listing.digest}
        return cls(options={**options.content(), **programs_of(options, listing)}, input=described)


def programs_of(options: MakeShardsOptions, listing: Listing) -> dict[str, object]:
    """Programs and models that decide the bytes of shards besides the options; with other versions, it is another job.

    Raises:
        ConfigError: one is not installed.
    """
    return programs_for(options, listing.kinds)


def programs_for(options: MakeShardsOptions, kinds: Collection[str]) -> dict[str, object]:
    """`programs_of` for raw files of these kinds, as they are on this machine."""
    plugins = plugin_fingerprints(kinds)
    programs: dict[str, object] = {"plugins": plugins} if plugins else {}
    if options.ocr != "none":
        from wdstream.raw.ocr.pictures import open_ocr

        programs["ocr_engine"] = open_ocr(options).identity
    if options.language == FIND_LANGUAGE:
        programs["language_model"] = finder_version()
    return programs


@contextmanager
def locked(out: Path, part: WorkPart | None = None) -> Iterator[list[int]]:
    """Hold the output folder for the block, or a part of it together with other parts; it is made when it is missing.

    Workers of a job that was killed a moment ago may hold it a little longer, so there is a short wait.

    Yields:
        Descriptors of locks. Workers inherit them and hold the locks, too, so that no new job starts while workers of
        a killed one are at work.

    Raises:
        ConfigError: the folder cannot be written, or another make-shards holds a lock.
    """
    busy = ConfigError(
        f"{out}: another make-shards is at work there, or a change of its index; wait until it has ended"
    )
    path = out / STATE_FOLDER / _LOCK
    lock = FileLock(path, wait_s=_LOCK_WAIT_S, refuse=lambda _: busy, is_shared=part is not None)
    with ExitStack() as stack:
        try:
            (out / STATE_FOLDER).mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock)
            own = [] if part is None else [stack.enter_context(part_lock(out / STATE_FOLDER, part, _LOCK_WAIT_S))]
        except OSError as error:
            raise ConfigError(f"{out}: cannot write there ({error.strerror}); choose another folder") from error
        await_tasks(out, part, _LOCK_WAIT_S)
        yield [lock.fileno(), *own]


def refuse_foreign(out: Path) -> None:
    """Refuse a folder that holds anything but the output of make-shards.

    Raises:
        ConfigError: naming a file that is in the way, or that the path is not a folder.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: expected a folder to write shards to, found a file")
    if not out.is_dir() or (out / JOB_FILE).is_file():
        return
    ours = {STATE_FOLDER, JOB_FILE + TEMP_SUFFIX}  # the first of a job, which was killed before it had its name
    others = sorted(path.name for path in out.iterdir() if path.name not in ours)
    if others:
        raise ConfigError(
            f"{out}: holds {len(others)} files or folders that make-shards did not write "
            f"({short_name(others[0])}, ...); choose a new folder"
        )


def refuse_other_split(out: Path, options: MakeShardsOptions) -> None:
    """Refuse to hold out other pages than those that are: a model may have been trained without them.

    Raises:
        ConfigError: says what is held out; or what is asked for is neither a share nor a number of pages.
    """
    asked, rule = options.hold_out, IndexBefore.read(out).rule()
    if asked is not None and rule is not None and not rule.answers(asked) and not options.overwrite:
        raise ConfigError(
            f"{out} holds out {rule.describe()}, and --holdout asks for other pages: leave it out, which keeps them; "
            f"or change them with `wdstream split {out}`, which says how many pages change sides"
        )


def claim(out: Path, options: MakeShardsOptions, listing: Listing) -> None:
    """Write the manifest, or check that the one that is there says the same.

    With `overwrite`, or where a job ended without a shard, what is there is removed instead. With `retry_quarantined`,
    other input is taken, and limits that are higher: the shards that differ are made again.

    Args:
        out: the output folder, locked.
        options: of this job.
        listing: its input.

    Raises:
        ConfigError: the folder was made with other options or from other input, with every difference.
    """
    path, manifest = out / JOB_FILE, Manifest.of(options, listing)
    part = options.own_part
    if part is None:
        _remove_debris(out)
    else:
        remove_debris_of(out, part)
    if options.overwrite:
        _remove_output(out)
    if path.is_file():
        differences = _differences(out, path, manifest, options, listing)
        if differences and part is None and _made_nothing(out):
            _remove_output(out)
        elif differences:
            raise ConfigError(
                f"{out} was made by make-shards from something else:\n"
                + "".join(f"  {line}\n" for line in differences)
                + "use what was used then, choose another folder, or start again with --overwrite; --retry-quarantined "
                "makes again what other input or higher limits change"
            )
        elif not options.retries:
            return
    write_file(path, json.dumps(asdict(manifest), indent=1, sort_keys=True).encode() + b"\n")


def _made_nothing(out: Path) -> bool:
    """Whether a job ended here, and all that it leaves is reasons: another option may be what they ask for."""
    return (out / QUARANTINE).is_file() and not [*out.glob("shard-*.tar")]


def save_survey(out: Path, files: Iterable[RawFile]) -> None:
    """Keep the survey: pages are assigned to shards by it, also when the job is continued."""
    values = map(RawFile.without_sidecars, files)
    with atomic_write(out / STATE_FOLDER / _SURVEY) as file:
        while some := [*islice(values, _FILES_PER_LINE)]:
            file.write(json.dumps({"files": some}, separators=(",", ":")).encode() + b"\n")


def load_survey(out: Path) -> RawFiles | None:
    """The survey that was kept, or None when it had not finished."""
    path = out / STATE_FOLDER / _SURVEY
    try:
        if not path.is_file():
            return None
        return RawFiles(RawFile.from_json(values) for line in read_lines(path) for values in line["files"])
    except (ValueError, KeyError, TypeError):  # zeroed by a power cut, say
        return None


def _differences(out: Path, path: Path, wanted: Manifest, chosen: MakeShardsOptions, listing: Listing) -> list[str]:
    try:
        kept = load_json(path.read_bytes())
        if kept["version"] != _VERSION:
            return [
                f"{JOB_FILE} is of version {kept['version']}, this program writes {_VERSION}: it reads raw pages by "
                "other rules, and one folder would have labels of both"
            ]
        options, described = dict(kept["options"]), dict(kept["input"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{JOB_FILE} cannot be read ({type(error).__name__}: {error})"]
    lines = [
        f"{name} was {options.get(name)!r}, is {wanted.options.get(name)!r}"
        for name in sorted(options.keys() | wanted.options.keys())
        if options.get(name) != wanted.options.get(name)
        and not (chosen.retries and chosen.lets_more_through(name, options))
    ]
    if described != wanted.input and not chosen.retries:
        counts = [f"{side['files']:,} files of {side['bytes']:,} bytes" for side in (described, wanted.input)]
        lines.append(f"input was {counts[0]}, is {counts[1]}{_named_difference(out, listing)}")
    return lines


def _named_difference(out: Path, listing: Listing) -> str:
    """Names of a few files that are new, gone or of another size, as far as the survey tells."""
    known = load_survey(out)
    if known is None:
        return ""
    before = {file.path: file.num_bytes for file in known}
    now = {file.path: file.num_bytes for file in listing.files}
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if not changed:
        return "; a text file or an image of rows changed"
    more = f" and {len(changed) - _SHOWN_NAMES} more" if len(changed) > _SHOWN_NAMES else ""
    return f"; changed: {', '.join(map(short_name, changed[:_SHOWN_NAMES]))}{more}"


def remove_beyond(out: Path, num_shards: int) -> None:
    """Remove shards of a higher number, which the input no longer fills."""
    for path in [*out.glob("shard-*"), *(out / STATE_FOLDER).glob("shard-*.json")]:
        number = _SHARD_FILE.fullmatch(path.name)
        if number and int(number[1]) >= num_shards:
            path.unlink()


def _remove_debris(out: Path) -> None:
    """Remove what a killed job left half-written, and pages it kept for a shard."""
    for pattern in _OURS:
        remove_unfinished(out, pattern)
    for folder in (out / STATE_FOLDER, out / "index"):
        remove_unfinished(folder)
    remove_kept(out)


def _remove_output(out: Path) -> None:
    """Remove what make-shards wrote, and nothing else; the manifest last, so that a kill leaves a claimed folder."""
    for pattern in _OURS:
        for path in out.glob(pattern):
            if path.name != JOB_FILE:
                path.unlink()
    for path in (out / INDEX_FOLDER).glob("*"):
        if path.name != SPLIT_JSON:  # what is held out stays so, whatever is made again
            path.unlink()
    for path in (out / STATE_FOLDER).iterdir():
        if path.name != _LOCK:
            path.unlink()
    (out / JOB_FILE).unlink(missing_ok=True)
