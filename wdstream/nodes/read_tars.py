"""ReadTars: pages out of tars without an index, front to back: foreign shards, pipes, downloads.

Any tar that webdataset reads, compressed or not. Nothing is sought, except that a resume goes straight to its place in
a plain file on a disk or an object store; anywhere else it reads the shard again up to there.
"""

import http.client
import io
import re
import subprocess
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast
from urllib.parse import urlsplit

from wdstream.errors import ConfigError, ShardError
from wdstream.nodes.node import Stage, State
from wdstream.shards.layout import split_name
from wdstream.storage.remote import open_remote

OpenStream = Callable[[str], BinaryIO]
USTAR_MAGIC, MAGIC_OFFSET = b"ustar", 257
MAX_MEMBER_BYTES = 2 << 30
"""Of one file in a tar, which is read into memory whole; a compressed tar of a few kilobytes may claim to hold more."""
SILENCE_S = 60.0
"""Seconds without a byte from a web server, after which it counts as gone."""
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


class RawSample(NamedTuple):
    """One sample as it is in a tar: `members` maps extension to bytes, `offset` is where its first header starts."""

    key: str
    members: dict[str, bytes]
    offset: int
    url: str


class ReadTars(Stage[RawSample]):
    """The samples of some tars, in order. The state is the tar, the sample in it, and where that sample starts.

    Args:
        urls: local paths, `http://` and `https://` addresses, others that fsspec reaches (`s3://bucket/x.tar`), or
            `pipe:COMMAND` for the output of a shell command.
        open_stream: opens one of them for reading; replace it for other kinds of address.
    """

    SHARD_KEY, SAMPLE_KEY, OFFSET_KEY = "shard", "sample", "offset"

    def __init__(self, urls: Sequence[str], *, open_stream: OpenStream | None = None) -> None:
        super().__init__()
        self.urls = urls
        self._open_stream = open_stream or open_url
        self._stream: BinaryIO | None = None
        self._samples: Iterator[RawSample] | None = None

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved place, or at the first sample of the first tar."""
        super().reset(initial_state)
        state = initial_state or {self.SHARD_KEY: 0, self.SAMPLE_KEY: 0, self.OFFSET_KEY: 0}
        self._shard, self._sample = int(state[self.SHARD_KEY]), int(state[self.SAMPLE_KEY])
        self._offset = int(state[self.OFFSET_KEY])
        self._close_tar()
        self._next: RawSample | None = None

    def advance(self) -> RawSample:
        """The next sample; the one after it is read ahead, to know where it starts."""
        while self._shard < len(self.urls):
            if self._samples is None:
                self._samples = self._open(self.urls[self._shard])
                self._next = next(self._samples, None)
            sample, self._next = self._next, next(self._samples, None)
            if self._next is None:
                self._shard, self._sample, self._offset = self._shard + 1, 0, 0
                self._close_tar()
            else:
                self._sample, self._offset = self._sample + 1, self._next.offset
            if sample is not None:
                return sample
        raise StopIteration

    def get_state(self) -> State:
        """The place of the next sample."""
        return {self.SHARD_KEY: self._shard, self.SAMPLE_KEY: self._sample, self.OFFSET_KEY: self._offset}

    def close(self) -> None:
        """Close the open tar."""
        self._close_tar()
        super().close()

    def _close_tar(self) -> None:
        self._samples = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _open(self, url: str) -> Iterator[RawSample]:
        self._stream = stream = self._open_stream(url)
        if self._offset and _is_plain_tar(stream):
            stream.seek(self._offset)
            return _read_samples(stream, url, self._offset)
        return islice(_read_samples(stream, url, 0), self._sample, None)


def open_url(url: str) -> BinaryIO:
    """Open a local path, an address, or the output of a shell command (`pipe:COMMAND`) for reading.

    Raises:
        ShardError: it cannot be opened.
    """
    try:
        if url.startswith("pipe:"):
            return cast(BinaryIO, CommandOutput(url.removeprefix("pipe:")))
        if url.startswith(("http://", "https://")):
            return cast(BinaryIO, Download(url))
        if is_store(url):
            return open_remote(url)
        return Path(url).open("rb")
    except OSError as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise ShardError(f"{url}: cannot be opened ({error}); check the address, or leave it out") from error


class Download(io.RawIOBase):
    """The body of a web server's answer; one that breaks off is an error, not the end of the data."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._answer: http.client.HTTPResponse = urllib.request.urlopen(url, timeout=SILENCE_S)

    def readable(self) -> bool:
        """Always true: it is only read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer only at the end.

        Raises:
            ShardError: the connection was closed before all was sent.
        """
        data = self._answer.read(None if size < 0 else size)
        if len(data) < size and self._answer.length:
            raise ShardError(
                f"{self._url}: the connection was closed {self._answer.length} bytes before the end; start again, the "
                "run continues from its last checkpoint"
            )
        return data

    def close(self) -> None:
        """Close the connection to the server."""
        if not self.closed:
            self._answer.close()
        super().close()


class CommandOutput(io.RawIOBase):
    """What a shell command writes; a command that fails is an error, not the end of the data."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._process = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert self._process.stdout is not None
        self._output = self._process.stdout

    def readable(self) -> bool:
        """Always true: it is only read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer only at the end.

        Raises:
            ShardError: the command ended with an exit status other than 0.
        """
        data = self._output.read(size)
        if len(data) < size or size < 0:
            status = self._process.wait()
            if status:
                raise ShardError(f"pipe:{self._command}: the command failed with exit status {status}")
        return data

    def close(self) -> None:
        """End the command, if it still runs."""
        if not self.closed:
            self._output.close()
            self._process.kill()
            self._process.wait()
        super().close()


def _is_plain_tar(stream: BinaryIO) -> bool:
    """Whether one can go to a place in it: a file on a disk or an object store, not compressed."""
    if not stream.seekable():
        return False
    head = stream.read(MAGIC_OFFSET + len(USTAR_MAGIC))
    stream.seek(0)
    return head.endswith(USTAR_MAGIC)


def _read_samples(stream: BinaryIO, url: str, base: int) -> Iterator[RawSample]:
    """Neighbours with one key make a sample; offsets count from the start of the tar, `base` bytes back."""
    sample: RawSample | None = None
    for member, data in _read_members(stream, url):
        name = split_name(member.name)
        if name is None:
            continue
        key, extension = name
        if sample is None or key != sample.key:
            if sample is not None:
                yield sample
            sample = RawSample(key, {}, base + member.offset, url)
        if extension in sample.members:
            raise ShardError(f"{url}: the sample {key!r} has two members {extension!r}; remove or rename one")
        sample.members[extension] = data
    if sample is not None:
        yield sample


def _read_members(stream: BinaryIO, url: str) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Every file of a tar with its bytes, in one pass."""
    try:
        with tarfile.open(fileobj=stream, mode="r|*") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                if file is None:
                    continue
                if member.size > MAX_MEMBER_BYTES:
                    raise ShardError(
                        f"{url}: {member.name!r} has {member.size} bytes, above the limit of {MAX_MEMBER_BYTES} for "
                        "one member of a sample; leave it out of the tar"
                    )
                yield member, file.read()
    except (tarfile.TarError, OSError, EOFError, http.client.HTTPException) as error:
        raise ShardError(
            f"{url}: not a readable tar, or cut short ({type(error).__name__}: {error}); bring a whole file"
        ) from error


def expand_urls(path: str) -> list[str]:
    """All tars of a folder by name; or `path` itself, its braces written out: `a-{00..17}.tar`, `{en,de}.tar`.

    Folders are local, or on an object store: `s3://bucket/tars`.

    Raises:
        ConfigError: a folder without tars, or no file, address or command.
        ShardError: a folder on an object store that cannot be listed.
    """
    if Path(path).is_dir():
        return _tars_of(path, [file.name for file in Path(path).iterdir()])
    urls = _expand_braces(path)
    for url in urls:
        if not is_remote(url) and not Path(url).exists():
            raise ConfigError(
                f"{url}: no such file; give a folder of tars, a tar, an address (http, https, s3, ...), or "
                "pipe:COMMAND; braces such as shard-{000..127}.tar stand for several"
            )
    return [tar for url in urls for tar in (_tars_of_store(url) if is_store(url) else [url])]


def is_remote(url: str) -> bool:
    """Whether it is an address or a command, not a file."""
    return "://" in url or url.startswith("pipe:")


def is_store(url: str) -> bool:
    """Whether it is an address that fsspec reaches: any but a web server's, which is read without ranges."""
    return is_remote(url) and not url.startswith(("http://", "https://", "pipe:"))


def _tars_of_store(url: str) -> list[str]:
    """The tars of a folder on an object store; a tar is itself."""
    if url.endswith(SUFFIXES):
        return [url]
    from wdstream.storage.remote import FsspecStorage

    return _tars_of(url, FsspecStorage(url).names(""))


def _tars_of(folder: str, names: Sequence[str]) -> list[str]:
    found = sorted(f"{folder.rstrip('/')}/{name}" for name in names if name.endswith(SUFFIXES))
    if not found:
        raise ConfigError(f"{folder}: no tars in this folder; their names end in {', '.join(SUFFIXES)}")
    return found


def shard_names(urls: Sequence[str]) -> list[str]:
    """A name for each tar that stays when they move to another folder or host: the file's name, a command as it is.

    Where two files have one name, all are called by their whole address.
    """
    names = [_file_name(url) for url in urls]
    return names if len(set(names)) == len(names) else list(urls)


def _file_name(url: str) -> str:
    if url.startswith("pipe:"):
        return url
    return Path(urlsplit(url).path if is_remote(url) else url).name


def _expand_braces(text: str) -> list[str]:
    """Every way to fill the first braces, then the rest; braces that hold neither a range nor commas are text."""
    for found in _BRACES.finditer(text):
        choices = _choices(found.group(1))
        if choices is not None:
            rest = _expand_braces(text[found.end() :])
            return [text[: found.start()] + choice + tail for choice in choices for tail in rest]
    return [text]


def _choices(inside: str) -> list[str] | None:
    span = _RANGE.fullmatch(inside)
    if span:
        first, last = int(span.group(1)), int(span.group(2))
        digits = len(span.group(1)) if span.group(1).startswith("0") else 0
        return [f"{number:0{digits}}" for number in range(first, last + 1)]
    return inside.split(",") if "," in inside else None
