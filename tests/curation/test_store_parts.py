"""Parts, merges and Ray that write new shards and lists of copies to a real S3 server: the objects of a local run.

Spans: curation, storage.
"""

import io
from pathlib import Path

import pytest
import webdataset

from tests.helpers.mixed_shards import write_mixed
from tests.helpers.ray_jobs import ray_program
from tests.helpers.s3_server import S3Server
from tests.helpers.stores import files_of, send
from tests.helpers.verify_shards import draw_page, text_of_page
from wdstream.curation.deduplication.dedup import dedup, dedup_part
from wdstream.curation.deduplication.dedup_options import DedupOptions
from wdstream.curation.resharding.reshard import reshard, reshard_part
from wdstream.curation.resharding.reshard_options import ReshardOptions
from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards import index_folder
from wdstream.storage.places import open_place
from wdstream.storage.writes.one_job import LEASE

pytest.importorskip("s3fs", reason="needs the extra wdstream[remote]")
SHUFFLED = ReshardOptions(pages=4, shuffle=True, workers=1)
COPIES = DedupOptions(near=True, by="image", workers=1)


def output_of(folder: Path) -> dict[str, bytes]:
    """The files of a job's output, without what only processes of this machine look at."""
    return {name: data for name, data in files_of(folder).items() if name.rpartition("/")[2] not in ("lock", "workers")}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two sets, and one of two pages that are nearly the same."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "near").mkdir()
    with webdataset.TarWriter(str(folder / "near/near.tar")) as writer:
        for kind in ("PNG", "JPEG"):
            draw_page(3).save(file := io.BytesIO(), kind)
            writer.write({"__key__": kind, kind.lower(): file.getvalue(), "txt": text_of_page(3)})
    index_folder(folder / "near", workers=1)
    return [folder / "near", *(write_mixed(folder / name, name, 11, per_shard=4) for name in ("a", "b"))]


@pytest.fixture(scope="module")
def expected(given: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one job on this machine writes: `new`, `list.jsonl` and what is next to it."""
    folder = tmp_path_factory.mktemp("expected")
    reshard(given, folder / "new", options=SHUFFLED)
    dedup(given, folder / "list.jsonl", options=COPIES)
    return folder


def stored(server: S3Server, given: list[Path], bucket: str) -> list[str]:
    return [send(server, folder, bucket, f"in/{folder.name}") for folder in given]


def test_parts_of_reshard_in_one_place(
    given: list[Path], expected: Path, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, paths = f"s3://{bucket}/new", stored(s3_server, given, bucket)
    done = reshard_part(paths, out, options=SHUFFLED.replace(part="3/3"))
    assert (done.out, done.num_shards, done.num_pages) == (out, 2, 8)
    with pytest.raises(ShardError, match=r"/new: 4 of 6 shards are missing.*run --part 1/3, 2/3 again"):
        reshard(paths, out, options=SHUFFLED.replace(merge=True))
    with open_place(out).hold(f"{LEASE}-part-000001-of-000003", job="reshard"):
        for part in (None, "1/3", "1/2"):
            with pytest.raises(ConfigError, match=r"another reshard .* is at work there"):
                (reshard_part if part else reshard)(paths, out, options=SHUFFLED.replace(part=part))
        reshard_part(paths, out, options=SHUFFLED.replace(part="2/3"))
    reshard_part(paths, out, options=SHUFFLED.replace(part="1/3"))
    s3_server.call("delete_object", Bucket=bucket, Key="new/shard-000004.tar")  # of part 2, which is run again
    with pytest.raises(ShardError, match=r"1 of 6 shards are missing.*run --part 2/3 again"):
        reshard(paths, out, options=SHUFFLED.replace(merge=True))
    assert reshard_part(paths, out, options=SHUFFLED.replace(part="2/3")).num_shards == 2
    assert reshard(paths, out, options=SHUFFLED.replace(merge=True)).out == out
    assert s3_server.objects(bucket, "new") == output_of(expected / "new")
    assert not s3_server.unfinished(bucket)


def test_parts_of_reshard_in_places_of_their_own(
    given: list[Path], expected: Path, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    """One in a folder, one in the store; merged into the store, and into a folder."""
    places = str(tmp_path / "p1"), f"s3://{bucket}/p2"
    for number, place in enumerate(places, start=1):
        reshard_part(given, place, options=SHUFFLED.replace(part=f"{number}/2"))
    before = files_of(tmp_path / "p1"), s3_server.objects(bucket, "p2")
    with pytest.raises(ShardError, match=r"3 of 6 shards are missing.*run --part 1/2 again"):
        reshard(given, tmp_path / "new", options=SHUFFLED.replace(merge_from=places[1:]))
    for out in (f"s3://{bucket}/new", tmp_path / "new"):
        reshard(given, out, options=SHUFFLED.replace(merge_from=places))
    assert s3_server.objects(bucket, "new") == output_of(tmp_path / "new") == output_of(expected / "new")
    assert (files_of(tmp_path / "p1"), s3_server.objects(bucket, "p2")) == before
    with pytest.raises(ShardError, match=rf"s3://{bucket}/p2: is of another job"):
        reshard(given, tmp_path / "other", options=SHUFFLED.replace(pages=3, merge_from=places[1:]))


def test_the_list_of_copies_at_a_url(
    given: list[Path], expected: Path, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    paths, report = stored(s3_server, given, bucket), f"s3://{bucket}/lists/list.jsonl"
    dedup_part(paths, report, options=COPIES.replace(part="1/2"))
    with pytest.raises(ShardError, match=r"3 of 7 shards are missing.*run --part 2/2 again"):
        dedup(paths, report, options=COPIES.replace(merge=True))
    assert "list.jsonl" not in s3_server.objects(bucket, "lists")
    done = dedup_part(paths, report, options=COPIES.replace(part="2/2"))
    assert done.out == f"{report}.marks"
    found = dedup(paths, report, options=COPIES.replace(merge=True))
    made, wanted = s3_server.objects(bucket, "lists"), output_of(expected)
    assert made == {name: data for name, data in wanted.items() if not name.startswith("new/")}
    assert (found.report, found.sheet) == (report, f"{report}.jpg") and found.counts.total()
    options = ReshardOptions(exclude_list=report, workers=1)
    assert reshard(paths, f"s3://{bucket}/fewer", options=options).num_pages == 24 - found.counts.total() < 24
    local = dedup(given, tmp_path / "list.jsonl", options=COPIES.replace(merge_from=(f"{report}.marks",)))
    assert local.counts == found.counts and (tmp_path / "list.jsonl").read_bytes() == made["list.jsonl"]


@pytest.mark.slow
def test_ray_writes_to_a_store(given: list[Path], expected: Path, s3_server: S3Server, bucket: str) -> None:
    """Also where some shards are there already; machines of a cluster see the store alone."""
    paths, out = stored(s3_server, given, bucket), f"s3://{bucket}/new"
    reshard_part(paths, out, options=SHUFFLED.replace(part="2/3"))
    for job in (
        ["reshard", *paths, out, "--pages", "4", "--shuffle"],
        ["dedup", *paths, "--report", f"s3://{bucket}/list.jsonl", "--near", "--by", "image"],
    ):
        with ray_program(["-m", "wdstream", *job, "--engine", "ray", "--workers", "2"]) as program:
            status, written = program.ends()
        assert status == 0, written
    made = s3_server.objects(bucket)
    assert {name: data for name, data in made.items() if not name.startswith("in/")} == output_of(expected)
