"""Range reads from a folder: bounded descriptors, many threads, missing files."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wdstream.errors import ShardError
from wdstream.storage.local import ByteRange, LocalStorage, read_exactly, read_small


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        (tmp_path / f"{number}.bin").write_bytes(bytes([number]) * 1000)
    return tmp_path


def test_reads_ranges_sizes_and_whole_files(folder: Path) -> None:
    storage = LocalStorage(folder)
    assert storage.size("3.bin") == 1000
    assert storage.read(ByteRange(name="3.bin", offset=990, length=5)) == b"\3" * 5
    assert storage.read(ByteRange(name="3.bin", offset=990, length=50)) == b"\3" * 10
    assert storage.read(ByteRange(name="3.bin", offset=2000, length=50)) == b""
    assert storage.read_file("4.bin") == b"\4" * 1000
    wanted = [ByteRange(name="5.bin", offset=0, length=2), ByteRange(name="1.bin", offset=0, length=1)]
    assert storage.read_many(wanted) == [b"\5\5", b"\1"]


def test_missing_file_says_what_to_do(folder: Path) -> None:
    with pytest.raises(ShardError, match=r"gone\.bin is not there \(No such file or directory\)"):
        LocalStorage(folder).read(ByteRange(name="gone.bin", offset=0, length=1))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(("limit", "kept"), [(4, 4), (1, 1), (0, 1)])
def test_descriptors_are_bounded_and_closed(folder: Path, limit: int, kept: int) -> None:
    before = open_descriptors()
    storage = LocalStorage(folder, open_files=limit)
    for _ in range(3):
        for number in range(12):
            assert storage.read(ByteRange(name=f"{number}.bin", offset=7, length=3)) == bytes([number]) * 3
    assert storage.open_files == kept
    assert open_descriptors() == before + kept
    del storage
    assert open_descriptors() == before


def test_threads_never_read_another_file(folder: Path) -> None:
    storage = LocalStorage(folder, open_files=2)  # so that descriptors close under the readers all the time

    def read(place: int) -> bool:
        number = place * 7 % 12
        return storage.read(ByteRange(name=f"{number}.bin", offset=place % 900, length=64)) == bytes([number]) * 64

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(4000)))


def test_storage_travels_to_another_process(folder: Path) -> None:
    storage = LocalStorage(folder, open_files=3)
    storage.size("1.bin")
    again = pickle.loads(pickle.dumps(storage))
    assert (again.open_files, again.size("2.bin")) == (0, 1000)


def test_read_exactly_ends_with_the_file(folder: Path) -> None:
    descriptor = os.open(folder / "9.bin", os.O_RDONLY)
    try:
        assert read_exactly(descriptor, 400, 1000) == b"\x09" * 600
    finally:
        os.close(descriptor)


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(ShardError, match=r"a\.tar: byte 0 cannot be read \(Illegal seek\)"):
        LocalStorage(tmp_path).read(ByteRange(name="a.tar", offset=0, length=1))


def test_a_small_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_small(tmp_path / "a", limit=5) == b"12345"
    with pytest.raises(OSError, match="it has more than 4 bytes"):
        read_small(tmp_path / "a", limit=4)
    with pytest.raises(OSError, match="it has more than 100 bytes"):
        read_small(Path("/dev/zero"), limit=100)


def test_a_pipe_is_read_once_somebody_writes_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(read_small, tmp_path / "pipe", limit=200_000)
        (tmp_path / "pipe").write_bytes(b"x" * 150_000)  # more than a pipe holds at once
        assert read.result() == b"x" * 150_000
    monkeypatch.setattr("wdstream.storage.local.PIPE_PATIENCE_S", 0)
    with pytest.raises(OSError, match="a pipe to which nobody wrote within 0 s"):
        read_small(tmp_path / "pipe", limit=5)
