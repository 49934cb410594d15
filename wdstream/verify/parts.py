"""What the parts of a check found, kept in a folder or store until all are brought together: a file for each part.

It has a line that says what was checked, then one for each tar of the part, in order. Compressed, about 60 bytes per
page, of which most are the digests by which pages are compared over all tars.
"""

import gzip
import hashlib
import json
from base64 import b64decode, b64encode
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np

from wdstream.errors import ShardError, load_json
from wdstream.storage.engines.own_folder import own_folder
from wdstream.storage.engines.part import WorkPart, parts_that_owe
from wdstream.storage.places import Place, local_folder, open_place
from wdstream.storage.writes.scratch import temporary_folder
from wdstream.verify.findings import Finding
from wdstream.verify.page_check import DIGEST_BYTES, PICTURE_BYTES, SKETCH_SIZE, PageMarks
from wdstream.verify.tar_check import TarResult

_VERSION = 1
_SUFFIX = ".jsonl.gz"
_COUNTS = ("num_samples", "num_images", "num_without_image", "num_left_out", "num_bytes")
_MARK_BYTES = (DIGEST_BYTES, DIGEST_BYTES, PICTURE_BYTES, 4 * SKETCH_SIZE)


def digest_of_check(*what: object) -> str:
    """A digest of all that decides what is found, but the bytes of the tars."""
    return hashlib.blake2b(json.dumps([_VERSION, *what]).encode(), digest_size=16).hexdigest()


def keep_results(place: str, part: WorkPart, of: str, results: Iterable[TarResult]) -> Iterator[TarResult]:
    """Write what a part finds, complete or absent; yields each result.

    Args:
        place: folder or URL.
        part: that is done.
        of: `digest_of_check` of the whole.
        results: of the tars of the part, in order.
    """
    with (
        open_place(place).writing(part.name + _SUFFIX) as file,
        gzip.GzipFile(fileobj=file, mode="wb", compresslevel=3, mtime=0) as out,
    ):
        out.write(json.dumps({"of": of}).encode() + b"\n")
        for result in results:
            out.write(json.dumps(_tree_of(result)).encode() + b"\n")
            yield result


@contextmanager
def kept_results(places: Sequence[str], of: str, num_tars: int) -> Iterator[Iterator[TarResult]]:
    """What the parts of a check found, of all tars in order, for the block.

    Raises:
        ShardError: parts are missing, or are of another check.
    """
    with ExitStack() as stack:
        by_number = defaultdict[int, dict[int, Iterator[bytes]]](dict)
        for place in places:
            for part, file in _files_at(place, stack):
                if load_json(next(file, b"{}")).get("of") == of:
                    by_number[part.of][part.number] = file
        if not by_number:
            raise ShardError(
                f"{', '.join(places)}: no part of this check; run --part 1/N to N/N with these shards and options, "
                "then --merge"
            )
        # Where a check was begun in another number of parts, those that are all there count.
        parts, lines = min(by_number.items(), key=lambda found: (found[0] - len(found[1]), found[0]))
        missing = [number for number in range(parts) if number + 1 not in lines]
        if missing:
            owing = parts_that_owe(missing, parts)
            raise ShardError(
                f"{', '.join(places)}: {len(missing):,} of {parts:,} parts are missing, or of another check: run "
                f"--part {owing} again, then --merge"
            )
        yield (_result_of(load_json(next(lines[number % parts + 1]))) for number in range(num_tars))


def _files_at(place: str, stack: ExitStack) -> Iterator[tuple[WorkPart, Iterator[bytes]]]:
    """The file of each part at a place, open; one of a store is copied to this machine first."""
    opened: Place = open_place(place)
    folder = local_folder(place) or stack.enter_context(own_folder(temporary_folder(), "part-"))
    for name in [file.name for file in opened.files("part-") if file.name.endswith(_SUFFIX)]:
        number, _, of = name.removeprefix("part-").removesuffix(_SUFFIX).partition("-of-")
        if opened.local_path(name) is None:
            opened.fetch(name, folder / name)
        lines = gzip.GzipFile(fileobj=stack.enter_context((folder / name).open("rb")))
        yield WorkPart.parse(f"{int(number)}/{int(of)}"), lines


def _tree_of(result: TarResult) -> dict[str, Any]:
    """A result as JSON."""
    marks = (
        b"".join((mark.page, mark.pictures, mark.look, mark.sketch.astype("<u4").tobytes())) for mark in result.marks
    )
    return {
        "name": result.name,
        "counts": [getattr(result, name) for name in _COUNTS],
        "scripts": dict(result.scripts),
        "findings": [asdict(found) for found in result.findings],
        "keys": result.keys,
        "marks": b64encode(b"".join(marks)).decode(),
    }


def _result_of(tree: dict[str, Any]) -> TarResult:
    """The inverse of `_tree_of`."""
    marks, size = b64decode(tree["marks"]), sum(_MARK_BYTES)
    return TarResult(
        name=tree["name"],
        **dict(zip(_COUNTS, tree["counts"], strict=True)),
        scripts=Counter(tree["scripts"]),
        findings=[Finding(**found) for found in tree["findings"]],
        keys=tree["keys"],
        marks=[_mark_of(marks[start : start + size]) for start in range(0, len(marks), size)],
    )


def _mark_of(data: bytes) -> PageMarks:
    ends = np.cumsum(_MARK_BYTES).tolist()
    page, pictures, look, sketch = (data[end - size : end] for end, size in zip(ends, _MARK_BYTES, strict=True))
    return PageMarks(page=page, pictures=pictures, look=look, sketch=np.frombuffer(sketch, "<u4").astype(np.uint32))
