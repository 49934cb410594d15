"""What did not get into a folder of shards, and why: the quarantine of make-shards, and what `index` left out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wdstream.errors import AbsentFileError, DamagedFileError, load_json
from wdstream.make_shards.manifest import QUARANTINE
from wdstream.shards.catalog import INDEX_FOLDER
from wdstream.shards.index import LEFT_OUT
from wdstream.storage.json_lines import read_lines
from wdstream.storage.local import Storage

LISTS = {QUARANTINE: ("file", "page"), f"{INDEX_FOLDER}/{LEFT_OUT}": ("shard", "key")}
"""The lists, with the keys of a line that say where it was and which page it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedPage:
    """A page or a file that did not get in.

    Attributes:
        listed_in: the list that says so, relative to the folder of shards.
        place: the raw file, or the tar.
        page: its page or line, the key of its sample, or None for all of `place`.
        reason: why.
    """

    listed_in: str
    place: str
    page: int | str | None
    reason: str

    def describe(self, folder: str) -> str:
        """One line for people; `folder` is that of the shards."""
        page = "" if self.page is None else f":{self.page}" if isinstance(self.page, int) else f" in {self.place}"
        what = self.page if isinstance(self.page, str) else self.place
        state = "in quarantine" if self.listed_in == QUARANTINE else "left out of the index"
        return f"{what}{page} is {state}: {self.reason}; see {folder}/{self.listed_in}"


def read_refused(storage: Storage, listed_in: str) -> Iterator[RefusedPage]:
    """The lines of one of `LISTS`; none where there is no such list.

    Raises:
        DamagedFileError: it is damaged.
        ForbiddenFileError, StorageFailureError: it cannot be read.
    """
    place, page = LISTS[listed_in]
    for line in _lines(storage, listed_in):
        yield RefusedPage(
            listed_in=listed_in, place=str(line.get(place)), page=line.get(page), reason=str(line.get("reason"))
        )


def _lines(storage: Storage, name: str) -> Iterator[dict[str, Any]]:
    path = storage.local_path(name)
    if path is not None:
        yield from read_lines(path)
        return
    try:
        data = storage.read_file(name)
    except AbsentFileError:
        return
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            yield dict(load_json(line))
        except (ValueError, TypeError) as error:
            raise DamagedFileError(f"{name}: line {number} is damaged: expected a JSON object ({error})") from error
