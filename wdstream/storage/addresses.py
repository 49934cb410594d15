"""Addresses of web servers as people write them: with a name and password, spaces, letters of any script."""

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from wdstream.errors import ConfigError

if TYPE_CHECKING:
    import urllib.request

_SAFE = "!#$%&'()*+,/:;=?@[]~"
_NOT_IN_NAMES = str.maketrans({letter: quote(letter) for letter in "%#?"})
_PASSWORD = re.compile(r"(://[^/?#:@]*):[^/?#]*@")
_IN_A_TEXT = re.compile(r"(://[^/?#:@\s]*):[^/?#\s]*@")
_BUCKETS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
_SERVERS = ("http", "https")
PROTOCOLS = (*_BUCKETS, *_SERVERS, "file")
"""Those whose URLs are recognised even where slashes are missing."""


def shown_url(url: str) -> str:
    """An address for messages: a password in it is not shown."""
    return _PASSWORD.sub(r"\1:***@", url)


def without_passwords(text: str) -> str:
    """A text for people, in which passwords of all addresses are left out."""
    return _IN_A_TEXT.sub(r"\1:***@", text)


def check_address(address: str) -> str:
    """The address of a path or URL, unless it is a URL that is misspelt: `s3:/x` would be a folder `s3:` here.

    Raises:
        ConfigError: slashes, bucket or server are missing, or the protocol is in capitals.
    """
    protocol, colon, rest = address.partition(":")
    kind = protocol.lower()
    if not colon or kind not in PROTOCOLS:
        return address
    names = "HOST" if kind in _SERVERS else "BUCKET"
    wanted = "file:///FOLDER" if kind == "file" else f"{kind}://{names}/FOLDER"
    if not rest.startswith("//"):
        found = repr(rest[0]) if rest else "nothing"
        what = f"found {found} after the colon; a path of this machine that begins so is given whole"
    elif protocol != kind:
        what = f"found {protocol} in capitals"
    elif kind != "file" and not rest[2:].partition("/")[0]:
        what = f"found no {names.lower()}"
    else:
        return address
    below = rest.lstrip("/")
    shown = shown_url(f"{protocol}://{below}").replace("://", f":{rest[: len(rest) - len(below)]}", 1)
    raise ConfigError(f"{shown}: expected {wanted}, {what}")


def request_for(url: str, headers: Mapping[str, str], *, method: str = "GET") -> "urllib.request.Request":
    """A request to a web server; a name and password in the address go to this server, and to none it redirects to."""
    import urllib.request  # which takes longer to import than most starts have for it

    parts = urlsplit(url)
    account, _, host = parts.netloc.rpartition("@")
    address = quote(parts._replace(netloc=host.encode("idna").decode()).geturl(), safe=_SAFE)
    request = urllib.request.Request(address, headers=dict(headers), method=method)
    if account:
        name, _, password = account.partition(":")
        told = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode())
        request.add_unredirected_header("Authorization", f"Basic {told.decode()}")
    return request


def address_of(folder: str, name: str) -> str:
    """The address of a file in a folder; on a web server, what has a meaning in addresses is written otherwise."""
    return f"{folder}/{name.translate(_NOT_IN_NAMES) if _is_web(folder) else name}"


def name_in(address: str) -> str:
    """The name of the file at an address, as it is on the server."""
    name = address.rpartition("/")[2]
    return unquote(name) if _is_web(address) else name


def _is_web(address: str) -> bool:
    return address.rpartition("::")[2].startswith(("http://", "https://"))
