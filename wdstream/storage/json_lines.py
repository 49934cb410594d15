"""Files of one JSON object per line: those that grow with a run (metrics, ledger, states, quarantine), and whole lists.

A kill may tear the last line, and steps after the last checkpoint are computed again. So a resumed run first cuts each
growing file back to the steps its checkpoint has: what the file says is what the weights have seen, once.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wdstream.storage.atomic import atomic_write


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, oldest first; nothing for a file that does not exist; stops before a torn line."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                return
            yield json.loads(line)


def write_lines(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    """Write a whole file, complete or not at all."""
    with atomic_write(path) as file:
        file.writelines(map(_encode, lines))


def cut_back(path: Path, *, next_step: int) -> None:
    """Keep only the lines whose "step" is below `next_step`, the first step that will be computed again."""
    if path.exists():
        write_lines(path, [line for line in read_lines(path) if line["step"] < next_step])


class LineFile:
    """Appends objects; every line reaches the operating system at once, so that a killed process loses none.

    Only one process may append to a file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, line: Mapping[str, object]) -> None:
        """Write one object as one line."""
        with self._path.open("ab") as file:
            file.write(_encode(line))


def _encode(line: Mapping[str, object]) -> bytes:
    try:
        return (json.dumps(line, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # a file name that is not UTF-8 has lone surrogates, which only an escape can hold
        return (json.dumps(line) + "\n").encode()
