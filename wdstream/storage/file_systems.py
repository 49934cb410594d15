"""The file system of a URL, as fsspec opens it: with answers that are checked, and as many connections as are wanted.

Stores and web servers are tried again here by one layer only (tries.py), which tries each range by itself: what s3fs
and botocore would try again below is switched off, or a dead server would cost all their tries multiplied.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import MethodType
from typing import Any
from urllib.parse import quote

from wdstream.errors import ConfigError
from wdstream.storage.addresses import is_web, shown_url, with_account
from wdstream.storage.forks import has_connections
from wdstream.storage.http_answers import aiohttp_limits, client_options, may_pass, status_of, store_error
from wdstream.storage.s3_answers import checked_session
from wdstream.storage.settings import SILENCE_S, ReadSettings
from wdstream.storage.tries import Retrying

_WRONG_CACHES = ("blockcache", "cached", "filecache")
"""Caches of fsspec that are not safe for threads: 4 of 104 pages were lost, or the process crashed."""

GOOGLE, AZURE = ("gs", "gcs"), ("az", "abfs", "abfss")
"""Protocols of their stores."""
_EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(GOOGLE, "google"),
    **dict.fromkeys((*AZURE, "adl"), "azure"),
}
"""What has the plug-in for a protocol; fsspec says it of others."""
_BUCKETS_SEEN: set[tuple[str, str]] = set()
"""Protocol and name of buckets that are there."""
_ASKS_KINDS_OF_BUCKETS = "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"
"""By which gcsfs asks for the kind of each bucket first, over gRPC: 60 s each time where that is not answered, and
nothing for forks. Who has a zonal bucket sets it to true."""


@contextmanager
def needs_plug_in(url: str) -> Iterator[None]:
    """For what imports fsspec and its plug-in for a URL: without one, an error that says how it is installed.

    Raises:
        ConfigError: fsspec or the plug-in is not installed, or there is none for the protocol.
    """
    protocol = url.partition("://")[0].lower()
    if protocol in GOOGLE:
        os.environ.setdefault(_ASKS_KINDS_OF_BUCKETS, "false")
    try:
        yield
    except ImportError as error:
        package = "" if protocol != "hf" else " huggingface_hub"
        command = f"pip install 'wdstream[{_EXTRAS.get(protocol, 'remote')}]'{package}"
        raise ConfigError(f"{shown_url(url)} needs a package that is not installed ({error}); run {command}") from error
    except ValueError as error:
        near = "; is the address right? Stores are s3://, gs://, az://, ..." if "not known" in str(error) else ""
        raise ConfigError(f"{shown_url(url)}: {error}{near}") from error


def open_file_system(url: str, options: dict[str, Any], reading: ReadSettings) -> tuple[Any, str]:
    """fsspec's file system for a URL, of this process, and the path of the URL in it.

    Raises:
        ConfigError: fsspec, or its plug-in for the protocol, is not installed; the URL begins with a cache of fsspec
            that gives other bytes than the store has.
    """
    wrong = next(
        (name for name in url.split("::")[:-1] if not is_web(url) and name.partition(":")[0] in _WRONG_CACHES), None
    )
    if wrong is not None:
        raise ConfigError(
            f"{shown_url(url)}: {wrong}:: loses or mixes up bytes when several threads read: leave it out, and give a "
            "folder of this machine as data.cache, {path: ..., max_bytes: ...}"
        )
    protocol = url.partition("://")[0]
    with needs_plug_in(url):
        import fsspec

        if protocol in ("http", "https"):
            options = client_options(reading.open_requests, reading.silence_s) | options
        elif protocol in ("s3", "s3a"):
            options = _s3_options(fsspec.config.conf.get(protocol, {}) | options, reading)
        elif protocol in GOOGLE:
            options = (
                {"requests_timeout": aiohttp_limits(reading.silence_s)} | fsspec.config.conf.get(protocol, {}) | options
            )
        files, root = _opened(url, options)
    if protocol in ("s3", "s3a"):
        files.retries = 1
    if protocol in (*AZURE, *GOOGLE):
        with suppress(AttributeError):  # in versions that are other inside, their own limits stay
            _limit_silence(files, reading.silence_s)
    keep_to_this_process(files)
    return files, root


def _opened(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    """As fsspec opens a URL; some of its plug-ins (ftp, sftp, ...) connect at once.

    Raises:
        ShardError: that failed, by its kind.
        ImportError, ValueError: the plug-in is not installed, or the protocol not known.
    """
    import fsspec

    try:
        if is_web(url):  # fsspec takes `::` in it for a chain
            return fsspec.filesystem(url.partition(":")[0], **options), with_account(url)
        files, root = fsspec.core.url_to_fs(url, **options)
    except (ImportError, ValueError):
        raise
    except Exception as error:  # whatever the protocol's plug-in raises
        raise store_error(url, error, 1, doing="opened") from error
    return files, str(root)


def _limit_silence(files: Any, silence_s: float) -> None:
    """Have requests to Azure and Google given up after this silence; what a user set stays.

    adlfs does it for uploads alone. And both wait forever for a store that takes no more of what is sent.
    """
    from fsspec.asyn import sync

    if hasattr(files, "service_client"):
        transport, chosen = files.service_client._pipeline._transport, files._timeout_kwargs
        most = transport.connection_config
        most.timeout = chosen.get("connection_timeout", silence_s)
        most.read_timeout = chosen.get("read_timeout", silence_s)
        transport.session = transport.session or sync(files.loop, _azure_session, transport, silence_s)
    elif files._session is None and not files.session_kwargs and not getattr(files, "_use_client_cert", False):
        files.session_kwargs = {"connector": sync(files.loop, _connector, silence_s)}


async def _azure_session(transport: Any, silence_s: float) -> Any:
    """As the transport would open one itself, with another connector."""
    import aiohttp

    return aiohttp.ClientSession(
        connector=await _connector(silence_s),
        trust_env=transport._use_env_settings,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )


async def _connector(silence_s: float) -> Any:
    """Connections of aiohttp that break when nothing that is sent is taken for so long, where the system can tell."""
    import aiohttp

    def opened(address: Any) -> socket.socket:
        connection = socket.socket(*address[:3])
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * silence_s))
        return connection

    return aiohttp.TCPConnector(socket_factory=opened)


def travels_in_clear(url: str, files: Any, options: dict[str, Any]) -> bool:
    """Whether bytes of a URL travel without TLS, which would notice one that is changed on its way.

    Args:
        url: of a folder.
        files: its file system, opened.
        options: that it was opened with.
    """
    protocol = url.partition("://")[0].lower()
    if protocol in ("s3", "s3a"):
        return str(files.s3.meta.endpoint_url).startswith("http://")
    address = getattr(files, "_location", "") or getattr(getattr(files, "service_client", None), "url", "")
    return protocol == "http" or "http://" in f"{options} {address}"  # of Google and Azure


def keep_to_this_process(files: Any) -> None:
    """Have connections of a file system ended by this process alone, not by a forked child, also when that ends.

    Requests to Azure and Google are sent once each time: their clients would wait 15 s before they send one again, or
    send it six times in 30 s.
    """
    if hasattr(files, "service_client"):
        files.service_client._config.retry_policy.total_retries = 0
    once = getattr(getattr(type(files), "_request", None), "__wrapped__", None)
    if once is not None:  # of gcsfs
        files._request = MethodType(once, files)
    if hasattr(files, "close_session"):
        files.close_session = partial(_close_here, type(files).close_session, os.getpid())
        has_connections(files)


def lacks_bucket(url: str, files: Any) -> bool:
    """Whether Google or Azure has no such bucket at all, which their plug-ins say neither of a file nor of a listing.

    The store is asked, but once it has said to this process that it is there. False where it does not say, and of
    other stores, whose errors tell the two apart.

    Args:
        url: of a folder.
        files: its file system, opened.
    """
    protocol = url.partition("://")[0]
    if protocol not in (*GOOGLE, *AZURE):
        return False
    bucket = str(files.split_path(url)[0])
    if (protocol, bucket) in _BUCKETS_SEEN:
        return False
    ask = _ask_google if protocol in GOOGLE else _ask_azure
    try:
        Retrying(may_pass)(lambda _: ask(files, bucket))
    except Exception as error:  # whatever the protocol's plug-in raises
        return isinstance(error, FileNotFoundError) or status_of(error) == 404
    _BUCKETS_SEEN.add((protocol, bucket))
    return False


def _ask_google(files: Any, bucket: str) -> None:
    files.call("GET", f"{files._location}/storage/v1/b/{quote(bucket)}/o", maxResults=1, json_out=True)


def _ask_azure(files: Any, bucket: str) -> None:
    from fsspec.asyn import sync

    async def ask() -> None:
        async for _ in files.service_client.get_container_client(bucket).list_blobs(results_per_page=1):
            return

    sync(files.loop, ask, timeout=SILENCE_S)


def _close_here(close: Callable[..., None], pid: int, *session: object) -> None:
    if os.getpid() == pid:
        close(*session)


def _s3_options(options: dict[str, Any], reading: ReadSettings) -> dict[str, Any]:
    """Options of s3fs, in which those of a user stay."""
    config = {
        "max_pool_connections": reading.open_requests,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "connect_timeout": reading.silence_s,
        "read_timeout": reading.silence_s,
    }
    # By its session it is no file system of anybody else, who might mind the number of tries.
    environment = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    own = {"session": checked_session(options.get("profile"), os.getpid(), environment)}
    return own | options | {"config_kwargs": config | options.get("config_kwargs", {})}
