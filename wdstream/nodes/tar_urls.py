"""Which tars a path means: a folder, a pattern with braces, an address, a command."""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from wdstream.errors import ConfigError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


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
