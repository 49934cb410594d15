"""Indexing again never makes an index of damage: what is known of a shard is compared with what its tar is now."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.fake_shards import measure, pages
from tests.shards.test_index_scan import write_foreign
from wdstream.errors import ShardError
from wdstream.shards.describe import TarRules
from wdstream.shards.reader import Shards
from wdstream.shards.tar_folder import TarFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        write_foreign(tmp_path / f"s-{number}.tar", pages(f"{number}", 4), mtime=0)
    TarFolder(tmp_path, measure).index()
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def damage(tar: Path) -> None:
    """One bit of the text of the tar's first page."""
    data = bytearray(tar.read_bytes())
    data[data.index(b".txt") + 600] ^= 1
    tar.write_bytes(data)


@pytest.mark.parametrize(
    ("files", "how"),
    [
        *itertools.product(
            (
                ["s-1.meta.npz"],
                ["s-1.tar.idx"],
                ["s-1.meta.npz", "s-1.tar.idx"],
                ["s-1.meta.npz", "index/crc.npy"],
            ),
            ("absent", "damaged"),
        ),
        (["index/index.json"], "damaged"),  # where it is absent, nothing lists the shards
    ],
)
def test_a_damaged_tar_is_refused_whatever_else_is_damaged(folder: Path, files: list[str], how: str) -> None:
    """With --rebuild, too; and nothing is written, so that the right tar makes all well."""
    right = contents(folder)
    damage(folder / "s-1.tar")
    for name in files:
        if how == "absent":
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(right[name][: len(right[name]) // 2])
    wrong = contents(folder)
    with pytest.raises(ShardError, match=r"1 shards are not as they were [^:]*:\n  s-1\.tar: .* expected") as caught:
        TarFolder(folder, measure).index(rebuild=True)
    assert "bring the files back from a copy" in str(caught.value)
    assert {name: data for name, data in contents(folder).items() if name in wrong and "s-1" in name} == {
        name: data for name, data in wrong.items() if "s-1" in name
    }
    (folder / "s-1.tar").write_bytes(right["s-1.tar"])
    TarFolder(folder, measure).index()
    assert contents(folder) == right


def test_what_differs_is_named_by_page(folder: Path) -> None:
    damage(folder / "s-1.tar")
    with pytest.raises(ShardError, match=r"s-1\.tar: 1/p0000: checksum [0-9a-f]{8} expected of 2560 bytes at byte 0, "):
        TarFolder(folder, measure).index(rebuild=True)
    (folder / "s-1.meta.npz").unlink()  # then the columns of the index know
    with pytest.raises(ShardError, match=r"s-1\.tar: 1/p0000: checksum [0-9a-f]{8} expected of 2560 bytes at byte 0, "):
        TarFolder(folder, measure).index()
    (folder / "index" / "crc.npy").unlink()  # then only the digest
    with pytest.raises(ShardError, match=r"s-1\.tar: its content has the digest [0-9a-f]{32}, [0-9a-f]{32} expected"):
        TarFolder(folder, measure).index()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda folder: (folder / "s-2.tar").unlink(), "s-2.tar: is not there"),
        (lambda folder: write_foreign(folder / "s-2.tar", pages("2", 9), mtime=0), "s-2.tar: .* bytes expected, found"),
        (lambda folder: (folder / "s-2.tar").write_bytes(b""), "s-2.tar: .*truncated"),
        (
            lambda folder: [
                shutil.copy(folder / f"s-0{suffix}", folder / f"s-2{suffix}")
                for suffix in (".tar", ".tar.idx", ".meta.npz")
            ],
            "s-2.tar: sample 0: checksum",
        ),
    ],
)
def test_gone_grown_cut_and_swapped_shards_are_refused(
    folder: Path, change: Callable[[Path], object], line: str
) -> None:
    change(folder)
    listed = (folder / "index" / "index.json").read_bytes()
    for rules in (TarRules(), TarRules(skip_bad=True)):
        with pytest.raises(ShardError, match=line):
            TarFolder(folder, measure, rules).index()
    assert (folder / "index" / "index.json").read_bytes() == listed


def test_what_somebody_changed_on_purpose_is_taken_when_asked(folder: Path) -> None:
    damage(folder / "s-1.tar")
    (folder / "s-2.tar").unlink()
    report = TarFolder(folder, measure).index(rebuild=True, accept_changed=True)
    assert report.notes == (
        "1 shards are not as the index before listed them: s-1.tar",
        "1 shards of the index before are not there: s-2.tar",
    )
    assert Shards.open(folder).key(4) == "1/p0000"
    assert TarFolder(folder, measure).index(rebuild=True).is_new is False  # and is what is known from now on


def test_new_tars_and_other_keys_need_no_permission(folder: Path) -> None:
    """The bytes that are listed are as they were."""
    write_foreign(folder / "s-3.tar", pages("3", 2), mtime=0)
    assert TarFolder(folder, measure).index().catalog.num_samples == 14
    report = TarFolder(folder, measure, TarRules(prefix_keys=True)).index()
    assert Shards.open(folder).key(0) == "s-0.tar/0/p0000"
    assert report.notes == ("4 shards are not as the index before listed them: s-0.tar, s-1.tar, s-2.tar, s-3.tar",)


def test_leaving_out_a_repeated_key_does_not_index_damage_next_to_it(folder: Path) -> None:
    damage(folder / "s-2.tar")
    write_foreign(folder / "s-1a.tar", {"2/p0003": pages("2", 4)["2/p0003"]}, mtime=0)
    with pytest.raises(ShardError, match="2/p0000: checksum"):
        TarFolder(folder, measure, TarRules(skip_bad=True)).index()
