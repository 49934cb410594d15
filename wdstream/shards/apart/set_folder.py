"""A set of shards as code that works on files has it: in its folder, or a copy of what is small of a set at a URL.

Of a set at a URL, index and descriptions are copied to this machine while they are changed; tars are read where they
are (storage/writes/working_copy.py).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from wdstream.errors import ConfigError
from wdstream.shards.apart.tar_list import TarList
from wdstream.shards.catalog import INDEX_FOLDER, INDEX_JSON, Catalog
from wdstream.shards.layout import META_SUFFIX
from wdstream.shards.reader import Shards
from wdstream.storage.addresses import shown_url
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.lock import FileLock, folder_lock
from wdstream.storage.places import is_url, local_folder
from wdstream.storage.remote import open_storage
from wdstream.storage.writes.working_copy import CopyOf, InCopy, WorkingCopy, working_copy

_MANIFEST = f"{INDEX_FOLDER}/{INDEX_JSON}"
_WAIT_S = 1.0
_LARGE = (".npy", ".npz", ".jsonl")
"""Of an index: what grows with its samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFolder:
    """A set while it is changed.

    Attributes:
        folder: with index and descriptions.
        address: of the set, for people.
        copy: of a set at a URL; None for a folder of this machine.
    """

    folder: Path
    address: str
    copy: WorkingCopy | None = None

    def open(self) -> Shards:
        """The set for reading, its tars where they are."""
        shards = Shards.open(self.folder)
        if self.copy is None or shards.catalog.tars:
            return shards
        return Shards.open(self.folder, open_storage(self.address))

    def tars(self, catalog: Catalog) -> TarList | None:
        """The tars that the index lists, where they are not in the folder."""
        at = catalog.tars or ("" if self.copy is None else self.address)
        sizes = {shard.name: shard.bytes for shard in catalog.shards}
        return TarList(at=at, address=catalog.tars, sizes=sizes) if at else None

    def fetch(self, is_wanted: Callable[[str], bool], under: str = "") -> None:
        """Copy further files of a set at a URL, by name, as a part needs them; `under` begins all their names."""
        if self.copy is not None:
            files = (file for file in self.copy.place.files(under) if is_wanted(file.name))
            self.copy.fetch(files, are_whole=True)

    def as_output(self, text: str) -> str:
        """A text about the folder as one about the set."""
        return text if self.copy is None else text.replace(str(self.folder), shown_url(self.address))


@contextmanager
def set_folder(
    address: Path | str,
    *,
    job: str,
    with_metas: bool,
    more: tuple[str, ...] = (),
    part: WorkPart | None = None,
    is_alone: bool = False,
) -> Iterator[SetFolder]:
    """The folder of a set for the block, in which its index may be changed; at a URL, that counts when the block ends.

    Args:
        address: folder or URL of the set.
        job: that changes it, for whoever is refused meanwhile.
        with_metas: whether descriptions of the tars are needed, too.
        more: names of other files that are.
        part: of the job, which others may do at the same time: of a set at a URL it has what `index.json` says alone.
        is_alone: no other may change a folder of this machine meanwhile; a set at a URL is changed by one at a time.

    Raises:
        ConfigError: another job holds the set, or nothing can be written there.
        ShardError: it cannot be read or written.
    """

    def has(name: str) -> InCopy:
        is_meta = with_metas and name.endswith(META_SUFFIX) and "/" not in name
        is_wanted = is_meta or name in more or name.startswith(f"{INDEX_FOLDER}/")
        if part is not None:
            is_wanted = name.startswith(f"{INDEX_FOLDER}/") and not name.endswith(_LARGE)
        return InCopy.WHOLE if is_wanted else InCopy.ABSENT

    of = CopyOf(job=job, part=part, has=has, manifest=_MANIFEST)
    path = local_folder(address)
    found = SetFolder(folder=path or Path(), address=str(address).rstrip("/") if is_url(address) else str(address))
    with working_copy(address, of) as copy, _held(path, is_alone):
        if copy is not None:
            found = SetFolder(folder=copy.path, address=found.address, copy=copy)
        yield found


@contextmanager
def _held(folder: Path | None, is_alone: bool) -> Iterator[None]:
    """Exclude jobs that write the shards of a folder of this machine, and parts of them, for the block; and those that
    change all of its index, or any of it.

    Raises:
        ConfigError: one is at work there.
    """
    if folder is None or not folder.is_dir():
        yield
        return
    other = ConfigError(f"{folder}: another command writes the index there; wait until it has ended")
    with ExitStack() as stack:
        stack.enter_context(folder_lock(folder, is_shared=not is_alone, wait_s=_WAIT_S, refuse=other))
        for path in (*folder.glob(".*/lock"), *folder.glob(".*/part-*-of-*")):
            if os.access(path, os.W_OK):  # else nothing can be written there, and the set is only looked at
                busy = ConfigError(f"{folder}: {path.parent.name[1:]} is at work there; wait until it has ended")
                lock = FileLock(path, wait_s=_WAIT_S, is_shared=True, refuse=lambda _, busy=busy: busy)  # type: ignore[misc]
                stack.enter_context(lock)
        yield
