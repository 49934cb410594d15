"""Commands over shards at a URL: what they find, print and write is that of the same shards in a folder.

Spans: curation, verify, shards.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.command import run
from tests.helpers.s3_server import S3Server
from tests.helpers.stores import files_of, send
from tests.helpers.web_server import serving
from wdstream.curation.extract import choose_pages, extract_pages
from wdstream.curation.info import info
from wdstream.curation.resharding.choice import keys_of
from wdstream.curation.split import split_shards
from wdstream.curation.split_options import SplitOptions
from wdstream.errors import ConfigError, ForbiddenFileError, ShardIndexError, StorageFailureError
from wdstream.make_shards import index_folder
from wdstream.shards.index_files import IndexFiles
from wdstream.shards.reader import Shards
from wdstream.verify.job import verify_shards
from wdstream.verify.options import VerifyOptions

pytest.importorskip("s3fs", reason="needs the extra wdstream[remote]")


def test_what_is_found_is_that_of_a_folder(mixed: Path, s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    url = send(s3_server, mixed, bucket, "mixed")
    here, there = (info([("mixed", path)]).as_dict(top=9) for path in (mixed, url))
    assert json.dumps(there).replace(url, str(mixed)) == json.dumps(here)
    options = VerifyOptions(deep=True, workers=1)
    here, there = (verify_shards(path, options=options).as_dict() for path in (mixed, url))
    assert json.dumps(there).replace(url, str(mixed)) == json.dumps(here)
    assert keys_of(Shards.open(url)).tolist() == keys_of(Shards.open(mixed)).tolist()
    shards = Shards.open(url)
    rows = choose_pages(shards, ["scans/*"], most=9).rows
    list(extract_pages(Shards.open(mixed), rows, tmp_path / "out"))
    list(extract_pages(shards, rows, f"s3://{bucket}/out"))
    assert s3_server.objects(bucket, "out") == files_of(tmp_path / "out")
    list(extract_pages(shards, rows, f"s3://{bucket}/out"))  # the same bytes stay
    s3_server.call("put_object", Bucket=bucket, Key="out/scans/a.txt", Body=b"mine")
    with pytest.raises(ConfigError, match=r"/scans/a\.txt is there already, with other content: --overwrite"):
        list(extract_pages(shards, rows, f"s3://{bucket}/out"))


def test_pages_are_held_out_of_a_set_on_a_store(mixed: Path, s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    shutil.copytree(mixed, tmp_path / "local")
    url = send(s3_server, mixed, bucket, "mixed")
    options = SplitOptions(holdout="2", seed=3)
    assert split_shards(url, options).counts == split_shards(tmp_path / "local", options).counts
    assert s3_server.objects(bucket, "mixed") == files_of(tmp_path / "local")
    for path in (url, tmp_path / "local"):
        split_shards(path, SplitOptions(remove=True))
    assert s3_server.objects(bucket, "mixed") == files_of(mixed)


def test_damage_on_a_store_is_found(damaged_shards: Path, s3_server: S3Server, bucket: str) -> None:
    url = send(s3_server, damaged_shards, bucket, "damaged")
    s3_server.call("put_object", Bucket=bucket, Key="damaged/index/stray.npy", Body=b"")
    s3_server.call("put_object", Bucket=bucket, Key="damaged/other.tar", Body=bytes(1024))
    s3_server.call("put_object", Bucket=bucket, Key="damaged/shard-000002.tar.idx", Body=bytes(8))
    report = verify_shards(url, options=VerifyOptions(workers=1)).as_dict()
    assert isinstance(report["findings"], list)
    assert sorted((found["kind"], found["file"], found["key"]) for found in report["findings"]) == [
        ("checksum", "shard-000000.tar", "page-04"),
        ("checksum", "shard-000001.tar", "page-17"),
        ("left over", "index/stray.npy", ""),
        ("meta", "shard-000002.tar.idx", ""),
        ("not indexed", "other.tar", ""),
    ]


def test_a_tar_at_a_url_is_verified_by_reading_it_once(small_shards: Path) -> None:
    with serving(small_shards) as server:
        report = verify_shards(server.url, options=VerifyOptions(workers=1))
        asked = [request for request in server.requests if request.startswith("GET") and ".tar bytes" in request]
    assert not report.num_damaged and report.num_samples == 30 and len(asked) == 4


def test_absent_forbidden_failing_and_changed_are_four_errors(mixed: Path, bucket: str, tmp_path: Path) -> None:
    with pytest.raises(
        ShardIndexError, match=rf"has no index/index\.json: run `wdstream index s3://{bucket}/none`, or"
    ):
        IndexFiles(f"s3://{bucket}/none")
    shutil.copytree(mixed, tmp_path / "set")
    with serving(tmp_path / "set") as server:
        with pytest.raises(
            ShardIndexError, match=rf"run `wdstream index {server.url}/x --out FOLDER_OR_URL`, and give"
        ):
            IndexFiles(server.url + "/x")
        server.answers["/index/index.json"] = 403
        with pytest.raises(ForbiddenFileError) as forbidden:
            IndexFiles(server.url)
        assert "check credentials" in str(forbidden.value) and "wdstream index" not in str(forbidden.value)
        server.answers.clear()
        (tmp_path / "set/index/crc.npy").write_bytes((mixed / "index/key_hash.npy").read_bytes())
        with pytest.raises(ShardIndexError, match="copy index/ again") as changed:
            IndexFiles(server.url).column("crc")
        assert "wdstream index" not in str(changed.value)
        url = server.url
    with pytest.raises(StorageFailureError) as failing:
        Shards.open(url, reading=None)
    assert "wdstream index" not in str(failing.value)


def test_tars_at_a_url_are_verified_without_an_index(mixed: Path, s3_server: S3Server, bucket: str) -> None:
    url = send(s3_server, mixed, bucket, "tars", only="*.tar")
    report = verify_shards(url, options=VerifyOptions(workers=1))
    assert report.num_samples == len(Shards.open(mixed)) and report.num_damaged


def test_an_absent_bucket_is_not_a_set_without_index(mixed: Path, bucket: str) -> None:
    absent = f"s3://{bucket}-absent/x"
    for line in (
        ("info", absent),
        ("verify", absent),
        ("index", absent),
        ("split", absent, "--holdout", "1"),
        ("reshard", absent, f"s3://{bucket}/new"),
        ("reshard", str(mixed), absent, "--workers", "1"),
        ("extract", absent, "scans/a"),
        ("extract", str(mixed), "scans/a", "--out", absent),
        ("index", str(mixed), "--out", absent),
    ):
        done = run(*line)
        assert done.returncode in (1, 2) and "the store has no such bucket" in done.stderr, (line, done.stderr)
        assert "wdstream index" not in done.stderr and "\n" not in done.stderr.strip(), done.stderr


def test_sets_whose_tars_are_elsewhere(mixed: Path, s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    url = send(s3_server, mixed, bucket, "tars", only="*.tar")
    index_folder(url, out=tmp_path / "place", workers=1)
    report = verify_shards(tmp_path / "place", options=VerifyOptions(workers=1))
    assert not report.num_damaged and report.num_samples == len(Shards.open(mixed))
    split_shards(tmp_path / "place", SplitOptions(holdout="2"))
    assert int(Shards.open(tmp_path / "place").held_out.sum()) >= 2  # type: ignore[union-attr]
    assert keys_of(Shards.open(tmp_path / "place")).tolist() == keys_of(Shards.open(mixed)).tolist()


def test_a_fault_of_the_server_is_not_said_of_the_shard(small_shards: Path, tmp_path: Path) -> None:
    with serving(small_shards) as server:
        url = server.url.replace("://", "://joe:hidden@")
        for line in (("info", url), ("info", url, "--json"), ("verify", url, "--json", "--workers", "1")):
            done = run(*line)
            assert done.returncode == 0 and "joe:***@" in done.stdout and "hidden" not in done.stdout + done.stderr
        shards = Shards.open(server.url)
        server.damaged_answers = 1
        assert shards.key(3) == "page-03"
        server.has_ranges = False
        done = run("extract", url, "page-03", "--out", tmp_path / "out")
    assert done.returncode == 1 and "does not serve ranges" in done.stderr, done.stderr
    assert "was changed" not in done.stderr and "hidden" not in done.stderr


def test_without_credentials_nothing_is_tried_again(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wdstream.storage.http_answers import may_pass

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ForbiddenFileError, match=r"Unable to locate credentials.*check credentials") as refused:
        Shards.open(f"s3://{bucket}/x")
    with pytest.raises(ShardIndexError, match=r"/x: no index and no tar that can be read; index/index\.json: .*"):
        verify_shards(f"s3://{bucket}/x", options=VerifyOptions(workers=1))
    assert refused.value.__cause__ is not None and not may_pass(refused.value.__cause__)


def test_a_file_url_is_the_folder_that_it_names(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("reshard", mixed, f"file://{tmp_path}/new", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert len(Shards.open(tmp_path / "new")) == len(Shards.open(mixed))
