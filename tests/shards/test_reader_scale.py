"""An index of ten million samples: opened at once, its columns mapped, keys found."""

import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.hollow_shards import write_hollow_shard
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards

SHARDS = 1000


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
        start = time.process_time()
        shards = Shards.open(folder)
        times.append(time.process_time() - start)
    print(
        f"merge {merge_s:.1f} s, open {min(times) * 1000:.1f} ms, largest {max(times) * 1000:.1f} ms, peak {peak} KiB"
    )
    assert min(times) < 0.05
    assert len(shards) == 10_000_000
    assert shards.rows_of_shard(999) == range(9_990_000, 10_000_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss == peak  # nothing was read into memory
