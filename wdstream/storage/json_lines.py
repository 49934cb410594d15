"""Files of one JSON object per line: those that grow with a run (metrics, ledger, states, quarantine), and whole lists.

A kill may tear the last line; a power cut may leave zeros in place of what was not yet on the disk, at the end of the
file. Both are an end that was never written: readers stop before it. What is damaged with sound lines after it is an
error that names the line.

Steps after the last checkpoint are computed again. So a resumed run first cuts each growing file back to the steps its
checkpoint has: what the file says is what the weights have seen, once. For that the lines of these steps are synced
before the checkpoint is complete (`sync_lines`).
"""

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wdstream.errors import DamagedFileError
from wdstream.storage.atomic import atomic_write, naming


def read_lines(path: Path, *, needed: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """The objects of a file, oldest first; nothing for a file that does not exist; stops before a damaged end.

    Args:
        path: the file.
        needed: keys that every object has.

    Raises:
        DamagedFileError: a line is not such an object, and lines after it are; names the first such line.
    """
    if not path.exists():
        return
    damaged = 0  # number of the first line that is none
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if (tree := _decode(line, needed)) is None:
                damaged = damaged or number
                continue
            if damaged:
                raise DamagedFileError(
                    f"{path}: line {damaged} is damaged, and line {number} after it is not, so this is not an end "
                    f"that was cut off: expected a JSON object{_with_keys(needed)}; bring it back from a copy, or "
                    "remove it if you can do without it"
                )
            yield tree


def write_lines(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    """Write a whole file, complete or not at all."""
    with atomic_write(path) as file:
        file.writelines(map(_encode, lines))


def cut_back(path: Path, *, next_step: int) -> None:
    """Keep only the lines whose "step" is below `next_step`, the first step that will be computed again.

    A damaged end is cut off too, and a line that is there twice in a row is kept once.

    Raises:
        DamagedFileError: see `read_lines`.
    """
    if not path.exists():
        return
    kept: list[dict[str, Any]] = []
    for line in read_lines(path, needed=("step",)):
        if line["step"] < next_step and line not in kept[-1:]:
            kept.append(line)
    write_lines(path, kept)


class LineFile:
    """Appends objects; every line reaches the operating system at once, so that a killed process loses none.

    Only one process may append to a file, and what a kill left at its end is cut off first (`cut_back`).
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, line: Mapping[str, object]) -> None:
        """Write one object as one line."""
        with naming(self._path), self._path.open("ab") as file:
            file.write(_encode(line))


def sync_lines(path: Path) -> None:
    """Wait until all lines of a file are on the disk, where no power cut takes them; nothing for one that is not there.

    The folder is not synced: whoever makes the file known does that.
    """
    if path.exists():
        with naming(path), path.open("rb") as file:
            os.fsync(file.fileno())


def _decode(line: bytes, needed: Collection[str]) -> dict[str, Any] | None:
    """The object of a whole line with the keys that are needed; None for anything else."""
    if not line.endswith(b"\n"):
        return None
    try:
        tree: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) and all(key in tree for key in needed) else None


def _with_keys(needed: Collection[str]) -> str:
    return f" with {', '.join(sorted(needed))}" if needed else ""


def _encode(line: Mapping[str, object]) -> bytes:
    try:
        return (json.dumps(line, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # a file name that is not UTF-8 has lone surrogates, which only an escape can hold
        return (json.dumps(line) + "\n").encode()
