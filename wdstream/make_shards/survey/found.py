"""What a survey found of files that had to be opened, in some tens of bytes per file."""

from collections.abc import Iterable

from wdstream.raw.listed.files import RawFiles
from wdstream.raw.listed.packed import TextPlaces
from wdstream.raw.source import RawFile

_MOST_UNPACKED = 1 << 14
"""Asked for most often is what was found a moment ago; and places are sorted again after each addition to them."""


class FoundFiles:
    """Surveyed files by path; what is found of a file again takes the place of what was found before."""

    def __init__(self) -> None:
        self._recent: dict[str, RawFile] = {}
        self._packed = RawFiles()
        self._places = TextPlaces()

    def add(self, files: Iterable[RawFile]) -> None:
        """Take in surveyed files."""
        for file in files:
            self._recent[file.path] = file
            if len(self._recent) >= _MOST_UNPACKED:
                self._pack()

    def get(self, path: str) -> RawFile | None:
        """What was found of a file last; None where nothing was."""
        if path in self._recent:
            return self._recent[path]
        found = (self._packed[place] for place in self._places.of(path))
        last = [file for file in found if file.path == path]
        return last[-1] if last else None

    def _pack(self) -> None:
        for file in self._recent.values():
            self._places.add(file.path, len(self._packed))
            self._packed.append(file)
        self._recent.clear()
