"""The meta of a shard: stored, read back, and refused when damaged."""

import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.fake_shards import pages, write_shard
from wdstream.errors import ShardError
from wdstream.shards.meta import load_complete, load_meta
from wdstream.shards.metadata import PageMetadata
from wdstream.shards.writer import SampleEntry, ShardWriter


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    write_shard(tmp_path / "s.tar", pages("d", 6))
    return tmp_path / "s.tar"


def test_digest_is_of_content_only(tar: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write_shard(tmp_path / "other" / "named.tar", pages("d", 6))
    assert load_complete(tar).digest == load_complete(tmp_path / "other" / "named.tar").digest
    write_shard(tmp_path / "other" / "named.tar", pages("d", 6, payload=701))
    assert load_complete(tar).digest != load_complete(tmp_path / "other" / "named.tar").digest


def test_meta_is_stored_uncompressed_without_pickle(tar: Path) -> None:
    data = tar.with_name("s.meta.npz").read_bytes()
    assert b"d/p0000d/p0001" in data
    load_meta(tar.with_name("s.meta.npz")).save(tar.with_name("again.npz"))
    assert tar.with_name("again.npz").read_bytes() == data


@pytest.mark.parametrize("name", ["s.tar", "s.tar.idx", "s.meta.npz"])
def test_missing_file_is_named(tar: Path, name: str) -> None:
    (tar.parent / name).unlink()
    with pytest.raises(ShardError, match=f"{name} missing"):
        load_complete(tar)


def test_tar_of_another_size(tar: Path) -> None:
    with tar.open("ab") as file:
        file.write(bytes(10))
    with pytest.raises(ShardError, match="20480 bytes expected, found 20490"):
        load_complete(tar)


@pytest.mark.parametrize("idx", [b"", bytes(7), np.arange(6, dtype="<u8").tobytes()])
def test_idx_that_does_not_fit(tar: Path, idx: bytes) -> None:
    tar.with_name("s.tar.idx").write_bytes(idx)
    with pytest.raises(ShardError, match="does not fit"):
        load_complete(tar)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"header": np.array([2, 10_240])}, "schema version"),
        ({"header": np.array([1, 100])}, "inside the tar's 100 bytes"),
        ({"offset": np.arange(6)}, "not rising"),
        ({"offset": np.arange(6, dtype="<i4")}, "int32, int64 expected"),
        ({"offset": np.zeros((6, 1), "<i8")}, "column offset"),
        ({"crc": np.zeros(5, "<u4")}, "6 samples expected"),
        ({"num_images": np.full(6, 2, "<i4")}, "12 expected"),
        ({"num_images": np.array([-1, 3, 1, 1, 1, 1], "<i4")}, "sizes of 6 images"),
        ({"key_start": np.array([0, 5, 3, 6, 7, 8, 42])}, "keys are damaged"),
        ({"key_start": np.zeros(0, "<i8")}, "keys are damaged"),
        ({"failures": np.frombuffer(b"[1]", "u1")}, "makes it again if the tar is as it was"),
        ({"failures": np.frombuffer(b"{", "u1")}, "makes it again if the tar is as it was"),
        ({"crc": np.array(["pickle", None], dtype=object)}, "allow_pickle"),
    ],
)
def test_meta_that_contradicts_itself(tar: Path, changes: dict[str, np.ndarray], message: str) -> None:
    path = tar.with_name("s.meta.npz")
    with np.load(path) as stored:
        arrays = dict(stored) | changes
    np.savez(path, **arrays)
    with pytest.raises(ShardError, match=message):
        load_meta(path)


def test_meta_without_a_column(tar: Path) -> None:
    path = tar.with_name("s.meta.npz")
    with np.load(path) as stored:
        arrays = dict(stored)
    del arrays["crc"]
    np.savez(path, **arrays)
    with pytest.raises(ShardError, match="crc"):
        load_meta(path)


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_damaged_meta_is_read_alike_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("meta")
    write_shard(folder / "s.tar", pages("d", 3))
    path = folder / "s.meta.npz"
    digest = load_meta(path).digest
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    with suppress(ShardError):
        assert load_meta(path).digest == digest


@pytest.mark.parametrize(("num_samples", "num_names"), [(1, 0), (60, 3), (2000, 1)])
def test_bytes_in_memory_are_about_those(tmp_path: Path, num_samples: int, num_names: int) -> None:
    with ShardWriter(tmp_path / "s.tar") as writer:
        for number in range(num_samples):
            metadata = PageMetadata.of({f"name{name}": f"{number} " * 30 for name in range(num_names)})
            entry = SampleEntry(image_sizes=(), text_bytes=1, text_chars=1, metadata=metadata)
            writer.add(f"page{number}", {"txt": b"1"}, entry)
    load_complete(tmp_path / "s.tar")  # what is made once is made
    tracemalloc.start()
    try:
        metas = [load_complete(tmp_path / "s.tar") for _ in range(10)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.7 < sum(meta.bytes_in_memory for meta in metas) / taken < 1.4
