"""CachedStorage: files at a URL, read through the cache of this machine in blocks.

A range is read from the blocks on disk. Blocks that are missing are fetched whole, each by one thread of one process of
the machine while the others wait for it, and kept. Where the folder cannot be written to, or has no room, the ranges
themselves are read from the store, as without a cache.

The key of a block holds the file's address, what the index says of its content, size and version as the store tells
them, and the block's place, so that blocks of two versions are never taken for one another. The store is asked for the
version before this process fetches anything of a file. What is on disk is read without asking: the version that was
kept with it counts as long as the index says the same of the file. Whoever reads checks what it got (Shards compares a
checksum for each sample), and `forget` throws away what was wrong: an answer that was damaged on its way, or a file
that was replaced in the store under the same index.
"""

import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from wdstream.errors import load_json
from wdstream.storage.addresses import shown_url
from wdstream.storage.cache.block_files import KEY_BYTES, block_file, read_block, remove_block
from wdstream.storage.cache.folder import open_cache_folder
from wdstream.storage.cache.settings import CacheSettings
from wdstream.storage.http_answers import FileVersion
from wdstream.storage.local import ByteRange, Storage
from wdstream.storage.remote import FsspecStorage

_VERSION = "version"
_MOST_CLAIMS = 64
"""Blocks that are fetched together: each takes an open file while it is."""


class _Version:
    """One version of a remote file in the cache.

    Args:
        name: of the file.
        folder: of its blocks.
        version: as the store says.
        block_bytes: of each block but the last.
        is_asked: whether the store said so to this process.
    """

    def __init__(self, name: str, folder: Path, version: FileVersion, *, block_bytes: int, is_asked: bool) -> None:
        self.name, self.folder, self.version, self.is_asked = name, folder, version, is_asked
        self.size = version.size or 0
        self._block_bytes = block_bytes
        self._key = _digest(f"{folder.name} {version!r}")
        self._prefix = f"{folder}/{self._key.hex()[:16]}-"
        self._seen = array("Q", bytes(8 * -(-self.size // block_bytes)))  # stamps of blocks that were compared

    def path(self, number: int) -> Path:
        """Of the file of a block."""
        return Path(f"{self._prefix}{number}")

    def extent(self, number: int) -> ByteRange:
        """Where a block is in the file."""
        start = number * self._block_bytes
        return ByteRange(name=self.name, offset=start, length=min(self._block_bytes, self.size - start))

    def blocks(self, wanted: ByteRange) -> "list[_Block]":
        """The blocks that a range is in, in order; what is after the end of the file is in none."""
        stop = min(wanted.offset + wanted.length, self.size)
        if stop <= wanted.offset:
            return []
        return [
            _Block(self, number) for number in range(wanted.offset // self._block_bytes, _up(stop, self._block_bytes))
        ]

    def read(self, number: int, wanted: ByteRange) -> bytes | None:
        """What a block on disk has of a range; None when there is no such block."""
        first = number * self._block_bytes
        start, stop = max(wanted.offset - first, 0), min(wanted.offset + wanted.length, self.size) - first
        found = read_block(
            f"{self._prefix}{number}",
            partial(self._block_key, number),
            start=start,
            stop=min(stop, self._block_bytes),
            seen=self._seen[number],
        )
        if found is None:
            return None
        self._seen[number] = found[1]
        return found[0]

    def only_block(self, wanted: ByteRange) -> int | None:
        """The block that has all of a range; None where several have it, or none has all."""
        number = wanted.offset // self._block_bytes
        stop = wanted.offset + wanted.length
        return number if wanted.offset < stop <= min((number + 1) * self._block_bytes, self.size) else None

    def content(self, number: int, data: bytes) -> tuple[bytes, bytes]:
        """The contents of the file of a block."""
        return block_file(self._block_key(number), data)

    def _block_key(self, number: int) -> bytes:
        return _digest(f"{self._key.hex()} {number}")


class _Block(NamedTuple):
    """One block of a file."""

    file: _Version
    number: int

    @property
    def path(self) -> Path:
        return self.file.path(self.number)

    @property
    def is_kept(self) -> bool:
        return self.path.exists()


class CachedStorage:
    """Files under a URL, through the cache of this machine. Safe to use from many threads and processes.

    Args:
        source: the files.
        settings: where the cache is.
        address: of the files.
        digests: of some files by name, what an index says of their content.
    """

    def __init__(
        self, source: FsspecStorage, settings: CacheSettings, *, address: str, digests: Mapping[str, str]
    ) -> None:
        self._state = (source, settings, address, digests)
        self.source, self.settings, self.folder = source, settings, open_cache_folder(settings)
        self._address, self._digests = shown_url(address.rstrip("/")), digests
        self._files: dict[str, _Version] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return _cached_storage, self._state

    def size(self, name: str) -> int | None:
        """Bytes of a file."""
        return self._file(name).version.size

    def read(self, wanted: ByteRange) -> bytes:
        """One range; shorter where the file ends before."""
        return self.read_many([wanted])[0]

    def read_many(self, wanted: Sequence[ByteRange]) -> list[bytes]:
        """Several ranges; what the cache lacks is fetched together."""
        found = [self._on_disk(one) for one in wanted]
        missing = [one for one, data in zip(wanted, found, strict=True) if data is None]
        return _filled(found, self._read_missing(missing) if missing else [])

    def read_file(self, name: str) -> bytes:
        """All bytes of a file as it is in the store now, which is asked for its version."""
        version = self._ask(name).version
        if version.size is None or not (version.etag or version.date):
            return self.source.read_file(name)
        return self.read(ByteRange(name=name, offset=0, length=version.size))

    def local_path(self, name: str) -> None:
        """None: the files are elsewhere."""

    def forget(self, wanted: ByteRange) -> None:
        """Throw away what the cache has of a range, which is not what it must be; the store is asked again."""
        file = self._files.pop(wanted.name, None)
        if file is not None:
            for block in file.blocks(wanted):
                remove_block(block.path)
            remove_block(file.folder / _VERSION)

    def holds(self, wanted: ByteRange) -> bool:
        """Whether the cache has all of a range."""
        return all(block.is_kept for block in self._file(wanted.name).blocks(wanted))

    def fetch(self, wanted: Sequence[ByteRange]) -> None:
        """See to it that these ranges are in the cache, as far as there is room."""
        if self.folder.is_writable:
            missing = [one for one in wanted if not self.holds(one)]
            self._fill({block for one in missing for block in self._asked(one.name).blocks(one)})

    def _on_disk(self, wanted: ByteRange) -> bytes | None:
        file = self._file(wanted.name)
        number = file.only_block(wanted)  # mostly there is one, which takes no list
        return _kept(file, wanted, {}) if number is None else file.read(number, wanted)

    def _read_missing(self, wanted: Sequence[ByteRange]) -> list[bytes]:
        """Ranges that are not all on disk."""
        files = {one.name: self._asked(one.name) for one in wanted}
        blocks = {block for one in wanted for block in files[one.name].blocks(one)}
        fetched = self._fill(blocks) if self.folder.is_writable else {}
        found = [_kept(files[one.name], one, fetched) for one in wanted]
        missing = [one for one, data in zip(wanted, found, strict=True) if data is None]
        return _filled(found, self.source.read_many(missing) if missing else [])

    def _fill(self, blocks: set[_Block]) -> dict[_Block, bytes]:
        """Fetch blocks that are not on disk, and keep them; returns those that this call fetched."""
        fetched: dict[_Block, bytes] = {}
        todo = sorted(blocks, key=lambda block: (block.file.name, block.number))
        try:
            for start in range(0, len(todo), _MOST_CLAIMS):
                self._fill_some(todo[start : start + _MOST_CLAIMS], fetched)
        except OSError as error:
            self.folder.failed(error)
        return fetched

    def _fill_some(self, blocks: Sequence[_Block], fetched: dict[_Block, bytes]) -> None:
        claims: dict[str, list[_Block]] = {}
        for block in blocks:
            claims.setdefault(self.folder.claim_of(str(block.path)), []).append(block)
        busy: list[str] = []
        with ExitStack() as held:
            for claim in claims:
                if not held.enter_context(self.folder.claim(claim, waits=False)):
                    busy.append(claim)
            self._fetch([block for claim, those in claims.items() if claim not in busy for block in those], fetched)
        for claim in busy:  # held one at a time: two that wait never wait for each other
            with self.folder.claim(claim, waits=True):
                self._fetch(claims[claim], fetched)

    def _fetch(self, blocks: Sequence[_Block], fetched: dict[_Block, bytes]) -> None:
        """Those of these blocks that are not on disk, out of the store; the caller has claimed them."""
        wanted = {block: block.file.extent(block.number) for block in blocks if not block.is_kept}
        if not wanted:
            return
        answers = self.source.read_many(list(wanted.values()))
        for (block, asked), data in zip(wanted.items(), answers, strict=True):
            if len(data) == asked.length:
                fetched[block] = data
                self.folder.keep(block.path, block.file.content(block.number, data))

    def _file(self, name: str) -> _Version:
        """The version of a file that is read: the one that is kept, where the index vouches for it."""
        file = self._files.get(name)
        if file is None:
            version = self._kept_version(name) if name in self._digests else None
            file = self._ask(name) if version is None else self._use(name, version, is_asked=False)
        return file

    def _asked(self, name: str) -> _Version:
        """The version of a file in the store, which is asked once in each process."""
        file = self._files.get(name)
        return file if file is not None and file.is_asked else self._ask(name)

    def _ask(self, name: str) -> _Version:
        now, kept = self.source.version(name), self._kept_version(name)
        if kept is None or kept.size != now.size or not now.may_be(kept):
            value = {"address": f"{self._address}/{name}"} | now._asdict()
            self.folder.keep(self._home(name) / _VERSION, [json.dumps(value).encode()])
            kept = now
        return self._use(name, kept, is_asked=True)

    def _use(self, name: str, version: FileVersion, *, is_asked: bool) -> _Version:
        file = self._files.get(name)
        if file is None or file.version != version:
            file = _Version(name, self._home(name), version, block_bytes=self.settings.block_bytes, is_asked=is_asked)
        file.is_asked |= is_asked
        self._files[name] = file
        return file

    def _kept_version(self, name: str) -> FileVersion | None:
        """The version of a file that the store last reported to this machine."""
        try:
            value = load_json((self._home(name) / _VERSION).read_bytes())
            return FileVersion(etag=value["etag"], date=value["date"], size=value["size"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _home(self, name: str) -> Path:
        """The folder of a file."""
        known = [self._address, name, self._digests.get(name, ""), self.settings.block_bytes]
        return self.folder.files / _digest(json.dumps(known)).hex()


def through_cache(source: Storage, settings: CacheSettings | None, digests: Mapping[str, str]) -> Storage:
    """A storage through the cache of these settings; without, and of a folder, the storage itself."""
    if settings is None or not isinstance(source, FsspecStorage):
        return source
    return CachedStorage(source, settings, address=source.address, digests=digests)


def _cached_storage(
    source: FsspecStorage, settings: CacheSettings, address: str, digests: Mapping[str, str]
) -> CachedStorage:
    return CachedStorage(source, settings, address=address, digests=digests)


def _kept(file: _Version, wanted: ByteRange, fetched: Mapping[_Block, bytes]) -> bytes | None:
    """A range out of blocks that were just fetched, and those on disk; None where one is missing."""
    if file.version.size is None:
        return None
    pieces: list[bytes] = []
    is_whole = True
    for block in file.blocks(wanted):  # all of them, so that every one that is damaged is noticed
        data = fetched.get(block)
        if data is None:
            piece = file.read(block.number, wanted)
        else:
            piece = data[slice(*_inside(wanted, file.extent(block.number)))]
        is_whole = is_whole and piece is not None
        pieces.append(piece or b"")
    if not is_whole:
        return None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _filled(found: Sequence[bytes | None], more: Sequence[bytes]) -> list[bytes]:
    """What was found, with the others in the gaps."""
    others = iter(more)
    return [next(others) if data is None else data for data in found]


def _inside(wanted: ByteRange, block: ByteRange) -> tuple[int, int]:
    """First byte of a range in a block, and the one after its last, counted from the block's start."""
    stop = min(wanted.offset + wanted.length - block.offset, block.length)
    return max(wanted.offset - block.offset, 0), stop


def _up(number: int, unit: int) -> int:
    return -(-number // unit)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()
