"""A list of pages to leave out: a key per line, or the JSON lines that `wdstream dedup` writes."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from wdstream.curation.resharding.choice import KEY, Choice
from wdstream.errors import ConfigError, load_json
from wdstream.records import Bools
from wdstream.shards.meta import hash_key
from wdstream.storage.places import local_folder
from wdstream.storage.remote import open_storage

_SHOWN = 3


def excluded(choice: Choice, path: Path | str) -> tuple[Bools, list[str]]:
    """Which pages a list names, those of one folder alone where a line has its `shards`; and what there is to say.

    Raises:
        ConfigError: the list cannot be read, or none of its lines names a page.
    """
    hashes = choice.column("key_hash")
    mask, unused = np.zeros(len(choice), np.bool_), dict[tuple[str, int], str]()
    for line in _read_list(path):
        unused[str(line.get("shards") or ""), hash_key(str(line[KEY]))] = str(line[KEY])
    num_lines, used = len(unused), set[tuple[str, int]]()
    for number, given in enumerate(choice.inputs):
        for shards in ("", given.shards.fingerprint):
            named = np.array([key for of, key in unused if of == shards], np.uint64)
            found = (choice.source == number) & np.isin(hashes, named)
            used.update((shards, key) for key in hashes[found].tolist())
            mask |= found
    strangers = [key for line, key in unused.items() if line not in used]
    return mask, _remarks(path, num_lines, strangers)


def _remarks(path: Path | str, num_lines: int, strangers: list[str]) -> list[str]:
    """That some lines name no page.

    Raises:
        ConfigError: none does.
    """
    if not strangers:
        return []
    shown = ", ".join(map(repr, strangers[:_SHOWN]))
    if len(strangers) == num_lines:
        raise ConfigError(
            f"{path}: none of its {num_lines:,} lines names a page of these folders ({shown}, ...): it is of other "
            "shards, or of these before they changed. Make the list again, or leave --exclude-list out"
        )
    return [f"{path}: {len(strangers):,} of its {num_lines:,} lines name no page of these folders ({shown}, ...)"]


def _read_list(path: Path | str) -> Iterator[Mapping[str, object]]:
    file = local_folder(path)
    try:
        if file is not None:
            data = file.read_bytes()
        else:
            folder, _, name = str(path).rpartition("/")
            data = open_storage(folder).read_file(name)
        text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig").read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the list of pages cannot be read: {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):  # keys may hold what splitlines takes for an end of line
        if not line.startswith("{"):
            yield from [{KEY: line}] if line else []
            continue
        try:
            value = load_json(line)
            yield {KEY: value[KEY], **value}
        except (ValueError, KeyError) as error:
            raise ConfigError(f"{path}: line {number} is not a JSON object with {KEY!r}: {error}") from error
