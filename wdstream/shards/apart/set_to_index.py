"""What `wdstream index` works on: where the tars are, and where the index of them is written."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wdstream.errors import AbsentBucketError, ConfigError, ForbiddenFileError
from wdstream.shards.apart.set_folder import SetFolder, set_folder
from wdstream.shards.apart.tar_list import TarList, is_pattern, list_tars
from wdstream.shards.index_before import IndexBefore
from wdstream.shards.layout import TAR_SUFFIX
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.places import is_url, local_folder, open_place

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_ADVICE = "; of tars that are only read, the index goes elsewhere: wdstream index {} --out FOLDER_OR_URL"


@contextmanager
def set_to_index(
    tars: Path | str, out: Path | str | None, *, part: WorkPart | None = None
) -> Iterator[tuple[SetFolder, TarList | None]]:
    """The folder of the index for the block, and the tars where they are not in it.

    Args:
        tars: folder, URL or pattern of the tars; without `out`, also the place of an index that names its tars.
        out: folder or URL of the index; None for next to the tars.
        part: of the work, which others may do at the same time; see `set_folder`.

    Raises:
        ConfigError: the index cannot be written there.
        ShardError: tars cannot be listed, or the index not be read or written.
    """
    given = str(tars)
    is_apart = out is not None and not _same(given, str(out))
    place = str(out) if out is not None and is_apart else _folder_of(given)
    found = _listed_apart(given, place) if is_apart else None
    if not is_apart:
        _require_writable(place)
    try:
        opened = set_folder(place, job="index", with_metas=True, part=part, is_alone=part is None)
        with _made(local_folder(place) if is_apart else None), opened as of:
            if not is_apart:
                before = IndexBefore.read(of.folder).catalog
                found = _tars_of(of, given, "" if before is None else before.tars)
            yield of, found
    except OSError as error:
        if is_apart or error.errno not in _READ_ONLY:
            raise
        raise ConfigError(f"{place}: cannot be written ({error.strerror}){_ADVICE.format(place)}") from error


def _listed_apart(given: str, place: str) -> TarList:
    """Tars whose index is elsewhere."""
    folder = local_folder(place)
    if folder is not None and any(folder.glob("*" + TAR_SUFFIX)):
        raise ConfigError(f"{place}: holds tars of its own; choose another folder for the index of {given}")
    return list_tars(given)


@contextmanager
def _made(folder: Path | None) -> Iterator[None]:
    """A folder is there for the block; one that is made here goes again where the block fails and left it empty."""
    if folder is None or folder.is_dir():
        yield
        return
    folder.mkdir(parents=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):
            folder.rmdir()
        raise


def _tars_of(of: SetFolder, given: str, named: str) -> TarList | None:
    """The tars of a set by itself: those that its index names, or those next to it."""
    if named:
        return list_tars(named)
    return None if of.copy is None else list_tars(given, is_next_to_index=True)


def _folder_of(given: str) -> str:
    return given.rpartition("/")[0] or "." if is_pattern(given) else given


def _same(one: str, other: str) -> bool:
    if is_url(one) or is_url(other):
        return one.rstrip("/") == other.rstrip("/")
    return Path(one).resolve() == Path(other).resolve()


def _require_writable(place: str) -> None:
    """Say what to do where nothing can be written next to tars.

    Raises:
        ConfigError: nothing can.
        AbsentBucketError: there is no such bucket.
    """
    folder = local_folder(place)
    try:
        if folder is None:
            opened = open_place(place)
            opened.write("index/may-write", b"")
            opened.remove(["index/may-write"])
    except AbsentBucketError:
        raise
    except (ConfigError, ForbiddenFileError) as error:
        raise ConfigError(f"{error}{_ADVICE.format(place)}") from error
