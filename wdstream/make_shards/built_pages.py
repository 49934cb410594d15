"""What became of a page: a sample ready for a shard, a reason why it is none, or nothing; in memory, or in a file.

After a process was lost, the pages of its shard are read again by other processes (recovery.py), which keep each one in
a file of its own. The shard is then put together from these files, with the bytes that it would have had.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from wdstream.errors import load_json
from wdstream.make_shards.record import STATE_FOLDER
from wdstream.make_shards.token_counts import TextCounts
from wdstream.shards.writer import SampleEntry
from wdstream.storage.atomic import atomic_write
from wdstream.text.maps.readings import NO_READING, RowReading

KEPT_FILES = "kept-*"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPage:
    """A page as it goes into a shard, or why it does not: `reason`. A blank line has neither members nor reason.

    Attributes:
        key: of the sample.
        members: extension to bytes.
        entry: what the index keeps of it.
        counts: tokens of its text, where a tokenizer was given.
        dropped: characters of its text layer that are not in the label, by reason.
        misnamed: "de read as en", where its metadata name another language than its text reads as.
        read: digests of the files that were read for it (raw/reading.py), where it is kept in a file: of pages that are
            not, those of a shard are taken at once.
        reading: how its row was read, where it is one.
        reason: why it is quarantined.
    """

    key: str = ""
    members: Mapping[str, bytes] = field(default_factory=dict)
    entry: SampleEntry | None = None
    counts: TextCounts | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    misnamed: str = ""
    read: Mapping[str, str] = field(default_factory=dict)
    reading: RowReading = NO_READING
    reason: str | None = None

    def keep(self, path: Path) -> None:
        """Write it to a file: one line of JSON, then the members' bytes one after the other."""
        head = {
            "key": self.key,
            "members": {extension: len(data) for extension, data in self.members.items()},
            "entry": asdict(self.entry) if self.entry else None,
            "counts": asdict(self.counts) if self.counts else None,
            "dropped": dict(self.dropped),
            "misnamed": self.misnamed,
            "read": dict(self.read),
            "reading": asdict(self.reading),
            "reason": self.reason,
        }
        with atomic_write(path, is_durable=False) as file:
            file.write(json.dumps(head).encode() + b"\n")
            file.writelines(self.members.values())


def load_kept(path: Path) -> BuiltPage:
    """The inverse of `BuiltPage.keep`."""
    from pydantic import TypeAdapter  # made here, as few processes read kept pages, and each starts faster without

    with path.open("rb") as file:
        head = load_json(file.readline())
        members = {extension: file.read(length) for extension, length in head["members"].items()}
    entry = TypeAdapter(SampleEntry | None).validate_python(head["entry"])
    counts = TypeAdapter(TextCounts | None).validate_python(head["counts"])
    reading = TypeAdapter(RowReading).validate_python(head["reading"])
    return BuiltPage(**{**head, "members": members, "entry": entry, "counts": counts, "reading": reading})


def kept_path(out: Path, shard: int, item: int, page: int) -> Path:
    """The file of page `page` of range `item` of a shard."""
    return out / STATE_FOLDER / f"kept-{shard:06d}-{item:05d}-{page:07d}"


def remove_kept(out: Path, shard: int | None = None) -> None:
    """Remove the files of a shard, or of all, that a job left."""
    for path in (out / STATE_FOLDER).glob(KEPT_FILES if shard is None else f"kept-{shard:06d}-*"):
        path.unlink(missing_ok=True)
