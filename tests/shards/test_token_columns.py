"""The column of paragraphs: what is written comes back, and what is missing or damaged is named."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.fake_shards import pages, write_shard, write_shards
from wdstream.errors import ShardIndexError
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards
from wdstream.shards.token_columns import write_paragraphs, write_token_column

NAME = "ab" * 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shards = write_shards(tmp_path / "f", {"s-0.tar": pages("a", 3), "s-1.tar": pages("b", 2)})
    merge_index(shards)
    write_token_column(shards, NAME, [1, 2, 3, 4, 5])
    return shards


def write(folder: Path) -> None:
    with write_paragraphs(folder, NAME) as writer:
        writer.add([(3, 4), (), (5, 6, 7)])
        writer.add([])
        writer.add([(), (8, 90_000)])


def test_rows_come_back(folder: Path) -> None:
    write(folder)
    starts, tokens = Shards.open(folder).paragraphs(NAME)
    assert (starts.tolist(), tokens.tolist()) == ([0, 2, 2, 5, 5, 7], [3, 4, 5, 6, 7, 8, 90_000])
    assert (starts.dtype, tokens.dtype) == (np.dtype(np.int64), np.dtype(np.int32))
    first = (folder / "index" / f"paragraphs.{NAME}.npy").read_bytes()
    write(folder)
    assert (folder / "index" / f"paragraphs.{NAME}.npy").read_bytes() == first


def test_without_paragraphs(folder: Path) -> None:
    with write_paragraphs(folder, NAME) as writer:
        writer.add([()] * 5)
    starts, tokens = Shards.open(folder).paragraphs(NAME)
    assert (starts.tolist(), tokens.tolist()) == ([0] * 6, [])


def test_an_index_without_them_names_the_command(folder: Path) -> None:
    with pytest.raises(
        ShardIndexError, match=rf"needs .*{NAME}.*wdstream lengths {folder} --tokenizer PATH --paragraphs`"
    ):
        Shards.open(folder).paragraphs(NAME)


def test_what_is_broken_off_leaves_what_was_there(folder: Path) -> None:
    write(folder)
    with pytest.raises(ShardIndexError, match="-1 to 2 tokens do not fit"), write_paragraphs(folder, NAME) as writer:
        writer.add([(2, -1)])
    assert Shards.open(folder).paragraphs(NAME)[0].tolist() == [0, 2, 2, 5, 5, 7]
    assert not list((folder / "index").glob("*.tmp"))


def test_columns_of_another_index_are_refused_and_removed(folder: Path) -> None:
    with (
        pytest.raises(ShardIndexError, match="paragraphs of 1 rows; 5 expected"),
        write_paragraphs(folder, NAME) as few,
    ):
        few.add([(3, 4)])
    with pytest.raises(ShardIndexError, match="which are not counted"):
        Shards.open(folder).paragraphs(NAME)
    write(folder)
    starts = folder / "index" / f"paragraph_start.{NAME}.npy"
    np.save(starts, np.zeros(2, np.int64))
    with pytest.raises(ShardIndexError, match=r"paragraph_start\..* of shape \(2,\), int64 of shape \(6,\) expected"):
        Shards.open(folder).paragraphs(NAME)
    write(folder)
    tokens = folder / "index" / f"paragraphs.{NAME}.npy"
    np.save(tokens, np.load(tokens)[:-1])
    with pytest.raises(ShardIndexError, match=r"paragraphs\..* of shape \(6,\), int32 of shape \(7,\) expected"):
        Shards.open(folder).paragraphs(NAME)
    write_shard(folder / "s-2.tar", pages("c", 1))
    merge_index(folder)
    assert not list((folder / "index").glob("paragraph*"))
