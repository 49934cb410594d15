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

    Raises:
        ConfigError: a folder without tars, or no file, address or command.
    """
    if Path(path).is_dir():
        found = sorted(str(file) for file in Path(path).iterdir() if file.name.endswith(SUFFIXES))
        if not found:
            raise ConfigError(f"{path}: no tars in this folder; their names end in {', '.join(SUFFIXES)}")
        return found
    urls = _expand_braces(path)
    for url in urls:
        if not is_remote(url) and not Path(url).exists():
            raise ConfigError(
                f"{url}: no such file; give a folder of tars, a tar, an http(s) address, or pipe:COMMAND; braces such "
                "as shard-{000..127}.tar stand for several"
            )
    return urls


def is_remote(url: str) -> bool:
    """Whether it is an address or a command, not a file."""
    return url.startswith(("http://", "https://", "pipe:"))


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
