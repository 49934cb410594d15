"""Shards as written: bytes, what other readers make of them, and what a kill leaves."""

import hashlib
import os
import signal
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.fake_shards import EXTENSIONS, KEYS, entry, fake_image, pages, write_shard
from tests.helpers.paths import ROOT
from wdstream.errors import ShardError
from wdstream.shards.layout import IMAGE_EXTENSIONS, image_number
from wdstream.shards.meta import hash_key, load_complete
from wdstream.shards.writer import SampleEntry, ShardWriter, _write_all

NO_IMAGES = SampleEntry(image_sizes=(), text_bytes=0, text_chars=0)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_three_files_with_known_content(tmp_path: Path) -> None:
    samples = {
        "d/a": {"txt": b"hello", "jpg": fake_image(30, 40), "json": b"{}"},
        "d/b": {"jpg": fake_image(50, 60), "txt": "größe".encode()},
    }
    with ShardWriter(tmp_path / "s.tar") as writer:
        for key, members in samples.items():
            writer.add(key, members, entry(members))
        assert (writer.num_samples, writer.tar_bytes) == (2, 5 * 1024)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.meta.npz", "s.tar", "s.tar.idx"]
    data = (tmp_path / "s.tar").read_bytes()
    assert len(data) == 10_240
    assert hashlib.sha256(data).hexdigest() == "15727143daef08a1f4850724b3a6deda60daf240d2ead34989bd68675a52af9a"
    with tarfile.open(tmp_path / "s.tar") as tar:
        assert tar.getnames() == ["d/a.jpg", "d/a.json", "d/a.txt", "d/b.jpg", "d/b.txt"]
    assert np.frombuffer((tmp_path / "s.tar.idx").read_bytes(), "<u8").tolist() == [0, 3072, 5120]
    with np.load(tmp_path / "s.meta.npz", allow_pickle=False) as meta:
        columns = {name: meta[name].tolist() for name in meta.files}
    assert columns["header"] == [1, 10_240]
    assert columns["offset"] == [0, 3072]
    assert columns["nbytes"] == [3072, 2048]
    assert columns["crc"] == [zlib.crc32(data[:3072]), zlib.crc32(data[3072:5120])]
    assert (columns["image_width"], columns["image_height"]) == ([30, 50], [40, 60])
    assert (columns["num_images"], columns["text_bytes"], columns["text_chars"]) == ([1, 1], [5, 7], [5, 5])
    assert bytes(columns["key_bytes"]) == b"d/ad/b"
    assert columns["key_start"] == [0, 3, 6]
    assert columns["key_hash"] == [hash_key("d/a"), hash_key("d/b")]


def test_key_hash_is_fixed() -> None:
    assert hash_key("d/a") == int.from_bytes(hashlib.blake2b(b"d/a", digest_size=8).digest(), "little")
    assert hash_key("größe") == 16832822397561338100


def test_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_shard(tmp_path / name / "s.tar", pages("d", 20))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_index_is_the_one_energon_writes(tmp_path: Path) -> None:
    """Energon appends the offset of each sample's first member, at the end the reader's own offset."""
    write_shard(tmp_path / "s.tar", pages("d", 20))
    expected: list[int] = []
    last = ""
    with tarfile.open(tmp_path / "s.tar") as tar:
        for member in tar:
            key = member.name.split(".")[0]
            if key != last:
                expected.append(member.offset)
            last = key
        expected.append(tar.offset)
    assert np.frombuffer((tmp_path / "s.tar.idx").read_bytes(), "<u8").tolist() == expected


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves the tar open
def test_webdataset_yields_the_same_samples(tmp_path: Path) -> None:
    samples = pages("docs/a.b", 30) | {"row": {"0.jpg": fake_image(1, 2), "1.png": fake_image(3, 4), "json": b"{}"}}
    write_shard(tmp_path / "s.tar", samples)
    found = {
        sample["__key__"]: {name: data for name, data in sample.items() if not name.startswith("__")}
        for sample in webdataset.WebDataset(str(tmp_path / "s.tar"), shardshuffle=False)
    }
    assert found == samples


@given(
    samples=st.dictionaries(
        KEYS, st.dictionaries(EXTENSIONS, st.binary(max_size=1500), min_size=1, max_size=3), min_size=1, max_size=5
    )
)
@settings(deadline=None, max_examples=40)
def test_any_parts_are_read_back_by_python(
    tmp_path_factory: pytest.TempPathFactory, samples: dict[str, dict[str, bytes]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "s.tar"
    with ShardWriter(path) as writer:
        for key, members in samples.items():
            count = sum(name in IMAGE_EXTENSIONS or image_number(name) is not None for name in members)
            writer.add(key, members, SampleEntry(image_sizes=((1, 1),) * count, text_bytes=0, text_chars=0))
    expected = {f"{key}.{name}": data for key, members in samples.items() for name, data in members.items()}
    with tarfile.open(path) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert found == expected
    meta = load_complete(path)
    assert [meta.key(place) for place in range(meta.num_samples)] == list(samples)


def test_empty_shard_is_a_shard(tmp_path: Path) -> None:
    write_shard(tmp_path / "s.tar", {})
    assert load_complete(tmp_path / "s.tar").num_samples == 0
    with tarfile.open(tmp_path / "s.tar") as tar:
        assert tar.getnames() == []


@pytest.mark.parametrize(
    ("key", "members", "message"),
    [
        ("page.v2", {"txt": b""}, "dot in its basename"),
        ("a", {"txt": b""}, "written before"),
        ("b", {}, "no members"),
        ("b", {"TXT": b""}, "lower case"),
        ("b", {"jpg": fake_image(1, 1)}, "0 image sizes for 1 images"),
    ],
)
def test_bad_sample_is_refused_and_leaves_nothing_of_itself(
    tmp_path: Path, key: str, members: dict[str, bytes], message: str
) -> None:
    with ShardWriter(tmp_path / "s.tar") as writer:
        writer.add("a", {"txt": b"1"}, NO_IMAGES)
        with pytest.raises(ShardError, match=message):
            writer.add(key, members, NO_IMAGES)
        writer.add("c", {"txt": b"2"}, NO_IMAGES)
    with tarfile.open(tmp_path / "s.tar") as tar:
        assert tar.getnames() == ["a.txt", "c.txt"]


def test_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), ShardWriter(tmp_path / "s.tar") as writer:
        writer.add("a", {"txt": b"1"}, NO_IMAGES)
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


# Kills itself before the Nth touch of a file name, so that every moment between the files is met.
KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from tests.helpers.fake_shards import pages, write_shard
path, prefix, moment = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
touched = 0
def watch(event, arguments):
    global touched
    if event in ("open", "os.rename", "os.remove") and str(path.parent) in str(arguments[0]):
        touched += 1
        if touched == moment:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
write_shard(path, pages(prefix, 8))
"""


def test_kill_at_any_moment_leaves_a_shard_complete_or_absent(tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    clean.mkdir()
    write_shard(clean / "s.tar", pages("new", 8))
    moments = 0
    for moment in range(1, 30):
        folder = tmp_path / f"killed-{moment}"
        folder.mkdir()
        write_shard(folder / "s.tar", pages("old", 5))  # another shard of this name was there before
        command = [sys.executable, "-c", KILLED_WRITER, str(folder / "s.tar"), "new", str(moment)]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        if status == 0:
            break
        assert status == -signal.SIGKILL
        moments += 1
        if (folder / "s.tar").exists():
            assert load_complete(folder / "s.tar").key(0) in ("old/p0000", "new/p0000")
        write_shard(folder / "s.tar", pages("new", 8))
        assert files_of(folder) == files_of(clean)
    assert moments >= 7  # open, remove and rename of tar, idx and meta


def test_samples_that_are_written_together_are_as_if_written_alone(tmp_path: Path) -> None:
    samples = {f"s{number}": {"jpg": fake_image(30, 40), "txt": bytes([number]) * 300_001} for number in range(9)}
    with ShardWriter(tmp_path / "s.tar") as writer:
        for key, members in samples.items():
            writer.add(key, members, entry(members))
    data, meta = (tmp_path / "s.tar").read_bytes(), load_complete(tmp_path / "s.tar")
    ends = meta.columns["offset"] + meta.columns["nbytes"]
    assert [zlib.crc32(data[at:end]) for at, end in zip(meta.columns["offset"], ends, strict=True)] == [
        *meta.columns["crc"]
    ]
    with tarfile.open(tmp_path / "s.tar") as tar:
        assert [tar.extractfile(member).read() for member in tar] == [  # type: ignore[union-attr]
            members[extension] for members in samples.values() for extension in ("jpg", "txt")
        ]


def test_a_large_sample_is_not_in_memory_twice(tmp_path: Path) -> None:
    small, large = {"txt": b"1"}, {"bin": bytes(20 << 20), "txt": b"2"}
    tracemalloc.start()
    try:
        with ShardWriter(tmp_path / "s.tar") as writer:
            for key, members in {"a": small, "b": large, "c": small, "d": large, "e": small}.items():
                writer.add(key, members, NO_IMAGES)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    with tarfile.open(tmp_path / "s.tar") as tar:
        assert [(member.name, member.size) for member in tar] == [
            *[("a.txt", 1), ("b.bin", 20 << 20), ("b.txt", 1), ("c.txt", 1), ("d.bin", 20 << 20), ("d.txt", 1)],
            ("e.txt", 1),
        ]
    data, meta = (tmp_path / "s.tar").read_bytes(), load_complete(tmp_path / "s.tar")
    ends = meta.columns["offset"] + meta.columns["nbytes"]
    found = [zlib.crc32(data[at:end]) for at, end in zip(meta.columns["offset"], ends, strict=True)]
    assert found == meta.columns["crc"].tolist()


def test_what_the_system_takes_of_a_write_is_followed_by_the_rest() -> None:
    """A signal ends a write to a full pipe in the middle of a piece."""
    pieces = [bytes([number]) * 30_011 for number in range(1, 16)]
    reading, writing = os.pipe()
    is_full, found = threading.Event(), list[bytes]()

    def read() -> None:
        is_full.wait()
        with open(reading, "rb") as pipe:  # noqa: PTH123  # a descriptor
            found.append(pipe.read())

    before = signal.signal(signal.SIGALRM, lambda _number, _frame: is_full.set())
    reader = threading.Thread(target=read)
    reader.start()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        _write_all(writing, pieces)
    finally:
        signal.signal(signal.SIGALRM, before)
        os.close(writing)
        is_full.set()
        reader.join()
    assert found == [b"".join(pieces)]
