"""Bringing the parts of a job together: what each wrote comes to one output, and what is missing is named.

A shard is taken where its record fits the pages that the survey gives it, so nothing here has to be trusted: what is
not of this job is missing.
"""

from collections.abc import Sequence
from pathlib import Path

from wdstream.errors import ShardError
from wdstream.make_shards.record import STATE_FOLDER, load_record, record_path
from wdstream.raw.folder_state import OUTPUT_MARK
from wdstream.shards.meta import is_complete
from wdstream.storage.atomic import bring_file, sync_folder
from wdstream.storage.engines.part import refuse_missing_pieces
from wdstream.storage.engines.part_locks import number_of_parts

_LISTS = ("survey.jsonl", "input.jsonl")
"""What the parts of one job have in common."""


def bring_parts(out: Path, places: Sequence[str]) -> None:
    """Bring the shards that parts wrote to places of their own to the output; the places stay as they are.

    Args:
        out: of the job, claimed.
        places: folders that parts of the same job wrote.

    Raises:
        ShardError: a place holds no part, or one of another job.
    """
    for place in map(Path, places):
        _refuse_other_job(out, place)
    for place in map(Path, places):
        state = place / STATE_FOLDER
        for name in _LISTS:
            if not (out / STATE_FOLDER / name).exists() and (state / name).is_file():
                bring_file(state / name, out / STATE_FOLDER / name)
        for path in sorted(state.glob("shard-*.json")):
            _bring_shard(place, out, int(path.stem.removeprefix("shard-")))
    for folder in (out, out / STATE_FOLDER) if places else ():
        sync_folder(folder)


def refuse_missing(out: Path, missing: Sequence[int], num_shards: int, places: Sequence[str]) -> None:
    """Refuse to merge while shards are missing.

    Raises:
        ShardError: names them, and the parts that are to make them.
    """
    of = number_of_parts(place / STATE_FOLDER for place in [out, *map(Path, places)])
    refuse_missing_pieces(out, missing, num_shards, of)


def _refuse_other_job(out: Path, place: Path) -> None:
    mark = place / OUTPUT_MARK
    if not mark.is_file():
        raise ShardError(f"{place}: no part of a job was written there (no {OUTPUT_MARK}); is the path right?")
    if mark.read_bytes() != (out / OUTPUT_MARK).read_bytes():
        raise ShardError(
            f"{place}: is of another job than {out}: their {OUTPUT_MARK} differ in options or input; merge parts of "
            "the same RAW and options"
        )


def _bring_shard(place: Path, out: Path, number: int) -> None:
    """Bring one shard, its record last, unless a whole one is there."""
    record, known = load_record(place, number), load_record(out, number)
    if record is None or (known is not None and known.items == record.items):
        return
    stem = f"shard-{number:06d}"
    if record.samples:
        if not is_complete(place / f"{stem}.tar", record.digest):
            return
        for suffix in (".tar.idx", ".meta.npz", ".tar"):
            bring_file(place / f"{stem}{suffix}", out / f"{stem}{suffix}")
    else:
        (out / f"{stem}.tar").unlink(missing_ok=True)
    readings = f"{STATE_FOLDER}/readings-{number:06d}.json"
    if (place / readings).is_file():
        bring_file(place / readings, out / readings)
    bring_file(record_path(place, number), record_path(out, number))
