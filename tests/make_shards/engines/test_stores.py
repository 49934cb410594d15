"""Parts and Ray over a real S3 server: the objects are the files of a local run.

Spans: make_shards.
"""

from pathlib import Path

import pytest

from tests.helpers.ray_jobs import ray_program
from tests.helpers.s3_server import S3Server
from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards import MakeShardsOptions, make_part, make_shards
from wdstream.storage.places import open_place
from wdstream.storage.writes.one_job import LEASE

OPTIONS = MakeShardsOptions(pages_per_shard=3, holdout="3", workers=1)


@pytest.fixture(scope="module")
def expected(whole_folder: Path) -> dict[str, bytes]:
    """The files of a local run."""
    return files_of(whole_folder)


def files_of(folder: Path) -> dict[str, bytes]:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != ".make-shards/lock"}


def test_parts_in_one_place_of_a_store(
    small_raw: Path, expected: dict[str, bytes], s3_server: S3Server, bucket: str
) -> None:
    out = f"s3://{bucket}/out"
    make_part(small_raw, out, options=OPTIONS.replace(part="2/2"))
    with pytest.raises(ShardError, match=r"shards are missing.*run --part 1/2 again"):
        make_shards(small_raw, out, options=OPTIONS.replace(merge=True))
    make_part(small_raw, out, options=OPTIONS.replace(part="1/2"))
    make_shards(small_raw, out, options=OPTIONS.replace(merge=True))
    assert s3_server.objects(bucket, "out/") == expected


def test_parts_in_places_of_their_own(
    tmp_path: Path, small_raw: Path, expected: dict[str, bytes], s3_server: S3Server, bucket: str
) -> None:
    """One part in a folder, one in a store; merged into a store, and into a folder."""
    here, there = tmp_path / "p1", f"s3://{bucket}/p2"
    make_part(small_raw, here, options=OPTIONS.replace(part="1/2"))
    make_part(small_raw, there, options=OPTIONS.replace(part="2/2"))
    before = files_of(here)
    merging = OPTIONS.replace(merge_from=(str(here), there))
    for out in (f"s3://{bucket}/out", tmp_path / "out"):
        make_shards(small_raw, out, options=merging)
    assert s3_server.objects(bucket, "out/") == expected
    assert files_of(tmp_path / "out") == expected
    assert files_of(here) == before


def test_writers_that_would_meet_are_refused(small_raw: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdstream.make_shards.stores.output._LOCK_WAIT_S", 0.0)
    out = f"s3://{bucket}/out"
    name = f"{LEASE}-part-000001-of-000002"
    with open_place(out).hold(name, job="make-shards"):
        for options in (OPTIONS, OPTIONS.replace(part="1/2"), OPTIONS.replace(part="3/3")):
            make = make_shards if options.part is None else make_part
            with pytest.raises(ConfigError, match=r"another make-shards .* is at work there"):
                make(small_raw, out, options=options)
        make_part(small_raw, out, options=OPTIONS.replace(part="2/2"))


@pytest.mark.slow
def test_ray_reads_and_writes_a_store(
    small_raw: Path, expected: dict[str, bytes], s3_server: S3Server, bucket: str
) -> None:
    for path in (path for path in small_raw.rglob("*") if path.is_file()):
        name = f"raw/{path.relative_to(small_raw).as_posix()}"
        s3_server.call("put_object", Bucket=bucket, Key=name, Body=path.read_bytes())
    job = ["-m", "wdstream", "make-shards", f"s3://{bucket}/raw", f"s3://{bucket}/out", "--pages-per-shard", "3"]
    with ray_program([*job, "--holdout", "3", "--engine", "ray", "--workers", "2"]) as program:
        status, written = program.ends()
        left = [name for name in program.left() if "/ray-" in name or "wds-ray" in name]
    assert status == 0, written
    stamps = ".make-shards/input.jsonl"  # of raw files in a store: not times, as in a folder
    made = s3_server.objects(bucket, "out/")
    assert made.keys() == expected.keys()
    assert {**made, stamps: b""} == {**expected, stamps: b""}
    assert left == []
