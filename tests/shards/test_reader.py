"""Reading through the index: the right sample or an error, never a wrong sample."""

import mmap
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.fake_shards import pages, write_shard, write_shards
from wdstream.errors import DamagedSampleError, PageError, RowError, ShardError, ShardIndexError
from wdstream.records import ImageSegment, Page, TextSegment
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards
from wdstream.shards.token_columns import write_token_column
from wdstream.storage.local import LocalStorage

CONTENT = {"s-0.tar": pages("a", 3), "s-1.tar": pages("b", 4), "s-2.tar": {}, "s-3.tar": pages("c", 1)}
ALL = {key: members for samples in CONTENT.values() for key, members in samples.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_shards(tmp_path / "f", CONTENT)
    merge_index(folder)
    return folder


def test_every_row_gives_its_sample(folder: Path) -> None:
    shards = Shards.open(folder)
    assert len(shards) == 8
    assert {key: members for key, members in map(shards.read, range(8))} == ALL
    assert [shards.key(row) for row in range(8)] == list(ALL)
    assert shards.read_pages([5, 0, 5]) == [shards.read_page(5), shards.read_page(0), shards.read_page(5)]
    assert shards.read_pages([]) == []


def test_shards_and_their_rows(folder: Path) -> None:
    shards = Shards.open(str(folder))
    assert shards.shard_names == ("s-0.tar", "s-1.tar", "s-2.tar", "s-3.tar")
    assert shards.shard_starts.tolist() == [0, 3, 7, 7]
    assert [list(shards.rows_of_shard(number)) for number in range(4)] == [[0, 1, 2], [3, 4, 5, 6], [], [7]]
    assert shards.image_width[shards.image_start[4] : shards.image_start[5]].tolist() == [101]
    assert len(shards.fingerprint) == 32


def test_columns_are_mapped_and_cannot_be_written(folder: Path) -> None:
    shards = Shards.open(folder)
    for name in ("shard", "offset", "nbytes", "crc", "num_images", "image_start", "image_width", "key_hash"):
        column = getattr(shards, name)
        assert isinstance(column.base.obj, mmap.mmap)
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0


def test_row_as_a_page(folder: Path) -> None:
    assert Shards.open(folder).read_page(1) == Page(
        key="a/p0001",
        images=(ALL["a/p0001"]["jpg"],),
        segments=(ImageSegment(index=0), TextSegment(text="Seite 1: größer")),
    )


def test_find_by_key(folder: Path) -> None:
    shards = Shards.open(folder)
    assert [shards.find(key) for key in ALL] == list(range(8))
    assert shards.find("a/p9999") is None


@pytest.mark.parametrize("row", [-1, 8])
def test_row_out_of_range(folder: Path, row: int) -> None:
    with pytest.raises(IndexError, match=f"row {row} of 8"):
        Shards.open(folder).read(row)


def test_token_columns(folder: Path) -> None:
    shards = Shards.open(folder)
    with pytest.raises(ShardIndexError, match=r"counted are: none\. Run `wdstream lengths .*--tokenizer PATH`"):
        shards.tokens("ab" * 8)
    write_token_column(folder, "ab" * 8, np.arange(8))
    write_token_column(folder, "cd" * 8, np.arange(8) * 2)
    assert shards.tokens("cd" * 8).tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    with pytest.raises(ShardIndexError, match="counted are: abababababababab, cdcdcdcdcdcdcdcd"):
        shards.tokens("ef" * 8)


def test_token_column_of_another_index(folder: Path) -> None:
    write_token_column(folder, "abababab", range(8))
    np.save(folder / "index" / "tokens.abababab.npy", np.zeros(5, np.int32))
    with pytest.raises(ShardIndexError, match=r"shape \(5,\), int32 of shape \(8,\) expected; count again with"):
        Shards.open(folder).tokens("abababab")


def test_no_index_says_what_to_run(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "f", CONTENT)
    with pytest.raises(ShardIndexError, match=r"has no index/index\.json: run `wdstream index "):
        Shards.open(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("index.json", b"{", "damaged"),
        ("index.json", b"[]", "damaged"),
        ("index.json", b"[" * 100_000, r"damaged: .*values are in one another too deeply.*`wdstream index "),
        ("index.json", b'{"schema_version": 3}', "schema version 3, this program reads 2"),
        (
            "crc.npy",
            None,
            r"crc\.npy of the index of .* is listed in index\.json and is not there; run `wdstr",
        ),
        ("crc.npy", b"", r"crc\.npy of the index of .* is damaged: it has no header"),
        ("crc.npy", b"\x93NUMPY\x01\x00", r"crc\.npy of the index of .* is damaged: it has no header"),
    ],
)
def test_damaged_index(folder: Path, name: str, content: bytes | None, message: str) -> None:
    path = folder / "index" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ShardIndexError, match=message):
        Shards.open(folder)


def test_column_of_another_type_or_length(folder: Path) -> None:
    np.save(folder / "index" / "crc.npy", np.zeros(8, np.int64))
    with pytest.raises(ShardIndexError, match=r"int64 of shape \(8,\), uint32 of shape \(8,\) expected"):
        Shards.open(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"), [(b'"samples": 3', b'"samples": 4', "add up"), (b"s-0.tar", b"s-9.tar", "fingerprint")]
)
def test_index_json_that_contradicts_itself(folder: Path, old: bytes, new: bytes, message: str) -> None:
    path = folder / "index" / "index.json"
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(ShardIndexError, match=message):
        Shards.open(folder)


def test_missing_tar(folder: Path) -> None:
    (folder / "s-1.tar").unlink()
    shards = Shards.open(folder)
    shards.read(0)
    with pytest.raises(ShardError, match=r"s-1\.tar is not there .*, though the index lists it: bring it back"):
        shards.read(3)
    with pytest.raises(ShardError, match=r"s-1\.tar is not there .*, though the index lists it: bring it back"):
        shards.read_pages([0, 3])


def test_tar_changed_under_the_index(folder: Path) -> None:
    write_shard(folder / "s-1.tar", pages("b", 4, payload=9000))
    with pytest.raises(ShardError, match=r"s-1\.tar, row 3: 20480 bytes expected, found \d+.*bring the right"):
        Shards.open(folder).read(3)


def test_tar_cut_off_before_and_while_it_is_open(folder: Path) -> None:
    shards = Shards.open(folder)
    shards.read(3)
    with (folder / "s-1.tar").open("r+b") as file:
        file.truncate(700)
    with pytest.raises(ShardError, match=r"row 4: \d+ bytes at byte \d+ expected, found 0"):
        shards.read(4)
    with pytest.raises(ShardError, match="20480 bytes expected, found 700"):
        Shards.open(folder).read(3)


def test_tar_of_the_same_size_with_other_content(folder: Path) -> None:
    other = pages("b", 4)
    other["b/p0002"]["txt"] = other["b/p0002"]["txt"].replace(b"2", b"7")
    write_shard(folder / "s-1.tar", other)
    shards = Shards.open(folder)
    assert shards.read(4)[0] == "b/p0001"
    with pytest.raises(DamagedSampleError, match=r"s-1\.tar, row 5: checksum [0-9a-f]{8} expected") as caught:
        shards.read(5)
    assert isinstance(caught.value, PageError)  # one page's failure: the job continues without it
    before, damaged, after = shards.read_pages([4, 5, 7])
    assert isinstance(damaged, DamagedSampleError)
    assert [before, after] == [shards.read_page(4), shards.read_page(7)]


def test_swapped_shards_of_one_size(folder: Path, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "g", {"s-0.tar": pages("a", 3), "s-1.tar": pages("z", 3)})
    merge_index(folder)
    (folder / "s-0.tar").rename(folder / "x")
    (folder / "s-1.tar").rename(folder / "s-0.tar")
    (folder / "x").rename(folder / "s-1.tar")
    shards = Shards.open(folder)
    with pytest.raises(ShardError, match="checksum"):
        shards.read(0)
    with pytest.raises(ShardError, match="it has the key 'z/p0000', the index another"):
        shards.key(0)


def test_row_that_is_no_page(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "g", {"s.tar": {"k": {"mp4": b"?"}}})
    merge_index(folder)
    with pytest.raises(RowError, match="'k' has no image"):
        Shards.open(folder).read_page(0)


@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_flipped_bits_never_give_a_wrong_sample(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    base = tmp_path_factory.getbasetemp() / "flipped"
    if not base.exists():
        write_shards(base, CONTENT)
        merge_index(base)
    content = bytearray((base / "s-1.tar").read_bytes())
    damaged = set()
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
        damaged.add(place)
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(base / "index", folder / "index")
    original = (base / "s-1.tar").read_bytes()
    (folder / "s-1.tar").write_bytes(content)
    shards = Shards.open(folder)
    for row in shards.rows_of_shard(1):
        start, end = int(shards.offset[row]), int(shards.offset[row] + shards.nbytes[row])
        if content[start:end] == original[start:end]:
            key, members = shards.read(row)
            assert ALL[key] == members
        else:
            with pytest.raises(ShardError):
                shards.read(row)


def test_many_threads_read_one_object(folder: Path) -> None:
    shards = Shards.open(folder, LocalStorage(folder, open_files=1))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(shards.read, [place * 3 % 8 for place in range(800)]))
    assert all(members == ALL[key] for key, members in found)
    assert [key for key, _ in found[:8]] == [list(ALL)[place * 3 % 8] for place in range(8)]


def test_index_in_one_place_and_tars_in_another(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "index", tmp_path / "elsewhere" / "index")
    shards = Shards.open(tmp_path / "elsewhere", LocalStorage(folder))
    assert shards.read(7) == ("c/p0000", ALL["c/p0000"])


def test_shards_travel_to_another_process(folder: Path) -> None:
    shards = Shards.open(folder)
    again = pickle.loads(pickle.dumps(shards))
    assert again.fingerprint == shards.fingerprint
    assert again.read(6) == shards.read(6)


def test_folder_of_empty_shards(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "g", {"s.tar": {}})
    merge_index(folder)
    shards = Shards.open(folder)
    assert (len(shards), shards.image_start.tolist(), shards.find("a")) == (0, [0], None)


def test_says_what_it_is_and_what_it_expects(folder: Path) -> None:
    shards = Shards.open(folder)
    assert repr(shards) == f"Shards('{folder}': 4 shards, 8 samples, 8 images, fingerprint {shards.fingerprint})"
    with pytest.raises(TypeError, match="expected a folder or URL of shards, got int: 3"):
        Shards.open(3)  # type: ignore[arg-type]
    with pytest.raises(ShardIndexError, match=r"s-0\.tar: expected a folder of shards with an index, found a file"):
        Shards.open(folder / "s-0.tar")


def test_damage_of_the_index_is_not_blamed_on_a_shard(folder: Path) -> None:
    path = folder / "index" / "key_hash.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for read in (Shards.read, Shards.key, Shards.read_page):
        with pytest.raises(
            ShardIndexError, match=r"^key_hash\.npy of the index of .* is damaged in rows 0 to 7"
        ) as caught:
            read(Shards.open(folder), 0)
        assert "bring the right file back" not in str(caught.value)
