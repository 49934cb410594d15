"""How every raw file is looked at and read: a local one as it is, one of a store by requests.

A raw folder that is a URL is under a path at which nothing can be (`raw_folder`), so that its files have paths as
others do: with parents, names and suffixes. Whoever reads a raw file asks here, and a place that forgets it fails with
every such path instead of reading something else.
"""

import os
import posixpath
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, cast

from wdstream.errors import ConfigError
from wdstream.storage.addresses import shown_url
from wdstream.storage.engines.own_folder import own_folder
from wdstream.storage.places import local_folder
from wdstream.storage.writes.scratch import temporary_folder

if TYPE_CHECKING:  # imported where a raw folder is a URL: it is a tenth of what a process of make-shards would import
    from wdstream.raw.remote.ranged_file import RangedFile
    from wdstream.raw.remote.store import RawStore, StoredState

STORE_ROOT = Path("/dev/null/raw")
"""Where the files of a raw folder that is a URL have their paths."""
_PREFIX = f"{STORE_ROOT}/"
_BUFFER_BYTES = 1 << 17
_COPIED_AT_ONCE = 8 << 20
_MOST_NAMES = 20_000
"""Of a folder of a store whose names are kept; in a larger one each name is asked for."""
_FOLDERS_KEPT = 8
_COPIES = "raw-"
"""How folders of copies begin, each of one process while it uses it."""


@dataclass(frozen=True, slots=True)
class RawState:
    """Size of a raw file, and what tells it from any other, and from itself after a change."""

    num_bytes: int
    identity: tuple[object, ...]


class _Store:
    """The store of the raw folder that is read, with the names of a few folders of it."""

    def __init__(self, url: str) -> None:
        from wdstream.raw.remote.store import RawStore

        self.url = url
        self.files = RawStore(url)
        self._names: dict[str, dict[str, StoredState] | None] = {}

    def names(self, folder: str) -> "dict[str, StoredState] | None":
        """The files of a folder by name; None where there are too many to keep."""
        if folder not in self._names:
            while len(self._names) >= _FOLDERS_KEPT:
                self._names.pop(next(iter(self._names)))
            self._names[folder] = self._listed(folder)
        return self._names[folder]

    def _listed(self, folder: str) -> "dict[str, StoredState] | None":
        found: dict[str, StoredState] = {}
        try:
            for page in self.files.entries(folder):
                found.update({entry.name: entry.state for entry in page if entry.state is not None})
                if len(found) > _MOST_NAMES:
                    return None
        except FileNotFoundError:
            pass
        return found

    def listed_state(self, name: str) -> "StoredState":
        """The state of a file as it was listed, else as it is now.

        Raises:
            OSError: it is not there.
        """
        folder, _, base = name.rpartition("/")
        known = self._names.get(f"{folder}/" if folder else "")
        return known[base] if known and base in known else self.files.state(name)


_originals: dict[Path, Path] = {}
"""Copies of raw files that are in use."""
_current: ContextVar[_Store | None] = ContextVar("raw store", default=None)


@contextmanager
def raw_folder(address: Path | str, *, on_wait: Callable[[], None] | None = None) -> Iterator[Path]:
    """The path that all files of a raw folder are under, for the block.

    Args:
        address: a folder, or a URL that fsspec lists.
        on_wait: called about once a second while a request is tried again.

    Raises:
        ConfigError: a web server, which does not list its files; or what reads the URL is not installed.
    """
    folder, text = local_folder(address), str(address)
    if folder is not None:
        yield folder
        return
    if text.startswith(("http://", "https://")):
        raise ConfigError(
            f"{shown_url(text)}: a web server does not list its files, so that pages cannot be found there; give a "
            "bucket (s3://, gs://, ...), or fetch the files first"
        )
    store = _Store(text.rstrip("/"))
    store.files.on_wait = on_wait
    token = _current.set(store)
    try:
        yield STORE_ROOT
    finally:
        _current.reset(token)


def raw_address(raw: Path) -> str:
    """Where the raw folder is, for another process: its URL, or its whole path."""
    store = _stored(raw)
    return str(raw.resolve()) if store is None else store.url


def shown_raw(raw: Path) -> str:
    """The raw folder in messages."""
    store = _stored(raw)
    return str(raw) if store is None else shown_url(store.url)


def store_of(path: Path) -> "RawStore | None":
    """The store that a raw file, or folder, is in; None for one of this machine."""
    store = _current.get()
    return store.files if store is not None and _is_stored(path) else None


def name_below(address: Path | str | None) -> str:
    """The name of a folder in the store of the raw folder, by its URL; "" for one that is elsewhere."""
    store = _current.get()
    prefix = f"{store.url}/" if store is not None else ""
    return str(address).rstrip("/").removeprefix(prefix) if prefix and str(address).startswith(prefix) else ""


def store_name(path: Path) -> str:
    """The name of a raw file in its store.

    Raises:
        FileNotFoundError: the path leads out of the raw folder.
    """
    name = posixpath.normpath(str(path)[len(_PREFIX) :])
    if name.startswith("../"):
        raise FileNotFoundError(2, os.strerror(2), str(path))
    return "" if name == "." else name


def open_raw(path: Path, buffer_bytes: int = -1) -> BufferedReader:
    """Open a raw file, to be read at any place.

    Args:
        path: of the file.
        buffer_bytes: how much can be peeked at; as usual when left out.

    Raises:
        OSError: it cannot be opened.
    """
    store = _stored(path)
    if store is None:
        return cast(BufferedReader, path.open("rb", buffer_bytes))
    return BufferedReader(open_ranged(path), max(buffer_bytes, _BUFFER_BYTES))


def open_ranged(path: Path) -> "RangedFile":
    """Open a raw file of a store, to be read by ranges.

    Raises:
        OSError: it is not there, or cannot be asked for.
    """
    from wdstream.raw.remote.ranged_file import RangedFile

    store = store_of(path)
    assert store is not None
    name = store_name(path)
    return RangedFile(store, name, store.state(name))


def read_raw(path: Path) -> bytes:
    """All bytes of a raw file.

    Raises:
        OSError: it cannot be read.
    """
    store = _stored(path)
    return path.read_bytes() if store is None else store.files.fetch_whole(store_name(path), _state(store, path))


def raw_state(path: Path) -> RawState:
    """What the system, or the store, says of a raw file.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    store = _stored(path)
    if store is not None:
        state = store.files.state(store_name(path))
        return RawState(state.num_bytes, (str(path), state.num_bytes, state.version))
    found = path.stat()
    changed = found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return RawState(found.st_size, (str(path), found.st_dev, found.st_ino, *changed))


def size_and_link(path: Path) -> tuple[int, bool]:
    """Bytes of a raw file, and whether it is reached by a link; stores have none.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    store = _stored(path)
    if store is not None:
        return _state(store, path).num_bytes, False
    found = path.lstat()
    is_link = stat.S_ISLNK(found.st_mode)
    return path.stat().st_size if is_link else found.st_size, is_link


def is_raw_file(path: Path | str) -> bool:
    """Whether there is a raw file at this path. What cannot be looked at raises OSError, but for what is not there."""
    store = _stored(path)
    if store is None:
        return Path(path).is_file() if isinstance(path, Path) else os.path.isfile(path)  # noqa: PTH113  # five times as fast
    try:
        folder, _, base = store_name(Path(path)).rpartition("/")
        names = store.names(f"{folder}/" if folder else "")
        return base in names if names is not None else bool(store.files.state(f"{folder}/{base}".lstrip("/")))
    except (FileNotFoundError, IsADirectoryError):
        return False


def is_raw_folder(path: Path) -> bool:
    """Whether there is a folder at this path: in a store, a name that files are under."""
    store = _stored(path)
    if store is None:
        return path.is_dir()
    try:
        return any(page for page in store.files.entries(_folder_name(path)))
    except FileNotFoundError:
        return False


def raw_names(path: Path) -> tuple[str, ...]:
    """Names of files and folders in a raw folder, sorted; none of one that cannot be listed."""
    store = _stored(path)
    try:
        if store is None:
            return tuple(sorted(os.listdir(path)))  # noqa: PTH208  # names alone
        return tuple(sorted(entry.name for page in store.files.entries(_folder_name(path)) for entry in page))
    except OSError:
        return ()


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """A raw file as one of this machine, for the block: itself, or a copy of the same name.

    Raises:
        ConfigError: the folder for temporary files is somebody else's.
        OSError: it cannot be read, or not be copied.
    """
    store = _stored(path)
    if store is None:
        yield path
        return
    with own_folder(temporary_folder(), _COPIES) as folder:
        copy = folder / path.name
        with open_raw(path) as file, copy.open("wb") as out:
            shutil.copyfileobj(file, out, _COPIED_AT_ONCE)
        _originals[copy] = path
        try:
            yield copy
        finally:
            del _originals[copy]


def original(path: Path) -> Path:
    """The raw file that a path is of, where it is that of a copy."""
    return _originals.get(path, path)


def _state(store: _Store, path: Path) -> "StoredState":
    return store.listed_state(store_name(path))


def _folder_name(path: Path) -> str:
    name = "" if path == STORE_ROOT else store_name(path)
    return f"{name}/" if name else ""


def _is_stored(path: Path | str) -> bool:
    text = str(path)
    return text.startswith(_PREFIX) or text == str(STORE_ROOT)


def _stored(path: Path | str) -> _Store | None:
    store = _current.get()
    return store if store is not None and _is_stored(path) else None
