"""The file system of a URL, as fsspec opens it: with answers that are checked, and as many connections as are wanted.

Stores and web servers are tried again here by one layer only (tries.py), which tries each range by itself: what s3fs
and botocore would try again below is switched off, or a dead server would cost all their tries multiplied.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from wdstream.errors import ConfigError, needs_extra
from wdstream.storage.forks import has_connections
from wdstream.storage.http_answers import client_options
from wdstream.storage.s3_answers import checked_session
from wdstream.storage.settings import ReadSettings

_S3_SILENCE_S = 60
_WRONG_CACHES = ("blockcache", "cached", "filecache")
"""Caches of fsspec that are not safe for threads: 4 of 104 pages were lost, or the process crashed."""


def open_file_system(url: str, options: dict[str, Any], reading: ReadSettings) -> tuple[Any, str]:
    """fsspec's file system for a URL, of this process, and the path of the URL in it.

    Raises:
        ConfigError: fsspec, or its plug-in for the protocol, is not installed; the URL begins with a cache of fsspec
            that gives other bytes than the store has.
    """
    wrong = next((name for name in url.split("::")[:-1] if name.partition(":")[0] in _WRONG_CACHES), None)
    if wrong is not None:
        raise ConfigError(
            f"{url}: {wrong}:: loses or mixes up bytes when several threads read: leave it out, and give a folder of "
            "this machine as data.cache, {path: ..., max_bytes: ...}"
        )
    with needs_extra(url, "remote"):
        import fsspec
    protocol = url.partition("://")[0]
    try:
        if protocol in ("http", "https"):
            options = client_options(reading.open_requests) | options
        elif protocol in ("s3", "s3a"):
            options = _s3_options(fsspec.config.conf.get(protocol, {}) | options, reading)
        files, root = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{url}: {error}") from error
    if protocol in ("s3", "s3a"):
        files.retries = 1
    if hasattr(files, "close_session"):  # what ends its connections, also when a forked child ends
        files.close_session = partial(_close_here, type(files).close_session, os.getpid())
        has_connections(files)
    return files, root


def _close_here(close: Callable[..., None], pid: int, *session: object) -> None:
    if os.getpid() == pid:
        close(*session)


def _s3_options(options: dict[str, Any], reading: ReadSettings) -> dict[str, Any]:
    """Options of s3fs, in which those of a user stay."""
    config = {
        "max_pool_connections": reading.open_requests,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "read_timeout": _S3_SILENCE_S,
    }
    # By its session it is no file system of anybody else, who might mind the number of tries.
    own = {"session": checked_session(options.get("profile"), os.getpid())}
    return own | options | {"config_kwargs": config | options.get("config_kwargs", {})}
