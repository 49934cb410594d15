"""Shards of a web server some of whose answers fail: the samples of the folder, none lost, and few bytes more."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.helpers.fake_shards import fake_image, write_shards
from tests.helpers.faulty_server import failing
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards
from wdstream.storage.remote import FsspecStorage

PACK = 20


@pytest.mark.parametrize(("num_pages", "rate"), [(500, 0.1), pytest.param(2000, 0.05, marks=pytest.mark.slow)])
def test_no_page_is_lost_to_faults(tmp_path: Path, num_pages: int, rate: float) -> None:
    draw = random.Random(1)
    content = {
        f"s-{tar}.tar": {
            f"{tar}/p{page:04d}": {"jpg": fake_image(9, 9, draw.randbytes(3000 + 50 * page)), "txt": b"a page"}
            for page in range(250)
        }
        for tar in range(8)
    }
    folder = write_shards(tmp_path / "f", content)
    merge_index(folder)
    order = list(range(num_pages // 8 * 8))
    random.Random(2).shuffle(order)
    assert _bytes_of(folder, order, rate=rate) < (1.1 + rate) * _bytes_of(folder, order, rate=0)


def _bytes_of(folder: Path, order: Sequence[int], *, rate: float) -> int:
    """Bytes that are sent for all rows, by packs; each is compared with the folder's."""
    local = Shards.open(folder)
    with failing(folder, rate=rate, seed=3) as server:
        shards = Shards.open(folder, FsspecStorage(server.url, first_wait_s=0.001))
        for start in range(0, len(order), PACK):
            rows = order[start : start + PACK]
            assert shards.read_many(rows) == local.read_many(rows)
        assert server.failed.total() >= 10 * (rate > 0)
        return server.bytes_sent
