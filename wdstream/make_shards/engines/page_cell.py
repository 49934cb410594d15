"""The page that a process is at, in memory that it shares with its parent: exact whenever and however it ends.

A message for each page would cost both sides more than reading a small page does. So a process writes down each page
before it reads it, which takes half a microsecond, and sends a message now and then. The kernel keeps what was written
when the process is killed.
"""

import mmap
import os
import struct
import tempfile

_PLACE, _COUNTS, _ALL = struct.Struct("=Q"), struct.Struct("=QQ"), struct.Struct("=QQQ")
# One word says where, and is written at once: the number of the range plus one, and the page plus one or 0 for None.
_NOWHERE = 0
_PAGE_BITS = 32

At = tuple[int, int | None]
"""Number of the range in the job, and the page; None while its file is opened."""


class PageCell:
    """What one process writes down, and its parent reads.

    Attributes:
        descriptor: of the file that both map; for the process that inherits it.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """Make a cell, or take the one that was inherited."""
        self._file = None
        if descriptor is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
            self._file.write(bytes(_ALL.size))  # a full disk is noticed here, not by a signal later
            self._file.flush()
            descriptor = self._file.fileno()
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, _ALL.size, mmap.MAP_SHARED)
        self._signs = self._pages = 0
        self._place = _NOWHERE

    def turn_to(self, item: int, page: int | None, *, is_page: bool) -> None:
        """Write down where the process is from now on, or still is; `is_page`: whether that is a page to count."""
        place = (item + 1) << _PAGE_BITS | (0 if page is None else page + 1)
        self._signs += 1
        self._pages += is_page and place != self._place
        self._place = place
        _ALL.pack_into(self._map, 0, place, self._signs, self._pages)

    def clear(self) -> None:
        """Forget where the process was: by the parent, before it gives it a job."""
        _PLACE.pack_into(self._map, 0, _NOWHERE)

    def begin(self) -> None:
        """Forget what the process was at: by itself, when a job is done."""
        self._place = _NOWHERE

    @property
    def at(self) -> At | None:
        """Where the process is in its job; None where it has not begun."""
        (place,) = _PLACE.unpack_from(self._map)
        if place == _NOWHERE:
            return None
        page = place & ((1 << _PAGE_BITS) - 1)
        return (place >> _PAGE_BITS) - 1, page - 1 if page else None

    @property
    def counts(self) -> tuple[int, int]:
        """How often the process gave a sign of where it is, and how many pages it has begun."""
        signs, pages = _COUNTS.unpack_from(self._map, _PLACE.size)
        return signs, pages

    def close(self) -> None:
        """Unmap it, and close the file that was made for it."""
        self._map.close()
        if self._file is not None:
            self._file.close()


def inherited_cell(argument: str) -> PageCell:
    """The cell whose descriptor the parent names on the command line."""
    cell = PageCell(int(argument))
    os.set_inheritable(cell.descriptor, False)  # not for programs that a page starts
    return cell
