"""Reading raw files: in the raw folder only, and with a digest of what was read, so that a later change is noticed.

`make_shards` reads pages in a `Reading`. Sources read whole files by `read_bytes`, or say by `note_line` which line of
a file they read; outside of a `Reading`, in a program of its own, both only read.
"""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

from wdstream.errors import SourceError
from wdstream.raw.remote.access import open_raw, original, read_raw, size_and_link
from wdstream.raw.settings import RawSettings
from wdstream.text.not_text import FETCH_LFS, LFS_POINTER, LFS_POINTER_BYTES

_CHUNK_BYTES = 1 << 20
_DIGEST_BYTES = 16
_LINES = "lines:"
_MODULUS = 1 << (8 * _DIGEST_BYTES)
_SIGN_OF_LIFE_S = 1.0


class Reading:
    """What is read from one folder; made by `reading`.

    Args:
        root: the raw folder.
        settings: limits, and whether a file may be reached by a link that leads out of the folder.
        with_digests: whether whole files get a digest; False for who asks for none.

    Attributes:
        on_progress: called now and then by what takes long, so that nobody takes it for something that hangs.
    """

    def __init__(self, root: Path, settings: RawSettings, *, with_digests: bool = True) -> None:
        self.settings = settings
        self._with_digests = with_digests
        self._root = root
        self._real_root = os.path.realpath(root)
        self._allow_outside = settings.allow_outside_links or settings.allow_outside_images
        self._prefix = str(root).rstrip("/") + "/"
        self._is_inside: dict[str, bool] = {}
        self._are_below: dict[tuple[str, str], bool] = {}
        self._digests: dict[str, str] = {}
        self._lines: dict[str, int] = {}
        """Of files that are read by lines, the sum over these."""
        self.on_progress: Callable[[], None] | None = None
        self._progress_at = 0.0

    def sign_of_life(self) -> None:
        """Call `on_progress`, at most once a second."""
        now = time.monotonic()
        if self.on_progress is not None and now - self._progress_at > _SIGN_OF_LIFE_S:
            self._progress_at = now
            self.on_progress()

    def take(self) -> dict[str, str]:
        """Digests of what was read since the last call, by path relative to the root."""
        digests = self._digests | {name: _digest_of_lines(total) for name, total in self._lines.items()}
        self._digests, self._lines = {}, {}
        return digests

    def check(self, path: Path, *, is_link: bool) -> None:
        """Refuse a file that is reached by a link out of the folder; `is_link`: whether it is one itself.

        Raises:
            SourceError: it is, and that is not allowed.
        """
        if self._allow_outside:
            return
        folder = str(path.parent)
        if folder not in self._is_inside:  # asked once for each folder
            self._is_inside[folder] = self._leads_inside(folder)
        if not self._is_inside[folder] or (is_link and not self._leads_inside(str(path))):
            raise SourceError(
                f"{path.name} is a link that leads out of the folder; allow it with --allow-outside-links"
            )

    def is_below(self, folder: str, outer: str) -> bool:
        """Whether a folder is in another one, or the same, wherever links lead; asked once for each two."""
        if (folder, outer) not in self._are_below:
            inner = Path(os.path.realpath(folder))
            self._are_below[folder, outer] = inner.is_relative_to(os.path.realpath(outer))
        return self._are_below[folder, outer]

    def _leads_inside(self, path: str) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self._real_root)

    def read_plain(self, path: str, limit: int) -> bytes | None:
        """All bytes of a file that is not a link, in a folder that leads nowhere else, as nearly all are; None for any
        other, and where anything is wrong: whoever looks closer says what."""
        if not path.startswith(self._prefix) or "/.." in path:
            return None
        folder = path[: path.rfind("/")]
        if folder not in self._is_inside:
            self._is_inside[folder] = self._leads_inside(folder)
        data = _read_whole(path, limit) if self._is_inside[folder] or self._allow_outside else None
        if data is not None:
            self._note(path[len(self._prefix) :], data)
        return data

    def note(self, path: Path, data: bytes) -> None:
        """Note all bytes of a file, of which the last ones count."""
        self._note(self._name(path), data)

    def note_line(self, path: Path, number: int, line: bytes) -> None:
        """Note a line of a file."""
        name = self._name(path)
        self._digests.pop(name, None)
        self._lines[name] = self._lines.get(name, 0) + _number_of_line(number, line)

    def _note(self, name: str, data: bytes) -> None:
        if self._with_digests:
            self._lines.pop(name, None)
            self._digests[name] = _digest_of(data)

    def _name(self, path: Path) -> str:
        text = str(original(path))
        is_plain = text.startswith(self._prefix) and "/.." not in text
        return text[len(self._prefix) :] if is_plain else os.path.relpath(path, self._root)


_current: ContextVar[Reading | None] = ContextVar("reading", default=None)


@contextmanager
def reading(root: Path, settings: RawSettings, *, with_digests: bool = True) -> Iterator[Reading]:
    """Read in the folder `root`, by these settings, for the block; see `Reading`."""
    current = Reading(root, settings, with_digests=with_digests)
    token = _current.set(current)
    try:
        yield current
    finally:
        _current.reset(token)


@lru_cache
def _defaults() -> RawSettings:
    """Made when they are first asked for: that takes longer than most imports, and few processes need them."""
    return RawSettings()


def limits() -> RawSettings:
    """The settings whose limits hold: those of the `reading` around, else the defaults."""
    current = _current.get()
    return _defaults() if current is None else current.settings


def sign_of_life() -> None:
    """Say that a file is still being read: of a large tar, say, to find a page of it. Called between its parts."""
    current = _current.get()
    if current is not None:
        current.sign_of_life()


def check_link(path: Path) -> None:
    """Refuse a file that is reached by a link out of the folder, for those who read it by themselves.

    Raises:
        SourceError: it is, and that is not allowed.
        OSError: it cannot be looked at.
    """
    current = _current.get()
    if current is not None:
        current.check(path, is_link=path.is_symlink())


def refuse_pointer(path: Path, num_bytes: int) -> None:
    """Refuse a file of this size that Git LFS has left in the place of another.

    Raises:
        SourceError: it is one, with how to fetch the other.
        OSError: it cannot be looked at.
    """
    if num_bytes < LFS_POINTER_BYTES:
        with suppress(IsADirectoryError), open_raw(path) as file:  # a plugin may read all of a folder
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise SourceError(f"file {FETCH_LFS}")


def is_below(path: str, outer: str) -> bool:
    """Whether a file that is not a link is in a folder, or below it, as far as that is known without looking again."""
    return is_folder_below(os.path.dirname(path), outer) and not os.path.islink(path)  # noqa: PTH114, PTH120  # of every row


def is_folder_below(folder: str, outer: str) -> bool:
    """Whether a folder is in another one, or the same, as far as that is known without looking again."""
    current = _current.get()
    return current is not None and current.is_below(folder, outer)


def read_bytes(path: Path, *, limit: int, option: str) -> bytes:
    """All bytes of a raw file.

    Args:
        path: of the file.
        limit: bytes that it may have.
        option: of make-shards, which sets the limit.

    Raises:
        SourceError: it cannot be read, is above the limit, or a link leads out of the folder.
    """
    data = read_plain(str(path), limit=limit)
    if data is not None:
        return data
    try:
        num_bytes, is_link = size_and_link(path)
        if num_bytes > limit:
            raise SourceError(f"{path.name} of {num_bytes:,} bytes is above the limit of {limit:,} ({option})")
        current = _current.get()
        if current is None:
            return read_raw(path)
        current.check(path, is_link=is_link)
        data = read_raw(path)
    except OSError as error:
        raise SourceError(f"file cannot be read: {error.strerror}") from error
    current.note(path, data)
    return data


def read_plain(path: str, *, limit: int) -> bytes | None:
    """`read_bytes`, without a Path, where nothing is to be said; None where it has to look closer."""
    current = _current.get()
    return None if current is None else current.read_plain(path, limit)


def _read_whole(path: str, limit: int) -> bytes | None:
    """All bytes of a regular file that is not a link, and not above the limit; None for any other."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or state.st_size > limit:
            return None
        data = os.read(descriptor, state.st_size + 1)
        return data if len(data) == state.st_size else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def note_line(path: Path, number: int, line: bytes) -> None:
    """Note line `number` of a file; the digest of several lines does not depend on which process read which."""
    current = _current.get()
    if current is not None:
        current.note_line(path, number, line)


def file_digest(path: Path) -> str:
    """The digest of all of a file.

    Raises:
        OSError: it cannot be read.
    """
    with open_raw(path) as file:
        return _digest(iter(lambda: file.read(_CHUNK_BYTES), b""))


def lines_digest(lines: Iterable[tuple[int, bytes]]) -> str:
    """The digest of lines of a file, each with its number."""
    return _digest_of_lines(sum(_number_of_line(number, line) for number, line in lines))


def is_of_lines(digest: str) -> bool:
    """Whether a digest is of some lines of its file."""
    return digest.startswith(_LINES)


def merged(one: str, other: str) -> str:
    """The digest of all lines, from those of some each; of a whole file, the one that was read last."""
    if not (is_of_lines(one) and is_of_lines(other)):
        return other
    return _digest_of_lines(int(one[len(_LINES) :], 16) + int(other[len(_LINES) :], 16))


def merge_digests(into: dict[str, str], digests: Mapping[str, str]) -> None:
    """Add the digests of some pages to those of a shard."""
    for name, digest in digests.items():
        into[name] = merged(into[name], digest) if name in into else digest


def _number_of_line(number: int, line: bytes) -> int:
    return int.from_bytes(hashlib.sha256(b"%d " % number + line).digest()[:_DIGEST_BYTES])


def _digest_of_lines(total: int) -> str:
    return f"{_LINES}{total % _MODULUS:0{2 * _DIGEST_BYTES}x}"


def _digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[: 2 * _DIGEST_BYTES]


def _digest(chunks: Iterable[bytes]) -> str:
    content = hashlib.sha256()
    for chunk in chunks:
        content.update(chunk)
    return content.hexdigest()[: 2 * _DIGEST_BYTES]
