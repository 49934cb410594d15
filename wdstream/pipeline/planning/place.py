"""Where the processes of a machine meet, and how they find out that they are on one."""

import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MOST_CHARACTERS = 60
"""Of the folder's path: a socket's name has some 100 bytes, whatever the file system."""


def this_machine() -> tuple[object, ...]:
    """What processes have in common that run as one user on one machine, and see the same folder of temporary files."""
    boot = ""
    with suppress(OSError):
        boot = _BOOT.read_text(encoding="ascii")
    try:
        root = Path(_root()).stat()
    except OSError:
        return socket.gethostname(), boot, os.getuid(), os.getpid()
    return socket.gethostname(), boot, os.getuid(), root.st_dev, root.st_ino


def make_socket_folder() -> str:
    """A new folder for a socket, of this user alone; "" where none can be made."""
    try:
        return tempfile.mkdtemp(prefix="wdstream-plan-", dir=_root())
    except OSError:
        return ""


def _root() -> str:
    root = tempfile.gettempdir()
    return root if len(os.fsencode(root)) < _MOST_CHARACTERS else "/tmp"
