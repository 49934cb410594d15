"""A plan over shards on a real web server: the batches of the folder, and a pack's pages asked for together.

Spans: storage, shards, pipeline.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.web_server import serving
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.runs.digest import digest

pytest.importorskip("aiohttp", reason="needs the extra wdstream[remote]")

MakeConfig = Callable[..., Config]


def test_bytes_are_those_of_the_folder(stream_config: MakeConfig, small_shards: Path) -> None:
    with serving(small_shards) as server:
        there = list(digest(stream_config(server.url), steps=range(3), world=2))
    assert there == list(digest(stream_config(small_shards), steps=range(3)))
    assert len(there) > 1


def test_damaged_pages_keep_their_slots(stream_config: MakeConfig, damaged_shards: Path) -> None:
    def failed(config: Config) -> list[tuple[int, str]]:
        found: list[tuple[int, str]] = []
        list(digest(config, steps=range(9), on_failure=lambda step, failure: found.append((step, failure.key))))
        return found

    with serving(damaged_shards) as server:
        there = failed(stream_config(server.url))
    assert there == failed(stream_config(damaged_shards))
    assert {key for _, key in there} == {"page-04", "page-17"}


def test_pages_of_a_pack_are_asked_for_together(stream_config: MakeConfig, small_shards: Path) -> None:
    with serving(small_shards) as server:
        plan = plan_from_config(stream_config(server.url, global_batch_size=1))
        (shards,) = plan.shards
        samples = plan.step(0).packs[0].samples
        names = {shards.shard_names[int(shards.shard[plan.locate(sample)[1]])] for sample in samples}
        assert len(samples) > len(names) > 1
        for row in range(len(shards)):
            shards.read_page(row)  # compares the sizes of all tars, which is done once
        server.requests.clear()
        server.most_running, server.answers_from = 0, 2
        with plan.loader(workers=0, prefetch=0) as loader:
            next(loader)
        assert sorted(request.split()[1] for request in server.requests) == sorted(f"/{name}" for name in names)
        assert server.most_running >= 2
