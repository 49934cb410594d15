"""An index of ten million samples: opened at once, its columns mapped, keys found."""

import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wdstream.shards.index import merge_index
from wdstream.shards.meta import IMAGE_COLUMNS, SAMPLE_COLUMNS, ShardMeta, save_idx
from wdstream.shards.shards import Shards

SHARDS = 1000
SAMPLES = 10_000  # a shard
SAMPLE_BYTES = 290_304


def write_hollow_shard(tar: Path, number: int) -> None:
    """A shard whose tar is one hole of the right size, described as if it held samples."""
    place = np.arange(SAMPLES, dtype="<i8")
    columns = {name: np.ones(SAMPLES, dtype) for name, dtype in SAMPLE_COLUMNS.items()}
    columns |= {name: np.full(SAMPLES, 1654, dtype) for name, dtype in IMAGE_COLUMNS.items()}
    columns |= {"offset": place * SAMPLE_BYTES, "nbytes": np.full(SAMPLES, SAMPLE_BYTES, "<i8")}
    columns |= {"key_hash": (place + number * SAMPLES).astype("<u8") * np.uint64(0x9E3779B97F4A7C15)}
    key = b"doc-%05d/page-" % number
    keys = np.frombuffer(b"".join(key + b"%06d" % sample for sample in range(SAMPLES)), "u1")
    tar_bytes = SAMPLES * SAMPLE_BYTES + 10_240
    with tar.open("wb") as file:
        file.truncate(tar_bytes)
    start = np.arange(SAMPLES + 1, dtype="<i8") * (len(keys) // SAMPLES)
    save_idx(tar.with_name(tar.stem + ".tar.idx"), [*columns["offset"].tolist(), SAMPLES * SAMPLE_BYTES])
    ShardMeta(tar_bytes=tar_bytes, columns=columns, key_start=start, key_bytes=keys).save(
        tar.with_name(tar.stem + ".meta.npz")
    )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path)  # about 2 GB


@pytest.mark.slow
def test_ten_million_samples(folder: Path) -> None:
    for number in range(SHARDS):
        write_hollow_shard(folder / f"s-{number:04d}.tar", number)
    start = time.perf_counter()
    report = merge_index(folder)
    merge_s = time.perf_counter() - start
    assert report.catalog.num_samples == 10_000_000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(5):
        start = time.perf_counter()
        shards = Shards.open(folder)
        times.append(time.perf_counter() - start)
    print(
        f"merge {merge_s:.1f} s, open {min(times) * 1000:.1f} ms, largest {max(times) * 1000:.1f} ms, peak {peak} KiB"
    )
    assert min(times) < 0.05
    assert len(shards) == 10_000_000
    assert shards.rows_of_shard(999) == range(9_990_000, 10_000_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss == peak  # nothing was read into memory
