"""Raw files, packed, with what is often asked of all of them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from wdstream.raw.listed.packed import PackedList
from wdstream.raw.source import RawFile

_NAMES = [entry.name for entry in fields(RawFile)]
_KIND, _NUM_BYTES, _NUM_PAGES = map(_NAMES.index, ("kind", "num_bytes", "num_pages"))


class RawFiles(PackedList[RawFile]):
    """A packed list of raw files.

    Attributes:
        kinds: number of files of each kind.
        num_bytes: of all of them.
        num_pages: of all that are surveyed.
    """

    def __init__(self, files: Iterable[RawFile] = ()) -> None:
        super().__init__(RawFile.to_row, RawFile.from_row)
        self.kinds: Counter[str] = Counter()
        self.num_bytes = self.num_pages = 0
        self.extend(files)

    def append_plain(self, plain: Any) -> None:
        """Take in what `RawFile.to_row` gives."""
        self.kinds[plain[_KIND]] += 1
        self.num_bytes += plain[_NUM_BYTES]
        self.num_pages += plain[_NUM_PAGES]
        super().append_plain(plain)
