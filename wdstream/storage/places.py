"""Where anything is written: a folder of this machine, or a folder under a URL that fsspec reaches.

`Storage` (local.py, remote.py) is the side that reads shards by ranges; a place is written to, and holds one writer.
"""

from pathlib import Path

from wdstream.errors import ConfigError
from wdstream.storage.addresses import PROTOCOLS, check_address, shown_url
from wdstream.storage.writes.local_place import LocalPlace
from wdstream.storage.writes.place import Hold, Place, StoredFile

__all__ = ["Hold", "Place", "StoredFile", "is_url", "local_folder", "open_place"]
_READ_ONLY = ("http", "https", "zip", "tar", "data", "github", "gist")
_OF_PATHS = tuple(f"{protocol}:" for protocol in PROTOCOLS)


def is_url(address: str | Path) -> bool:
    """Whether an address is a URL, not a path of this machine."""
    return "://" in str(address)


def local_folder(address: str | Path) -> Path | None:
    """The path that an address stands for on this machine, `file://` included; None for a URL of elsewhere.

    Raises:
        ConfigError: it is a Path that was made of a URL, or a URL that is misspelt.
    """
    text = str(address)
    if isinstance(address, Path) and address.parts[:1] and address.parts[0] in _OF_PATHS:
        raise ConfigError(f"{address}: a Path cannot hold a URL, since it drops a slash; give it as text, a str")
    if isinstance(address, str):
        check_address(address)
    if text.startswith("file://"):
        return Path("/" + text.removeprefix("file://").lstrip("/"))
    return None if is_url(text) else Path(text)


def open_place(address: str | Path) -> Place:
    """The place to write to at a path or a URL; nothing is asked of it yet.

    Raises:
        ConfigError: the URL is of what is only read, or the plug-in of its protocol is not installed.
    """
    folder, url = local_folder(address), str(address)
    if folder is not None:
        return LocalPlace(folder)
    protocol = url.partition("://")[0].lower()
    if protocol in _READ_ONLY:
        raise ConfigError(
            f"{shown_url(url)}: {protocol}:// is only read from; write to a local folder, or to a store such as "
            "s3://bucket/folder"
        )
    if protocol in ("s3", "s3a"):
        from wdstream.storage.writes.s3_place import S3Place  # what few jobs write to is imported by these

        return S3Place(url)
    from wdstream.storage.writes.fsspec_place import FsspecPlace

    return FsspecPlace(url)
