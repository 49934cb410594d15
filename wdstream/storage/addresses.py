"""Addresses of web servers as people write them: with a name and password, spaces, letters of any script."""

import base64
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from wdstream.errors import ConfigError

if TYPE_CHECKING:
    import urllib.request

_SAFE = "!#$%&'()*+,/:;=?@[]~"
_NOT_IN_NAMES = str.maketrans({letter: quote(letter) for letter in "%#?"})
_PASSWORD = re.compile(r"(://[^/?#:@]*):[^/?#]*@")
_IN_A_TEXT = re.compile(r"(://[^/?#:@\s]*):[^/?#\s]*@")
_ACCOUNT = re.compile(r"://[^/?#]*:[^/?#]*@")
_SIGNED = re.compile(
    r"([?&][^=&#\s]*(?:sig|signature|token|credential|secret|password|accesskeyid|api[-_]?key|auth_?key|passwd|pwd)=)[^&#\s'\"]*[^&#\s'\":;,.)]",
    re.IGNORECASE,
)
"""What gives a right in the query of an address: of S3, Google and Azure, and of others by their names."""
_BUCKETS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
_SERVERS = ("http", "https")
PROTOCOLS = (*_BUCKETS, *_SERVERS, "file")
"""Those whose URLs are recognised even where slashes are missing."""
_log = logging.getLogger("wdstream")
_not_used: set[str] = set()
"""Files of passwords that this process said it cannot read."""


def shown_url(url: str) -> str:
    """An address for messages: a password or signature in it is not shown."""
    return _unsigned(_PASSWORD.sub(r"\1:***@", url))


def kept_url(url: str) -> str:
    """An address for a file that stays: with a name and password left out, and without a signature; of a command
    (`pipe:COMMAND`) as for messages, since in the middle of it a name may be no name."""
    return without_passwords(url) if url.startswith("pipe:") else _unsigned(_ACCOUNT.sub("://", url))


def _unsigned(url: str) -> str:
    """A URL without what gives a right in its query; a path of this machine, which has no query, as it is."""
    return _SIGNED.sub(r"\1***", url) if "://" in url else url


def without_passwords(text: str) -> str:
    """A text for people, in which passwords and signatures of all addresses are left out."""
    return _SIGNED.sub(r"\1***", _IN_A_TEXT.sub(r"\1:***@", text))


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
    elif kind == "file" and not rest.startswith("///"):
        what = "found two slashes; a path of the working directory is given without file://"
    else:
        return address
    below = rest.lstrip("/")
    shown = shown_url(f"{protocol}://{below}").replace("://", f":{rest[: len(rest) - len(below)]}", 1)
    raise ConfigError(f"{shown}: expected {wanted}, {what}")


def is_web(url: str) -> bool:
    """Whether a URL is of a web server. It is no chain of fsspec, whatever is in it: `http://[::1]/x`."""
    return url.startswith(("http://", "https://"))


def check_web_folder(address: str) -> None:
    """Refuse the address of a folder to which no name can be added.

    Raises:
        ConfigError: it is a web server's, and has a query or a fragment, which would be in the middle.
    """
    if _is_web(address) and not {"?", "#"}.isdisjoint(address):
        raise ConfigError(
            f"{shown_url(address)}: a folder's address cannot have ? or #, since names of files are added to its end; "
            "where they are in its name, write %3F and %23; in place of a signature (?...), which is of one file, give "
            "the address of the store itself (s3://, gs://, az://)"
        )


def request_for(url: str, headers: Mapping[str, str], *, method: str = "GET") -> "urllib.request.Request":
    """A request to a web server; a name and password in the address, or of the server in ~/.netrc, go to this server,
    and to none it redirects to."""
    import urllib.request  # which takes longer to import than most starts have for it

    parts = urlsplit(url)
    account, _, host = parts.netloc.rpartition("@")
    address = quote(parts._replace(netloc=host.encode("idna").decode()).geturl(), safe=_SAFE)
    request = urllib.request.Request(address, headers=dict(headers), method=method)
    name, password = map(unquote, account.partition(":")[::2])
    if not account and _unsigned(url) == url:  # stores refuse a signature and a password together
        name, password = _of_netrc(str(parts.hostname))
    if name or password:
        told = base64.b64encode(f"{name}:{password}".encode())
        request.add_unredirected_header("Authorization", f"Basic {told.decode()}")
    return request


def with_account(url: str) -> str:
    """The address of a web server with the name and password that ~/.netrc has for it, where it has none itself."""
    with suppress(ValueError):  # it is no address; whoever opens it says so
        parts = urlsplit(url)
        name, password = ("", "") if "@" in parts.netloc else _of_netrc(str(parts.hostname))
        if name or password:
            return url.replace("://", f"://{quote(name, safe='')}:{quote(password, safe='')}@", 1)
    return url


def _of_netrc(host: str) -> tuple[str, str]:
    """Name and password for a server in the user's file of these; empty where it has none."""
    import netrc

    path = os.environ.get("NETRC")
    try:
        file = Path(path or os.path.expanduser("~/.netrc"))  # noqa: PTH111  # where nobody has a home, none is there
        if not file.is_file() and file.exists() and not file.samefile(os.devnull):
            raise OSError("it is no file")  # a pipe would be waited for
        found = netrc.netrc(path).authenticators(host)
    except FileNotFoundError:
        found = None
    except (OSError, ValueError, netrc.NetrcParseError) as error:
        found = None
        where = path or "~/.netrc"
        if where not in _not_used:  # what the parser says may have a password in it
            line = f" (line {error.lineno})" if isinstance(error, netrc.NetrcParseError) else f" ({error})"
            _log.warning("%s: not used: it cannot be read%s; others may not be allowed to read it", where, line)
            _not_used.add(where)
    return ("", "") if found is None else (found[0] or "", found[2] or "")


def address_of(folder: str, name: str) -> str:
    """The address of a file in a folder; on a web server, what has a meaning in addresses is written otherwise."""
    return f"{folder}/{name.translate(_NOT_IN_NAMES) if _is_web(folder) else name}"


def name_in(address: str) -> str:
    """The name of the file at an address, as it is on the server."""
    name = address.rpartition("/")[2]
    return unquote(name) if _is_web(address) else name


def _is_web(address: str) -> bool:
    return is_web(address) or is_web(address.rpartition("::")[2])
