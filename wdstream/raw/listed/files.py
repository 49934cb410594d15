"""Raw files, packed, with what is often asked of all of them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from wdstream.raw.listed.packed import PackedList
from wdstream.raw.source import RawFile

_PATH, _KIND, _NUM_BYTES, _NUM_PAGES, _REASON = map(
    RawFile._fields.index, ("path", "kind", "num_bytes", "num_pages", "reason")
)


class RawFiles(PackedList[RawFile]):
    """A packed list of raw files.

    Attributes:
        kinds: number of files of each kind.
        kind_bytes: of all files of each kind.
        kind_pages: of all files of each kind that are surveyed.
    """

    def __init__(self, files: Iterable[RawFile] = ()) -> None:
        super().__init__(tuple, RawFile._make)
        self.kinds: Counter[str] = Counter()
        self.kind_bytes: Counter[str] = Counter()
        self.kind_pages: Counter[str] = Counter()
        self.extend(files)

    @property
    def num_bytes(self) -> int:
        """Bytes of all files together."""
        return self.kind_bytes.total()

    @property
    def num_pages(self) -> int:
        """Pages of all files that are surveyed."""
        return self.kind_pages.total()

    def surveyed(
        self, pages_by_name: Callable[[str, str], int | None], survey: Callable[[RawFile], RawFile | None]
    ) -> "RawFiles":
        """The same with their pages, without those that are not surveyed.

        Args:
            pages_by_name: of a kind and a path; None where they do not say it.
            survey: what a file becomes of which they do not; None where it is not surveyed.
        """
        found = RawFiles()
        for plain in self.plain():
            count = pages_by_name(plain[_KIND], plain[_PATH])
            if count is not None:
                found.append_plain((*plain[:_NUM_PAGES], count, *plain[_NUM_PAGES + 1 :]))
            elif (file := survey(self._load(plain))) is not None:
                found.append(file)
        return found

    def where_unknown(self, pages_by_name: Callable[[str, str], int | None]) -> Iterator[RawFile]:
        """Files whose kind and path do not say how many pages they have."""
        return (self._load(row) for row in self.plain() if pages_by_name(row[_KIND], row[_PATH]) is None)

    def refused(self) -> Iterator[RawFile]:
        """Files that cannot be read."""
        return (self._load(row) for row in self.plain() if row[_REASON] is not None)

    def append_plain(self, plain: Any) -> None:
        """Take in the values of a file."""
        kind = plain[_KIND]
        self.kinds[kind] += 1
        self.kind_bytes[kind] += plain[_NUM_BYTES]
        self.kind_pages[kind] += plain[_NUM_PAGES]
        super().append_plain(plain)
