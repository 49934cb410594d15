"""The record of a finished shard: what its files do not hold. Saved last, as it says that all is done.

Which pages were quarantined and why, how many pages each kind of source has in it, the tokens of each sample, and the
figures that reports sum.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wdstream.errors import load_json
from wdstream.make_shards.jobs import Quarantined
from wdstream.storage.atomic import atomic_write
from wdstream.text.maps.readings import RowReadings

STATE_FOLDER = ".make-shards"
SHARD_NAME = re.compile(r"shard-([0-9]{6,})\.tar")
"""Of the tars that make-shards writes, with the number of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """What became of the pages of one shard.

    Attributes:
        number: of the shard.
        samples: samples in it; no tar exists when 0.
        num_bytes: of the tar.
        digest: of the shard's meta.
        pages: samples by kind of source.
        without_image: samples that have no image.
        dropped: characters of text layers that were left out of the labels, by reason (`text_dropped` of a page).
        readings: how the rows among them were read; until the job that made it has reported it.
        misnamed: pages whose metadata name another language than their text reads as, by both: "de read as en".
        items: digest of the ranges of pages that it was made from.
        read: digests of the files that were read for it, by path (raw/reading.py).
        quarantined: pages that are not in it.
        tokens: per fingerprint of a tokenizer, tokens of each sample's text.
        paragraphs: as `tokens`, tokens of each paragraph of each sample that may be split, if wanted.
    """

    number: int
    samples: int
    num_bytes: int
    digest: str
    pages: Mapping[str, int]
    without_image: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    misnamed: Mapping[str, int] = field(default_factory=dict)
    readings: RowReadings = field(default_factory=RowReadings)
    items: str = ""
    read: Mapping[str, str] = field(default_factory=dict)
    quarantined: tuple[Quarantined, ...]
    tokens: Mapping[str, tuple[int, ...]]
    paragraphs: Mapping[str, tuple[tuple[int, ...], ...]]

    def save(self, out: Path) -> None:
        """Write the record, whole or not at all.

        It is not synced: a power cut that takes it costs making the shard again, and two syncs per shard cost a tenth
        of the time of small pages.
        """
        tree: dict[str, object] = {
            "samples": self.samples,
            "bytes": self.num_bytes,
            "digest": self.digest,
            "pages": dict(sorted(self.pages.items())),
            "without_image": self.without_image,
            "dropped": dict(sorted(self.dropped.items())),
            "items": self.items,
            "read": dict(sorted(self.read.items())),
            "quarantined": [[entry.file, entry.page, entry.reason] for entry in self.quarantined],
            "tokens": dict(self.tokens),
            "paragraphs": dict(self.paragraphs),
        }
        if self.misnamed:
            tree["misnamed"] = dict(sorted(self.misnamed.items()))
        readings_path(out, self.number).unlink(missing_ok=True)
        if readings := self.readings.to_json():  # of use until they are reported; records stay as they always were
            _write(readings_path(out, self.number), json.dumps(readings).encode())
        _write(record_path(out, self.number), json.dumps(tree, separators=(",", ":")).encode())


def _write(path: Path, data: bytes) -> None:
    with atomic_write(path, is_durable=False) as file:
        file.write(data)


def record_path(out: Path, number: int) -> Path:
    """The file with the record of a shard."""
    return out / STATE_FOLDER / f"shard-{number:06d}.json"


def readings_path(out: Path, number: int) -> Path:
    """The file that says how the rows of a shard were read, until the job has reported it."""
    return out / STATE_FOLDER / f"readings-{number:06d}.json"


def remove_readings(out: Path, numbers: Iterable[int]) -> None:
    """Remove what was kept of these shards for a report."""
    for number in numbers:
        readings_path(out, number).unlink(missing_ok=True)


def load_record(out: Path, number: int) -> ShardRecord | None:
    """The record of a shard, or None when the shard was not finished."""
    path = record_path(out, number)
    try:
        if not path.is_file():
            return None
        readings = readings_path(out, number)
        reported = load_json(readings.read_bytes()) if readings.is_file() else {}
        return _record_of(number, {**load_json(path.read_bytes()), "readings": reported})
    except (ValueError, KeyError, TypeError):  # zeroed by a power cut, say: the shard is made again
        return None


def _record_of(number: int, tree: Mapping[str, Any]) -> ShardRecord:
    return ShardRecord(
        number=number,
        samples=tree["samples"],
        num_bytes=tree["bytes"],
        digest=tree["digest"],
        pages=tree["pages"],
        # versions of wdstream before wrote none of these
        without_image=tree.get("without_image", 0),
        dropped=tree.get("dropped", {}),
        misnamed=tree.get("misnamed", {}),
        readings=RowReadings.from_json(tree.get("readings", {})),
        items=tree.get("items", ""),
        read=tree.get("read", {}),
        quarantined=tuple(Quarantined(file=file, page=page, reason=why) for file, page, why in tree["quarantined"]),
        tokens={name: tuple(counts) for name, counts in tree["tokens"].items()},
        paragraphs={name: tuple(map(tuple, counts)) for name, counts in tree.get("paragraphs", {}).items()},
    )


def recorded_digests(folder: Path) -> dict[str, str]:
    """Digests of the shards that make-shards made here, by file name."""
    tars = sorted(folder.glob("*.tar"))
    numbers = {tar.name: number for tar in tars if (number := SHARD_NAME.fullmatch(tar.name)) is not None}
    records = ((name, load_record(folder, int(number[1]))) for name, number in numbers.items())
    return {name: record.digest for name, record in records if record is not None}
