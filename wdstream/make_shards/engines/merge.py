"""Bringing the parts of a job together: what each wrote comes to one output, and what is missing is named.

A shard is taken where its record fits the pages that the survey gives it, so nothing here has to be trusted: what is
not of this job is missing.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from wdstream.errors import ShardError, load_json
from wdstream.make_shards.jobs import shard_name
from wdstream.make_shards.record import STATE_FOLDER, load_record, readings_path, record_path
from wdstream.make_shards.stores.output import Output, send_shard
from wdstream.raw.folder_state import OUTPUT_MARK
from wdstream.shards.layout import ShardPaths
from wdstream.shards.meta import is_complete
from wdstream.storage.atomic import bring_file, sync_folder
from wdstream.storage.engines.part import refuse_missing_pieces
from wdstream.storage.engines.part_locks import number_of_parts
from wdstream.storage.places import local_folder, open_place
from wdstream.storage.writes.working_copy import InCopy, PlaceOfPart, place_of_part

_SHOWN = 5
"""Differences between two jobs that are named."""
_PARTS = f"{STATE_FOLDER}/parts"
_LISTS = (f"{STATE_FOLDER}/survey.jsonl", f"{STATE_FOLDER}/input.jsonl", _PARTS)
"""What the parts of one job have in common."""


def bring_parts(output: Output, addresses: Sequence[str]) -> None:
    """Bring the shards that parts wrote to places of their own to the output; the places stay as they are.

    Args:
        output: of the job, claimed.
        addresses: folders or URLs that parts of the same job wrote.

    Raises:
        ShardError: a place holds no part, or one of another job.
    """
    out = output.path
    with ExitStack() as stack:
        places = [stack.enter_context(place_of_part(address, _in_copy)) for address in addresses]
        for place in places:
            _refuse_other_job(out, place)
        for place in places:
            for name in _LISTS:
                if not (out / name).exists() and (place.folder / name).is_file():
                    bring_file(place.folder / name, out / name)
            for path in sorted((place.folder / STATE_FOLDER).glob("shard-*.json")):
                _bring_shard(place, output, int(path.stem.removeprefix("shard-")))
    for folder in (out, out / STATE_FOLDER) if addresses else ():
        sync_folder(folder)


def refuse_missing(out: Path, missing: Sequence[int], num_shards: int, addresses: Sequence[str]) -> None:
    """Refuse to merge while shards are missing.

    Raises:
        ShardError: names them, and the parts that are to make them.
    """
    folders = [out, *(folder for address in addresses if (folder := local_folder(address)) is not None)]
    refuse_missing_pieces(out, missing, num_shards, number_of_parts(folder / STATE_FOLDER for folder in folders))


def _in_copy(name: str) -> InCopy:
    if not name.startswith(("shard-", f"{STATE_FOLDER}/", OUTPUT_MARK)):
        return InCopy.ABSENT
    return InCopy.HOLLOW if name.endswith(".tar") else InCopy.WHOLE


def _refuse_other_job(out: Path, place: PlaceOfPart) -> None:
    mark = place.folder / OUTPUT_MARK
    if not mark.is_file():
        raise ShardError(f"{place.address}: no part of a job was written there (no {OUTPUT_MARK}); is the path right?")
    different = _differences(mark.read_bytes(), (out / OUTPUT_MARK).read_bytes())
    if different:
        raise ShardError(
            f"{place.address}: is of another job than {out}: {'; '.join(different)}; merge parts of the same RAW, "
            "options and version of wdstream"
        )


def _differences(there: bytes, here: bytes) -> list[str]:
    """What two manifests say of two jobs, where that is not the same."""
    if there == here:
        return []
    try:
        found, expected = _values(load_json(there)), _values(load_json(here))
    except ValueError:
        return [f"its {OUTPUT_MARK} is damaged"]
    names = [name for name in sorted(found.keys() | expected.keys()) if found.get(name) != expected.get(name)]
    return [f"{name} is {found.get(name)!r} there, {expected.get(name)!r} expected" for name in names[:_SHOWN]] or [
        f"its {OUTPUT_MARK} was written otherwise"
    ]


def _values(tree: object, prefix: str = "") -> dict[str, object]:
    """Each value by the keys that lead to it: {"options.dpi": 150}."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    inner = [_values(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in tree.items()]
    return {name: value for values in inner for name, value in values.items()}


def _bring_shard(place: PlaceOfPart, output: Output, number: int) -> None:
    """Bring one shard, its record last, unless a whole one is there."""
    out = output.path
    record, known = load_record(place.folder, number), load_record(out, number)
    if record is None or (known is not None and known.items == record.items):
        return
    tar = shard_name(number)
    if record.samples and not is_complete(place.folder / tar, record.digest):
        return
    files = ShardPaths.of(out / tar)
    for path in (record_path(out, number), files.tar, files.idx, files.meta):
        path.unlink(missing_ok=True)
    for path in (files.idx, files.meta) if record.samples else ():
        place.bring(path.name, path)
    tar_at = place.folder / tar if output.store and place.place is None else None  # sent from where it is
    if record.samples and tar_at is None:
        place.bring(tar, out / tar)
    for path in (readings_path(out, number), record_path(out, number)):
        if (place.folder / STATE_FOLDER / path.name).is_file():
            place.bring(f"{STATE_FOLDER}/{path.name}", path)
    if output.store:
        send_shard(open_place(output.store), out, number, tar_at=tar_at)
        output.built(number)
