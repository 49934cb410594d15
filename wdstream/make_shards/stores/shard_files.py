"""The files of one shard on their way to a store: sent when all are complete, the record last.

Here a tar that was sent leaves a hollow file of its length: enough for what compares lengths, and no room on the disk.
"""

import os
from pathlib import Path

from wdstream.make_shards.jobs import shard_name
from wdstream.make_shards.record import readings_path, record_path
from wdstream.shards.layout import ShardPaths
from wdstream.storage.places import Place


def send_shard(place: Place, out: Path, number: int) -> None:
    """Send what was built of a shard, in the order in which a kill leaves it absent rather than wrong.

    Args:
        place: the output.
        out: the folder that stands for it here; the tar in it becomes hollow.
        number: of the shard, whose record is saved.
    """
    tar, *others = files_of(out, number)
    record = record_path(out, number)
    place.remove([_name(out, record), _name(out, tar)])
    for path in (tar, *others, readings_path(out, number), record):
        if path.is_file():
            place.put(_name(out, path), path)
    if tar.is_file():
        make_hollow(tar, tar.stat().st_size)


def files_of(out: Path, number: int) -> tuple[Path, Path, Path]:
    """The tar of a shard, its idx and its meta."""
    paths = ShardPaths.of(out / shard_name(number))
    return paths.tar, paths.idx, paths.meta


def make_hollow(path: Path, num_bytes: int) -> None:
    """A file of this length without content, which takes no room."""
    with path.open("wb"):
        os.truncate(path, num_bytes)


def _name(out: Path, path: Path) -> str:
    return path.relative_to(out).as_posix()
