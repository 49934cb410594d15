"""Where tars are: folders, braces, addresses and commands written out, and each opened as a stream."""

import http.client
import io
import logging
import os
import subprocess
import urllib.error
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

from braceexpand import braceexpand

from wdstream.errors import AbsentFileError, ForbiddenFileError, ShardError, StorageFailureError
from wdstream.storage.addresses import kept_url, shown_url, without_passwords
from wdstream.storage.compression import COMPRESSED_SUFFIXES, STREAMED_SUFFIXES
from wdstream.storage.download import Download, is_unknown
from wdstream.storage.http_answers import RangeError
from wdstream.storage.remote import open_remote

OpenStream = Callable[[str], BinaryIO]
SUFFIXES = (".tar", *STREAMED_SUFFIXES)

_BUFFER_BYTES = 1 << 16
"""Of a download: headers are small, and its first bytes are looked at before they are read."""
_log = logging.getLogger("wdstream")


def open_url(url: str) -> BinaryIO:
    """Open a local path, an address, or the output of a shell command (`pipe:COMMAND`) for reading.

    Raises:
        AbsentFileError, ForbiddenFileError, StorageFailureError: it is not there, may not be read, or something fails.
        ShardError: it is no address.
    """
    try:
        if url.startswith("pipe:"):
            return cast(BinaryIO, CommandOutput(url.removeprefix("pipe:")))
        if url.startswith(("http://", "https://")):
            return cast(BinaryIO, io.BufferedReader(Download(url), _BUFFER_BYTES))
        if is_store(url):
            return open_remote(url)
        return Path(url).open("rb")
    except (OSError, ValueError, http.client.HTTPException, RangeError) as error:
        raise _open_error(shown_url(url), error) from error


def _open_error(url: str, error: Exception) -> ShardError:
    """What kept a tar from being opened, as the error of its kind."""
    status = None
    if isinstance(error, urllib.error.HTTPError):
        status = error.code
        error.close()
    text = f"{url}: cannot be opened ({without_passwords(str(error)) or type(error).__name__})"
    if isinstance(error, FileNotFoundError | NotADirectoryError) or status in (404, 410):
        return AbsentFileError(f"{text}: it is not there; bring it back, or leave it out in another run")
    if isinstance(error, PermissionError) or status in (401, 403, 407):
        return ForbiddenFileError(f"{text}: it may not be read; check rights and credentials, and start again")
    if isinstance(error, ValueError | http.client.InvalidURL):
        return ShardError(f"{text}; check the address, or leave it out")
    if is_unknown(error) and status is None:
        return StorageFailureError(f"{text}: HTTP_PROXY and HTTPS_PROXY have to begin with http://")
    return StorageFailureError(f"{text}: network, server or device fail; start again later")


class CommandOutput(io.RawIOBase):
    """What a shell command writes; a command that fails is an error, not the end of the data.

    It is read by the process that started it: what a forked child read would be missing there.
    """

    def __init__(self, command: str) -> None:
        self._pid = os.getpid()
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
            StorageFailureError: the command ended with an exit status other than 0, or was started by another process.
        """
        if self._pid != os.getpid():
            raise StorageFailureError(
                f"pipe:{without_passwords(self._command)}: is read by the process that this one was forked from; open "
                "it here"
            )
        data = self._output.read(size)
        if len(data) < size or size < 0:
            status = self._process.wait()
            if status:
                raise StorageFailureError(
                    f"pipe:{without_passwords(self._command)}: the command failed with exit status {status}"
                )
        return data

    def close(self) -> None:
        """End the command, if it still runs and is of this process."""
        if not self.closed and self._pid == os.getpid():
            self._output.close()
            self._process.kill()
            self._process.wait()
        super().close()


def expand_urls(path: str) -> list[str]:
    """All tars of a folder by name; or `path` itself, its braces written out: `a-{00..17}.tar`, `{en,de}.tar`.

    Folders are local, or on an object store: `s3://bucket/tars`.

    Raises:
        ShardError: a folder without tars, or no file, address or command; a folder on an object store that cannot be
            listed.
    """
    if Path(path).is_dir():
        below = sorted({f"{file.parent.name}/" for file in Path(path).glob("*/*.tar*")})
        return _tars_of(path, [*below, *(file.name for file in Path(path).iterdir())])
    urls = _expand_braces(path)
    for url in urls:
        if not is_remote(url) and not Path(url).exists():
            raise ShardError(
                f"{url}: no such file; give a folder of tars, a tar, an address (http, https, s3, ...), or "
                "pipe:COMMAND; braces such as shard-{000..127}.tar stand for several"
            )
    found = [tar for url in urls for tar in (_tars_of_store(url) if is_store(url) else [url])]
    _warn_of_clear(found)
    return found


def _warn_of_clear(urls: Sequence[str]) -> None:
    """Say that nothing vouches for what comes without TLS: a tar has checksums of its headers alone."""
    folders = {url.rpartition("/")[0] for url in urls if is_remote(url) and not url.startswith("pipe:")}
    in_clear = sorted(folder for folder in folders if _is_in_clear(folder))
    if in_clear:
        more = f" and {len(in_clear) - 1} more" if len(in_clear) > 1 else ""
        _log.warning(
            "%s%s: read without TLS, and once: where a byte of a text or a JPEG is changed on its way, nothing "
            "notices it. Give https://, an endpoint with TLS, or index the tars, after which each page has a checksum",
            shown_url(in_clear[0]),
            more,
        )


def _is_in_clear(folder: str) -> bool:
    if not is_store(folder):
        return folder.startswith("http://")
    from wdstream.storage.remote import FsspecStorage

    try:
        return FsspecStorage(folder).is_in_clear
    except Exception:  # of wrong settings; whoever opens the tar says which
        return False


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
    looks = (*SUFFIXES, *COMPRESSED_SUFFIXES, "/")
    others = sorted(name for name in names if name.lower().endswith(looks) and not name.endswith(SUFFIXES))
    shown = f"not read, though there may be tars in it: {', '.join(map(repr, others[:20]))}" if others else ""
    if not found:
        raise ShardError(
            f"{folder}: no tars in this folder; their names end in {', '.join(SUFFIXES)}; {shown}".rstrip("; ")
        )
    if shown:
        _log.warning("%s: %s", folder, shown)
    return found


def shard_names(urls: Sequence[str]) -> list[str]:
    """A name for each tar that stays when they move to another folder or host: the file's name, a whole command.

    Where two files have one name, all are called by their whole address, but for passwords and signatures: names are
    in files of a run, and in its state, which others may continue with other ones.
    """
    names = [_file_name(url) for url in urls]
    if len(set(names)) == len(names):
        return names
    kept = [kept_url(url) for url in urls]
    if len(set(kept)) == len(set(urls)):
        return kept
    return [f"{url}#{number}" for number, url in enumerate(kept)]  # what is left out says which file it is


def _file_name(url: str) -> str:
    if url.startswith("pipe:"):
        return kept_url(url)
    return Path(urlsplit(url).path if is_remote(url) else url).name


def _expand_braces(text: str) -> list[str]:
    """Every way to fill braces; those that hold neither a range nor commas, or do not close, are text."""
    try:
        return [str(url) for url in braceexpand(text, escape=False)]
    except ValueError:  # unbalanced
        return [text]
