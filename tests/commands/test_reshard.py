"""reshard, dedup and export, as they are typed."""

import json
from pathlib import Path

import pytest

from tests.helpers.command import run
from tests.helpers.mixed_shards import pages_of, write_mixed
from wdstream.shards.reader import Shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixed(tmp_path_factory.mktemp("shards") / "in", count=16)


def test_reshard(shards: Path, tmp_path: Path) -> None:
    done = run("reshard", shards, tmp_path / "out", "--pages", "5", "--where", "num_images == 1", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "12 of 16 pages in 3 shards" in done.stdout.replace("\n", " ")
    wrong = run("reshard", shards, tmp_path / "other", "--shard-size", "much")
    assert wrong.returncode == 2
    assert "--shard-size: expected a size such as 512MB" in wrong.stderr


def test_dedup_writes_shards_without_copies(shards: Path, tmp_path: Path) -> None:
    for name, pages in (("one", "16"), ("two", "5")):  # cut in two ways, so that neither is a copy of the other folder
        assert run("reshard", shards, tmp_path / name, "--pages", pages, "--workers", "1").returncode == 0
    prefixed = tmp_path / "both"
    assert (
        run("reshard", tmp_path / "one", tmp_path / "two", prefixed, "--prefix-keys", "--workers", "1").returncode == 0
    )
    report = tmp_path / "list.jsonl"
    done = run("dedup", prefixed, "--report", report, "--out", tmp_path / "out", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert len(report.read_text().splitlines()) == 16
    assert json.loads(report.read_text().splitlines()[0])["kept"] == "one/a/p0000"
    assert len(Shards.open(tmp_path / "out")) == 16


def test_export(shards: Path, tmp_path: Path) -> None:
    for kind in ("parquet", "datasets", "energon"):
        done = run("export", kind, shards, tmp_path / kind, "--workers", "1")
        assert done.returncode == 0, done.stderr
    assert list((tmp_path / "parquet").glob("train-*.parquet"))
    assert (tmp_path / "datasets/dataset_dict.json").is_file()
    assert (tmp_path / "energon/.nv-meta/index.sqlite").is_file()
    assert pages_of(tmp_path / "energon") == pages_of(shards)
