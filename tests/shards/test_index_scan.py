"""Shards written by others: described, indexed, read."""

import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from tests.helpers.fake_shards import fake_image, measure, pages, write_shards
from wdstream.errors import ShardError
from wdstream.shards.describe import describe_tar
from wdstream.shards.index import merge_index
from wdstream.shards.meta import load_complete
from wdstream.shards.reader import Shards
from wdstream.shards.tar_folder import TarFolder


def write_foreign(path: Path, samples: dict[str, dict[str, bytes]], **options: Any) -> None:
    with webdataset.TarWriter(str(path), **options) as writer:
        for key, members in samples.items():
            writer.write({"__key__": key, **members})


def write_tar(path: Path, names: dict[str, bytes], **options: Any) -> None:
    with tarfile.open(path, "w", **options) as tar:
        for name, data in names.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_tars_of_webdataset_are_indexed_and_read(tmp_path: Path) -> None:
    content = {f"s-{number}.tar": pages(f"größe/{number}", 5 + number) for number in range(3)}
    for name, samples in content.items():
        write_foreign(tmp_path / name, samples)  # times of now: a PAX header before every member
    seen: list[tuple[int, int]] = []
    report = TarFolder(tmp_path, measure, on_progress=lambda done, total: seen.append((done, total))).index()
    assert (report.catalog.num_samples, report.failures, report.skipped) == (18, (), ())
    total = sum((tmp_path / name).stat().st_size for name in content)
    assert len(seen) == 3
    assert seen[-1] == (total, total)
    shards = Shards.open(tmp_path)
    assert dict(shards.read(row) for row in range(18)) == {k: p for s in content.values() for k, p in s.items()}
    assert shards.image_height[:3].tolist() == [200, 202, 204]
    assert shards.text_chars[0] == 15
    assert shards.find("größe/1/p0003") == 8


def test_description_is_that_of_our_own_writer(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "f", {"s.tar": pages("a", 7)})
    ours = load_complete(folder / "s.tar")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert describe_tar(folder / "s.tar", measure).digest == ours.digest
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_idx_is_the_one_energon_writes(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    names = {"__meta__/x.json": b"{}", "d" * 120 + "/a.jpg": fake_image(1, 1), "d" * 120 + "/a.txt": b"a"}
    write_tar(path, names | {"README": b"", "b.jpg": fake_image(2, 2), "b.txt": b"b"}, format=tarfile.PAX_FORMAT)
    describe_tar(path, measure)
    with tarfile.open(path) as tar:
        members = {member.name: member.offset for member in tar}
        end = tar.offset
    expected = [members["d" * 120 + "/a.jpg"], members["b.jpg"], end]
    assert np.frombuffer(path.with_name("s.tar.idx").read_bytes(), "<u8").tolist() == expected


def test_samples_that_cannot_be_read_are_left_out_and_named(tmp_path: Path) -> None:
    samples = pages("a", 3) | {
        "bad": {"jpg": b"no image", "txt": b""},
        "worse": {"jpg": fake_image(1, 1), "txt": b"\xff"},
    }
    samples |= {"video": {"mp4": b""}} | pages("z", 1)
    write_foreign(tmp_path / "s.tar", samples)
    report = TarFolder(tmp_path, measure).index()
    assert report.catalog.num_samples == 4
    assert [(shard, failure.key) for shard, failure in report.failures] == [
        ("s.tar", "bad"),
        ("s.tar", "worse"),
        ("s.tar", "video"),
    ]
    assert "not an image" in report.failures[0][1].reason
    assert merge_index(tmp_path).failures == report.failures  # reported again, though nothing was read again
    assert [Shards.open(tmp_path).key(row) for row in range(4)] == ["a/p0000", "a/p0001", "a/p0002", "z/p0000"]


IMAGE = fake_image(1, 1)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"page.v2.jpg": IMAGE, "page.v2.txt": b""}, r"'page\.v2\.jpg' has a dot in its key"),
        ({"a.jpg": IMAGE, "b.jpg": IMAGE, "a.txt": b"t"}, "'a': its image and its text are apart, .* byte 2048"),
        ({"a.txt": b"t", "b.txt": b"t", "a.TXT": b"t"}, "'a': the key appears again, the first at byte 0"),
        ({"a.jpg": IMAGE, "a.JPG": IMAGE}, "two members 'jpg'"),
        ({"../a.jpg": IMAGE}, "not safe as a path"),
        ({"/a.jpg": IMAGE}, "not safe as a path"),
    ],
)
def test_tars_that_cannot_serve(tmp_path: Path, names: dict[str, bytes], message: str) -> None:
    write_tar(tmp_path / "s.tar", names)
    with pytest.raises(ShardError, match=rf"(?s)1 of 1 tars cannot be indexed.*s\.tar.*{message}"):
        TarFolder(tmp_path, measure).index()


def test_all_bad_tars_are_named_and_the_good_ones_described(tmp_path: Path) -> None:
    for number in range(4):
        write_foreign(tmp_path / f"s-{number}.tar", pages(f"{number}", 4))
    with (tmp_path / "s-1.tar").open("r+b") as file:
        file.truncate(5000)
    (tmp_path / "s-2.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(ShardError, match=r"(?s)2 of 4 .*s-1\.tar: .*\n.*s-2\.tar: .*checksum"):
        TarFolder(tmp_path, measure).index()
    assert load_complete(tmp_path / "s-3.tar").num_samples == 4


@pytest.mark.parametrize("size", [0, 512, 1024 + 300, 2560])
def test_truncated_tar_is_refused_wherever_it_is_cut(tmp_path: Path, size: int) -> None:
    write_tar(tmp_path / "s.tar", {"a.txt": b"a", "b.txt": b"b", "c.txt": b"c"}, format=tarfile.USTAR_FORMAT)
    with (tmp_path / "s.tar").open("r+b") as file:
        file.truncate(size)
    with pytest.raises(ShardError, match="truncated"):
        describe_tar(tmp_path / "s.tar", measure)


def test_tar_that_changed_is_described_again(tmp_path: Path) -> None:
    write_foreign(tmp_path / "s.tar", pages("a", 2))
    before = TarFolder(tmp_path, measure).index().catalog.fingerprint
    write_foreign(tmp_path / "s.tar", pages("a", 4))
    with pytest.raises(ShardError, match=r"s\.tar: .* bytes expected, found"):
        TarFolder(tmp_path, measure).index()
    after = TarFolder(tmp_path, measure).index(accept_changed=True)
    assert (after.catalog.num_samples, after.is_new) == (4, True)
    assert after.catalog.fingerprint != before


def test_rebuild_finds_what_changed_without_changing_the_size(tmp_path: Path) -> None:
    samples = pages("a", 2)
    write_foreign(tmp_path / "s.tar", samples, mtime=0)
    TarFolder(tmp_path, measure).index()
    samples["a/p0000"]["txt"] = samples["a/p0000"]["txt"].upper()
    write_foreign(tmp_path / "s.tar", samples, mtime=0)
    assert TarFolder(tmp_path, measure).index().is_new is False
    with pytest.raises(ShardError, match="checksum"):
        Shards.open(tmp_path).read(0)
    with pytest.raises(ShardError, match=r"s.tar: a/p0000: checksum [0-9a-f]{8} expected of"):
        TarFolder(tmp_path, measure).index(rebuild=True)
    assert TarFolder(tmp_path, measure).index(rebuild=True, accept_changed=True).is_new is True
    assert Shards.open(tmp_path).read(0) == ("a/p0000", samples["a/p0000"])


def test_several_processes_give_the_same_index(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    for number in range(3):
        write_foreign(one / f"s-{number}.tar", pages(f"{number}", 3), mtime=0)
    shutil.copytree(one, two)
    TarFolder(one, measure).index()
    seen: list[int] = []
    TarFolder(two, measure, workers=2, on_progress=lambda done, _: seen.append(done)).index()
    assert len(seen) == 3
    for path in one.rglob("*.*"):
        assert (two / path.relative_to(one)).read_bytes() == path.read_bytes()
