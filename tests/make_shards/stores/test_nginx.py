"""A web server that others run, nginx: tars, an index and what a plan gives are those of a folder.

Spans: make_shards, verify, shards, pipeline.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.nginx import serving_nginx
from wdstream.config.schema import Config
from wdstream.make_shards import index_folder
from wdstream.runs.digest import digest
from wdstream.shards.reader import Shards
from wdstream.verify.job import verify_shards
from wdstream.verify.options import VerifyOptions

pytest.importorskip("aiohttp", reason="needs the extra wdstream[remote]")


@pytest.fixture
def url(small_shards: Path, tmp_path: Path) -> Iterator[str]:
    """Of the folder that has the shards in `shards`."""
    with serving_nginx(small_shards.parent, tmp_path / "nginx") as address:
        yield address


def test_shards_of_a_web_server_are_those_of_a_folder(
    url: str, small_shards: Path, tmp_path: Path, stream_config: Callable[..., Config]
) -> None:
    report = verify_shards(f"{url}/shards", options=VerifyOptions(workers=1))
    assert report.findings == [] and report.num_samples == 30
    index_folder(f"{url}/shards", out=tmp_path / "index", workers=1)
    assert Shards.open(tmp_path / "index").fingerprint == Shards.open(small_shards).fingerprint
    here, there = ([*digest(stream_config(path), steps=range(2))] for path in (small_shards, f"{url}/shards"))
    assert there == here
