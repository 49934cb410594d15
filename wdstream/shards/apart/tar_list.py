"""The tars at an address (a folder, a URL that can be listed, or names with braces), and reads of the bytes of one."""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from braceexpand import braceexpand

from wdstream.errors import AbsentFileError, ConfigError, ForbiddenFileError, ShardError, ShardIndexError
from wdstream.shards.layout import TAR_SUFFIX
from wdstream.shards.tar_header import ReadAt
from wdstream.storage.addresses import name_in, shown_url
from wdstream.storage.ahead import ReadAhead
from wdstream.storage.compression import COMPRESSED_SUFFIXES
from wdstream.storage.local import Storage, file_error, read_exactly
from wdstream.storage.remote import FsspecStorage, open_storage

_AT_ONCE = 16
_BY_PATTERN = "name its tars with braces instead: URL/shard-{000000..000127}.tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class TarElsewhere:
    """A tar that is not next to what describes it.

    Attributes:
        at: folder or URL.
        name: of the tar there.
        num_bytes: of the tar, as it was listed.
        has_idx: whether `x.tar.idx` belongs next to what describes it, which is copied to where the tar is.
    """

    at: str
    name: str
    num_bytes: int
    has_idx: bool = False


@contextmanager
def reads_of_tar(tar: Path, elsewhere: TarElsewhere | None = None) -> Iterator[tuple[ReadAt, int]]:
    """Reads of a tar, and its bytes; one at a URL is read front to back in large ranges, which are asked for until
    the same bytes come twice where the network would not notice a changed one.

    Raises:
        ShardError: it cannot be opened or read.
    """
    if elsewhere is not None:
        storage = _storage_at(elsewhere.at)
        path = storage.local_path(elsewhere.name)
        if path is None:
            assert isinstance(storage, FsspecStorage)
            size, is_in_clear = elsewhere.num_bytes, storage.is_in_clear
            with ReadAhead(storage.read, elsewhere.name, size, is_in_clear=is_in_clear) as ahead:
                yield ahead.read, elsewhere.num_bytes
            return
        tar = path
    try:
        descriptor = os.open(tar, os.O_RDONLY)
    except OSError as error:
        raise ShardError(f"{tar} cannot be opened: {error}") from file_error(tar, error)
    try:
        yield partial(read_exactly, descriptor), os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


@lru_cache(maxsize=4)
def _storage_at(address: str) -> Storage:
    """One for all tars of a process, so that connections are kept."""
    return open_storage(address)


@dataclass(frozen=True, slots=True, kw_only=True)
class TarList:
    """Tars that are elsewhere than what describes them.

    Attributes:
        at: folder or URL where they are read.
        address: the same, as the index keeps it; empty for an index that belongs next to them.
        sizes: bytes of each by file name.
        others: names of files next to them.
        skipped: what looks like tars and is not read, with reasons.
    """

    at: str
    address: str
    sizes: Mapping[str, int]
    others: frozenset[str] = frozenset()
    skipped: tuple[tuple[str, str], ...] = ()

    def of(self, name: str) -> TarElsewhere:
        """Where one of them is read."""
        return TarElsewhere(at=self.at, name=name, num_bytes=self.sizes[name], has_idx=not self.address)

    def all(self) -> dict[str, TarElsewhere]:
        """Each by its name."""
        return {name: self.of(name) for name in self.sizes}


def list_tars(where: str, *, is_next_to_index: bool = False) -> TarList:
    """The tars of a folder, of a URL, or of a pattern of either, and their sizes.

    Args:
        where: folder, URL, or a pattern with braces of tars in one folder.
        is_next_to_index: whether the index belongs there, so that it keeps no address.

    Raises:
        ConfigError: a password is in the address, or a pattern names tars of several folders.
        ShardIndexError: there is no tar.
        ShardError: it cannot be listed, or a tar of a pattern cannot be read.
    """
    if shown_url(where) != where:
        raise ConfigError(
            f"{shown_url(where)}: the index keeps the address of its tars, and a password or signature is not written "
            "there: give credentials as the store's tools take them (environment, configuration file; of a web server "
            "~/.netrc), not in the address"
        )
    skipped: tuple[tuple[str, str], ...] = ()
    others: frozenset[str] = frozenset()
    if is_pattern(where):
        at, names = _named(where)
        found = _sizes(at, names)
    else:
        at = where.rstrip("/") or where
        files = _listed(at)
        found = _sizes(at, {name: size for name, size in files.items() if name.endswith(TAR_SUFFIX)})
        others = frozenset(files) - frozenset(found)
        skipped = tuple(_not_read(files, at))
    if not found:
        raise ShardIndexError(f"{at}: no tar at all{''.join(f'; {name}: {why}' for name, why in skipped)}")
    absolute = at if "://" in at else str(Path(at).resolve())
    address = "" if is_next_to_index else absolute
    return TarList(at=absolute, address=address, sizes=dict(sorted(found.items())), others=others, skipped=skipped)


def is_pattern(where: str) -> bool:
    """Whether an address names tars, not a folder: with braces, or a single one."""
    return not Path(where).is_dir() and ("{" in where or where.endswith(TAR_SUFFIX))


def _named(pattern: str) -> tuple[str, dict[str, int | None]]:
    """Folder and names that a pattern stands for."""
    try:
        urls = list(braceexpand(pattern))
    except ValueError as error:
        raise ConfigError(
            f"{pattern}: not a pattern of names ({error}): URL/shard-{{000000..000127}}.tar is one"
        ) from error
    folders = {url.rpartition("/")[0] or "." for url in urls}
    names = [name_in(url) for url in urls]
    strange = [name for name in names if not name.endswith(TAR_SUFFIX)]
    if len(folders) > 1 or strange or len(set(names)) < len(names):
        raise ConfigError(f"{pattern}: expected different names in one folder that end in {TAR_SUFFIX}")
    return folders.pop(), dict.fromkeys(names)


def _listed(at: str) -> dict[str, int | None]:
    """Files of a folder or URL, and their sizes where the listing tells them."""
    storage = open_storage(at)
    if isinstance(storage, FsspecStorage):
        try:
            return storage.listing()
        except AbsentFileError as error:
            raise ShardIndexError(f"{error}; is the address right?") from error
        except ForbiddenFileError as error:
            raise ForbiddenFileError(f"{error}; where it cannot be listed, {_BY_PATTERN}") from error
        except ShardError as error:
            raise type(error)(f"{error}; where it cannot be listed, {_BY_PATTERN}") from error
    if not Path(at).is_dir():
        raise ShardIndexError(f"{at}: no such folder of shards")
    return {path.name: path.stat().st_size for path in Path(at).iterdir() if path.is_file()}


def _sizes(at: str, names: Mapping[str, int | None]) -> dict[str, int]:
    """Bytes of each file of a folder, asked for where they are not known."""
    unknown = [name for name, size in names.items() if size is None]
    sizes = {name: size for name, size in names.items() if size is not None}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for name, size in zip(unknown, pool.map(open_storage(at).size, unknown), strict=True):
            if size is None:
                raise ShardError(
                    f"{shown_url(at)}/{name}: the server does not tell its size, so that its end would not be known"
                )
            sizes[name] = size
    return sizes


def _not_read(names: Iterable[str], at: str) -> Iterator[tuple[str, str]]:
    for name in sorted(names):
        if name.lower().endswith(COMPRESSED_SUFFIXES):
            yield name, f"compressed: repack it with `wdstream make-shards {at} NEW_FOLDER`"
        elif name.lower().endswith(TAR_SUFFIX) and not name.endswith(TAR_SUFFIX):
            yield name, f"a shard's name ends in {TAR_SUFFIX}, in lower case: rename it"
