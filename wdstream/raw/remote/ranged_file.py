"""A file of a store as a binary file: read by ranges, larger ones the longer it is read forward.

Few windows of it are kept, so that readers that go back and forth between columns of a table, or hop from header to
header of a tar, ask for little twice.
"""

from wdstream.raw.remote.store import RawStore, StoredState
from wdstream.storage.remote import SizedFile

_FIRST_WINDOW, _LARGEST_WINDOW = 1 << 17, 8 << 20
_WINDOWS = 6


class RangedFile(SizedFile):
    """One file of a store, to be read at any place.

    Args:
        store: that has it.
        name: of the file.
        state: as the store reported it.
    """

    def __init__(self, store: RawStore, name: str, state: StoredState) -> None:
        super().__init__(state.num_bytes)
        self._store, self._name = store, name
        self._windows: list[tuple[int, bytes]] = []
        """Start and bytes of each, the last used at the end."""
        self.has_failed = False
        """Whether a read has: callers in other languages may not pass its error on."""

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has a wider Buffer
        """Some bytes into the buffer; none only at the end of the file.

        Raises:
            OSError: the store fails, or the file is shorter than it was.
        """
        if self._position >= self._size or not len(buffer):
            return 0
        start, data = self._window()
        place = self._position - start
        found = data[place : place + len(buffer)]
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)

    def _window(self) -> tuple[int, bytes]:
        """The window that has the byte at the position, fetched where none has."""
        for number, (start, data) in enumerate(self._windows):
            if start <= self._position < start + len(data):
                self._windows.append(self._windows.pop(number))
                return self._windows[-1]
        length = min(self._wanted(), self._size - self._position)
        self._windows = self._windows[1 - _WINDOWS :]
        self._windows.append((self._position, self._fetched(length)))
        return self._windows[-1]

    def _fetched(self, length: int) -> bytes:
        try:
            return self._store.fetch(self._name, self._position, length)
        except BaseException:
            self.has_failed = True
            raise

    def _wanted(self) -> int:
        """How much to fetch: twice as much as last time where it is read forward, little after a jump."""
        for start, data in reversed(self._windows):
            if 0 <= self._position - start - len(data) <= len(data):
                return min(2 * len(data), _LARGEST_WINDOW)
        return _FIRST_WINDOW
