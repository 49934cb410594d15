"""Walking a raw folder of a store as folders.py walks one of a machine: the same folders, in the same order."""

from collections import deque
from collections.abc import Callable, Iterator

from wdstream.raw.folders import Folder, FolderFiles
from wdstream.raw.remote.store import RawStore, StoreEntry

_NO_NAMES = ("", ".", "..")
_NAMELESS = "/"
"""How a folder without a name is shown, as of `a//b.png`; "" would be the folder around it."""


class StoreWalk:
    """The folders of a store, one after the other; iterate over it once.

    Args:
        store: what is walked.
        exclude: name of a folder that is passed over, such as the output, or empty.
        is_output: whether a folder with these names in it is the output of an earlier job.
    """

    def __init__(self, store: RawStore, *, exclude: str, is_output: Callable[[list[str]], bool]) -> None:
        self._store = store
        self._exclude = exclude
        self._is_output = is_output

    def __iter__(self) -> Iterator[Folder]:
        folders = deque([""])
        while folders:
            path = folders.popleft()
            if self._exclude and path == f"{self._exclude}/":
                continue
            try:
                entries = sorted(
                    (entry for page in self._store.entries(path) for entry in page), key=lambda entry: entry.name
                )
            except OSError as error:
                yield Folder(path=path, files=FolderFiles(), trouble=(("", f"cannot be listed: {error.strerror}"),))
                continue
            if path and self._is_output([entry.name for entry in entries]):
                yield Folder(path=path, files=FolderFiles(), is_output=True)
                continue
            shown = [entry for entry in entries if entry.name in _NO_NAMES or not entry.name.startswith(".")]
            below = (entry.name for entry in shown if entry.state is None)
            folders.extend(f"{path}{name}/" for name in below if name not in _NO_NAMES)
            yield _folder_of(path, shown, hidden=len(entries) - len(shown))


def _folder_of(path: str, entries: list[StoreEntry], *, hidden: int) -> Folder:
    reason = "has a name that no file system has; rename it"
    unusual = tuple((entry.name or _NAMELESS, reason) for entry in entries if entry.name in _NO_NAMES)
    found = [
        (entry.name, state) for entry in entries if (state := entry.state) is not None and entry.name not in _NO_NAMES
    ]
    files = FolderFiles(
        [name for name, _state in found],
        [state.num_bytes for _name, state in found],
        [state.version for _name, state in found],
    )
    return Folder(path=path, files=files, trouble=unusual, hidden=hidden)
