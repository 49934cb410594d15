"""Walking a folder of raw pages: every folder once, every link once, and nothing outside of it unless that is allowed.

Folders are walked by their own names first. A link then counts where what it leads to is not read by its own name:
hidden, or of a name that no source reads. So a link to its own folder, two links to one folder, and trees of links that
would double at each level cost nothing, and no page is read twice. A folder that cannot be listed, a link that leads
nowhere or out of the raw folder, and a pipe are named, and cost themselves.
"""

import os
import stat
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

Identity = tuple[int, int]
LEADS_OUT = "is a link that leads out of the folder; allow it with --allow-outside-links, or copy what it leads to"


class FolderFiles(Collection[str]):
    """Names of the files of a folder, of which there may be a million, in their order; with what is known of each.

    Args:
        names: of the files, sorted.
        sizes: of each, in bytes.
        versions: of each, what changes with its content (times of change, or a store's version).
    """

    def __init__(
        self, names: Sequence[str] = (), sizes: Sequence[int] = (), versions: "Sequence[str] | Times" = ()
    ) -> None:
        self._names, self._sizes, self._versions = names, sizes, versions

    def sizes(self) -> Iterator[tuple[str, int, str]]:
        """Name, size and version of each file, in their order."""
        return zip(self._names, self._sizes, self._versions, strict=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        place = bisect_left(self._names, name) if isinstance(name, str) else len(self)
        return place < len(self) and self._names[place] == name


class Times:
    """Times of change of files in nanoseconds, as texts, in 16 bytes of each."""

    def __init__(self) -> None:
        self._content, self._all = array("q"), array("q")

    def add(self, state: os.stat_result) -> None:
        """Those of the next file: of its content, and of anything."""
        self._content.append(state.st_mtime_ns)
        self._all.append(state.st_ctime_ns)

    def __iter__(self) -> Iterator[str]:
        return map("{} {}".format, self._content, self._all)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What is in one folder.

    Attributes:
        path: relative to the raw folder, with a slash at its end; empty for the raw folder.
        files: in their order; links to files that are read by their own names are not among them.
        trouble: names of the folder, or in it ("" is the folder itself), that cannot be read, and why.
        passed_over: number of links to what is read by its own name.
        hidden: number of names that begin with a dot, which are not looked at.
        is_output: whether the folder is passed over, as it holds what make-shards wrote.
    """

    path: str
    files: FolderFiles
    trouble: tuple[tuple[str, str], ...] = ()
    passed_over: int = 0
    hidden: int = 0
    is_output: bool = False


class FolderWalk:
    """Walks a folder of raw pages; iterate over it once.

    Args:
        raw: the folder.
        exclude: a folder below it that is passed over, such as the output.
        allow_outside: follow links that lead out of `raw`.
        is_read: whether a file of this name is read by itself.
        is_output: whether a folder with these names in it is the output of an earlier job.
    """

    def __init__(
        self,
        raw: Path,
        *,
        exclude: Path | None,
        allow_outside: bool,
        is_read: Callable[[str], bool],
        is_output: Callable[[list[str]], bool],
    ) -> None:
        self._raw = raw
        self._root = os.path.realpath(raw)
        self._excluded = os.path.realpath(exclude) if exclude else None
        self._allow_outside = allow_outside
        self._is_read = is_read
        self._is_output = is_output
        self._is_linked = False
        """Whether what is walked now was found by a link: folders are walked by their own names first."""
        self._seen: set[Identity] = set()
        if exclude is not None and exclude.exists():
            self._seen.add(_identity(exclude.stat()))

    def __iter__(self) -> Iterator[Folder]:
        folders, links = deque([""]), deque[str]()
        while folders or links:
            self._is_linked = self._is_linked or not folders
            path = folders.popleft() if folders else links.popleft()
            folder = self._raw / path
            try:
                identity = _identity(folder.stat())
                if identity in self._seen:
                    continue
                self._seen.add(identity)
                names, linked = _entries(folder)
            except OSError as error:
                yield Folder(path=path, files=FolderFiles(), trouble=(("", f"cannot be listed: {error.strerror}"),))
                continue
            if path and self._is_output(names):
                yield Folder(path=path, files=FolderFiles(), is_output=True)
                continue
            yield self._sorted(path, names, linked, folders, links)

    def _sorted(
        self, path: str, names: list[str], linked: Collection[str], folders: deque[str], links: deque[str]
    ) -> Folder:
        """Tell the entries of a folder apart: files, folders to walk, links to follow, and what costs itself."""
        found, sizes, times = list[str](), array("q"), Times()
        trouble: list[tuple[str, str]] = []
        passed_over = hidden = 0
        folder = f"{self._raw}/{path}"
        for name in names:
            if name.startswith("."):
                hidden += 1
                continue
            is_link = name in linked
            try:
                reason = self._refusal(folder + name) if is_link else None
                state = os.stat(folder + name)  # noqa: PTH116 - a Path for each of millions takes longer than this
            except OSError as error:
                what = "a link to nothing that can be read" if is_link else "cannot be read"
                trouble.append((name, f"{what}: {error.strerror}"))
                continue
            if reason is not None:
                trouble.append((name, reason))
            elif stat.S_ISDIR(state.st_mode):
                (links if is_link else folders).append(f"{path}{name}/")
            elif not stat.S_ISREG(state.st_mode):
                trouble.append((name, "is a pipe, a socket or a device, not a file"))
            elif (is_link or self._is_linked) and self._is_seen(folder + name, name, state, is_link=is_link):
                passed_over += 1
            else:
                found.append(name)
                sizes.append(state.st_size)
                times.add(state)
        files = FolderFiles(found, sizes, times)
        return Folder(path=path, files=files, trouble=tuple(trouble), passed_over=passed_over, hidden=hidden)

    def _refusal(self, link: str) -> str | None:
        if self._allow_outside or _is_below(os.path.realpath(link), self._root):
            return None
        return LEADS_OUT

    def _is_seen(self, path: str, name: str, state: os.stat_result, *, is_link: bool) -> bool:
        """Whether a link leads to a file that is read by its own name, or that another link led to."""
        target = os.path.realpath(path)
        if is_link and _is_below(target, self._root):
            parts = Path(os.path.relpath(target, self._root)).parts
            is_hidden = any(part.startswith(".") for part in parts) or _is_below(target, self._excluded or "\0")
            if not is_hidden and self._is_read(parts[-1]):
                return True
        if not self._is_read(name):  # a text next to several files may be the text of each
            return False
        is_seen = _identity(state) in self._seen
        self._seen.add(_identity(state))
        return is_seen


def _entries(folder: Path) -> tuple[list[str], set[str]]:
    """Names in a folder, sorted, and those of them that are links: entries themselves take a kilobyte each.

    Raises:
        OSError: it cannot be listed.
    """
    names, linked = list[str](), set[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if entry.is_symlink():
                linked.add(entry.name)
    names.sort()
    return names, linked


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _identity(state: os.stat_result) -> Identity:
    return state.st_dev, state.st_ino
