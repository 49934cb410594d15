"""Rows of a column are checked block by block, and nothing is used unchecked."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.hollow_shards import write_hollow_shard
from wdstream.errors import ShardIndexError
from wdstream.shards.column_files import BLOCK
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards

NAMES = ("shard", "offset", "nbytes", "crc", "num_images", "image_start", "image_width", "text_bytes", "text_chars")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hollow")
    for number in range(5):
        write_hollow_shard(folder / f"s{number}.tar", number)
    merge_index(folder)
    return folder


@pytest.fixture
def shards(indexed: Path, tmp_path: Path) -> Path:
    out = tmp_path / "shards"
    shutil.copytree(indexed / "index", out / "index")
    for tar in indexed.glob("*.tar"):
        (out / tar.name).symlink_to(tar)  # a copy of a hole would be no hole
    return out


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_those_of_the_whole_column(indexed: Path, name: str) -> None:
    whole, rows = getattr(Shards(indexed), name), getattr(Shards(indexed).by_row, name)
    some = np.array([3, 49_999, 0, 3, BLOCK, BLOCK - 1])
    assert rows[some].tolist() == whole[some].tolist()
    assert rows[some.astype(np.int32)].tolist() == whole[some].tolist()
    assert rows[7] == rows[np.int64(7)] == whole[7]
    assert rows[len(whole) - 1] == whole[-1]
    assert rows[-1] == whole[-1]
    assert rows[BLOCK - 2 : BLOCK + 3].tolist() == whole[BLOCK - 2 : BLOCK + 3].tolist()
    assert rows[np.array([], dtype=np.int64)].tolist() == []
    assert len(rows) == len(whole)
    assert rows[:].tolist() == whole.tolist()
    with pytest.raises(IndexError):
        rows[len(whole)]


def damage(shards: Path, name: str, entry: int) -> None:
    path = shards / "index" / f"{name}.npy"
    size = np.load(path).itemsize
    data = bytearray(path.read_bytes())
    data[len(data) - (len(np.load(path)) - entry) * size] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_found_when_its_block_is_used(shards: Path, name: str) -> None:
    damage(shards, name, 2 * BLOCK + 5)
    rows = getattr(Shards(shards).by_row, name)
    assert len(rows[np.arange(BLOCK)]) == BLOCK
    for wanted in (2 * BLOCK, np.array([1, 2 * BLOCK + 9]), slice(2 * BLOCK + 8, 2 * BLOCK + 9)):
        with pytest.raises(ShardIndexError, match=rf"{name}.npy of the index .* is damaged in .* {2 * BLOCK} to"):
            rows[wanted]


def test_the_bytes_of_a_row_are_of_checked_places(shards: Path) -> None:
    damage(shards, "offset", 40_000)
    opened = Shards(shards)
    with pytest.raises(ShardIndexError, match=r"offset\.npy"):
        opened.read(40_001)
