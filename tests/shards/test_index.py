"""The merged index: its columns, what it refuses, what it skips, and what a kill leaves."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.helpers.fake_shards import pages, write_shard, write_shards
from tests.helpers.paths import ROOT
from wdstream.errors import ShardError, ShardIndexError
from wdstream.shards import index
from wdstream.shards.index import merge_index, metas_in
from wdstream.shards.meta import ShardEntry, ShardMeta
from wdstream.shards.repeated import refuse_duplicates
from wdstream.shards.token_columns import write_token_column

TWO = {"s-0.tar": pages("a", 3), "s-1.tar": pages("b", 2)}


def index_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "index").iterdir())}


def test_columns_of_two_shards(tmp_path: Path) -> None:
    row = {"r/0": {"0.jpg": pages("x", 1)["x/p0000"]["jpg"], "1.jpg": pages("x", 2)["x/p0001"]["jpg"], "json": b"{}"}}
    folder = write_shards(tmp_path / "f", TWO | {"s-2.tar": {"t": {"txt": b"12345"}} | row})
    report = merge_index(folder)
    assert (report.is_new, report.skipped, report.failures) == (True, (), ())
    assert (report.catalog.num_samples, report.catalog.num_images) == (7, 7)
    columns = {path.stem: np.load(path) for path in (folder / "index").glob("*.npy")}
    assert columns["shard"].tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert columns["image_start"].tolist() == [0, 1, 2, 3, 4, 5, 5, 7]
    assert columns["image_width"].tolist() == [100, 101, 102, 100, 101, 100, 101]
    assert columns["image_height"].tolist() == [200, 202, 204, 200, 202, 200, 202]
    assert columns["num_images"].tolist() == [1, 1, 1, 1, 1, 0, 2]
    assert columns["text_chars"].tolist() == [15, 15, 15, 15, 15, 5, 0]
    assert columns["text_bytes"].tolist() == [17, 17, 17, 17, 17, 5, 0]
    assert columns["offset"][[0, 3, 5]].tolist() == [0, 0, 0]
    value = json.loads((folder / "index" / "index.json").read_bytes())
    assert [(shard["name"], shard["samples"]) for shard in value["shards"]] == [
        ("s-0.tar", 3),
        ("s-1.tar", 2),
        ("s-2.tar", 2),
    ]
    assert (value["schema_version"], value["num_samples"], value["num_images"]) == (2, 7, 7)
    assert value["shards"][0]["bytes"] == (folder / "s-0.tar").stat().st_size


@pytest.mark.parametrize(("most_bytes", "read"), [(1 << 20, ["s-0.tar", "s-1.tar"]), (0, ["s-0.tar", "s-1.tar"] * 2)])
def test_metas_are_read_once_while_they_take_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int, read: list[str]
) -> None:
    expected = merge_index(write_shards(tmp_path / "one", TWO)).folder
    monkeypatch.setattr(index, "_MOST_HELD", most_bytes)
    folder, found = write_shards(tmp_path / "two", TWO), list[str]()
    load = metas_in(folder)

    def noted(name: str) -> ShardMeta:
        found.append(name)
        return load(name)

    held = index._held(noted)
    assert [held(name).num_samples for name in [*TWO, *TWO]] == [3, 2, 3, 2]
    assert found == read
    assert index_files(merge_index(folder).folder) == index_files(expected)


def test_fingerprint_is_of_content_and_not_of_the_place(tmp_path: Path) -> None:
    first = merge_index(write_shards(tmp_path / "one", TWO)).catalog.fingerprint
    assert merge_index(write_shards(tmp_path / "two", TWO)).catalog.fingerprint == first
    changed = TWO | {"s-1.tar": pages("b", 2, payload=701)}
    assert merge_index(write_shards(tmp_path / "three", changed)).catalog.fingerprint != first
    swapped = {"s-0.tar": TWO["s-1.tar"], "s-1.tar": TWO["s-0.tar"]}  # other rows under the same numbers
    assert merge_index(write_shards(tmp_path / "four", swapped)).catalog.fingerprint != first


def test_index_that_is_up_to_date_keeps_its_token_columns(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "f", TWO)
    merge_index(folder)
    write_token_column(folder, "ab" * 8, [1, 2, 3, 4, 5])
    before = index_files(folder)
    assert merge_index(folder).is_new is False
    assert index_files(folder) == before
    write_shard(folder / "s-2.tar", pages("c", 1))
    assert merge_index(folder).is_new is True
    assert "tokens.abababababababab.npy" not in index_files(folder)


def test_missing_column_is_written_again(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "f", TWO)
    merge_index(folder)
    before = index_files(folder)
    (folder / "index" / "crc.npy").unlink()
    assert merge_index(folder).is_new is True
    assert index_files(folder) == before


def test_incomplete_shards_are_skipped_and_named(tmp_path: Path) -> None:
    names = [f"s-{number}.tar" for number in range(6)]
    folder = write_shards(tmp_path / "f", {name: pages(name[:3], 2) for name in names})
    (folder / "s-1.tar").unlink()
    (folder / "s-2.tar.idx").unlink()
    (folder / "s-3.meta.npz").unlink()
    (folder / "s-4.meta.npz").write_bytes(b"PK damaged")
    with (folder / "s-5.tar").open("r+b") as file:
        file.truncate(5000)
    (folder / "s-6.tar.tmp").write_bytes(b"half")
    report = merge_index(folder)
    assert [shard.name for shard in report.catalog.shards] == ["s-0.tar"]
    reasons = dict(report.skipped)
    assert list(reasons) == ["s-1.tar", "s-2.tar", "s-3.tar", "s-4.tar", "s-5.tar"]
    assert "s-1.tar missing" in reasons["s-1.tar"]
    assert "s-2.tar.idx missing" in reasons["s-2.tar"]
    assert "s-3.meta.npz missing" in reasons["s-3.tar"]
    assert "makes it again if the tar is as it was" in reasons["s-4.tar"]
    assert "truncated: 10240 bytes expected, found 5000" in reasons["s-5.tar"]


def test_report_prints_what_was_left_out(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "f", TWO)
    (folder / "s-1.tar").unlink()
    console = Console(width=200, record=True, quiet=False, file=(tmp_path / "out").open("w"))
    merge_index(folder).print(console)
    console.file.close()
    text = console.export_text()
    assert "1 shards, 3 samples, 3 images" in text
    assert "skipped s-1.tar: s-1.tar missing" in text


def test_folder_without_shards(tmp_path: Path) -> None:
    with pytest.raises(ShardIndexError, match="no tar at all"):
        merge_index(tmp_path)
    with pytest.raises(ShardIndexError, match="no such folder"):
        merge_index(tmp_path / "gone")


def test_key_in_two_shards_is_refused_naming_both(tmp_path: Path) -> None:
    folder = write_shards(
        tmp_path / "f", {"s-0.tar": pages("a", 3), "s-1.tar": pages("b", 2), "s-2.tar": pages("a", 1)}
    )
    with pytest.raises(ShardError, match=r"'a/p0000' is in s-0\.tar and in s-2\.tar"):
        merge_index(folder)
    assert not (folder / "index").exists()


def test_equal_hashes_of_different_keys_are_no_duplicates(tmp_path: Path) -> None:
    """64-bit hashes may collide; the keys decide."""
    folder = write_shards(tmp_path / "f", TWO)
    entries = [ShardEntry(name=name, samples=len(TWO[name]), bytes=0, digest="") for name in TWO]
    same = [np.full(entry.samples, 7, np.uint64) for entry in entries]
    refuse_duplicates(folder, entries, same)


def test_empty_shard_in_an_index(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "f", {"s-0.tar": {}, "s-1.tar": pages("b", 2), "s-2.tar": {}})
    assert merge_index(folder).catalog.num_samples == 2
    assert np.load(folder / "index" / "shard.npy").tolist() == [1, 1]


@pytest.mark.parametrize(
    ("fingerprint", "counts", "message"),
    [
        ("ab" * 8, [1, 2], r"shape \(5,\) expected"),
        ("ab" * 8, [1.0] * 5, "float64"),
        ("ab" * 8, [1, 2, 3, 4, -1], "of -1 to 4"),
        ("ab" * 8, [1, 2, 3, 4, 2**31], "to 2147483648"),
        ("../x", [1] * 5, "hexadecimal"),
    ],
)
def test_token_counts_that_do_not_fit(tmp_path: Path, fingerprint: str, counts: list[int], message: str) -> None:
    folder = write_shards(tmp_path / "f", TWO)
    merge_index(folder)
    with pytest.raises(ShardIndexError, match=message):
        write_token_column(folder, fingerprint, counts)


def test_token_column_needs_an_index(tmp_path: Path) -> None:
    with pytest.raises(ShardIndexError, match="run `wdstream index"):
        write_token_column(write_shards(tmp_path / "f", TWO), "ab" * 8, [1] * 5)


KILLED_MERGE = """
import os, signal, sys
from pathlib import Path
from wdstream.shards import index
from wdstream.shards.index import merge_index, metas_in
from wdstream.shards.token_columns import write_token_column
folder, moment = Path(sys.argv[1]), int(sys.argv[2])
touched = 0
def watch(event, arguments):
    global touched
    if event in ("os.rename", "os.remove") and "index" in str(arguments[0]):
        touched += 1
        if touched == moment:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
merge_index(folder)
"""


def test_kill_during_the_merge_leaves_no_index_or_a_whole_one(tmp_path: Path) -> None:
    old = write_shards(tmp_path / "old", {"s-0.tar": pages("z", 4)})
    merge_index(old)
    write_token_column(old, "ab" * 8, [1, 2, 3, 4])
    old_index = index_files(old)
    clean = write_shards(tmp_path / "clean", TWO)
    merge_index(clean)
    for moment in (1, 2, 3, 8, 13, 14):
        folder = tmp_path / f"killed-{moment}"
        shutil.copytree(old, folder)
        write_shards(folder, TWO)
        command = [sys.executable, "-c", KILLED_MERGE, str(folder), str(moment)]
        assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
        if (folder / "index" / "index.json").exists():
            assert index_files(folder) == old_index
        merge_index(folder)
        assert index_files(folder) == index_files(clean)
