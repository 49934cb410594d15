"""make-shards into a real S3 server: the bytes of a local folder, one writer, what continues and what is refused.

Spans: make_shards.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.faulty_proxy import spoiling
from tests.helpers.jobs import Tree
from tests.helpers.s3_server import S3Server
from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.make_shards.stores.output import StoreOutput, opened_output
from wdstream.shards.reader import Shards
from wdstream.storage.places import open_place
from wdstream.storage.writes import s3_place

OPTIONS = MakeShardsOptions(workers=2, pages_per_shard=3)
HERE_ONLY = ".make-shards/lock"

Objects = dict[str, bytes]


def files_of(folder: Path) -> Objects:
    """What a local job leaves, as a store is to have it."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    found.pop(HERE_ONLY, None)
    return found


@pytest.fixture(scope="module")
def local(small_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """What a job on this machine writes."""
    out = tmp_path_factory.mktemp("local") / "out"
    make_shards(small_raw, out, options=OPTIONS)
    return files_of(out)


@pytest.fixture
def own_temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where folders that stand for stores are made."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def left_here(own_temp: Path) -> list[Path]:
    return [path for path in own_temp.glob("wdstream-*/*")]


def test_a_store_gets_the_bytes_of_a_folder(
    small_raw: Path, local: Objects, bucket: str, s3_server: S3Server, own_temp: Path
) -> None:
    report = make_shards(small_raw, f"s3://{bucket}/some shards/", options=OPTIONS)
    assert s3_server.objects(bucket, "some shards/") == local
    assert (report.num_pages, str(report.out)) == (13, f"s3://{bucket}/some shards")
    assert (left_here(own_temp), s3_server.unfinished(bucket)) == ([], [])
    shards = Shards.open(f"s3://{bucket}/some shards")
    assert len([shards.read_page(row) for row in range(len(shards))]) == 13


def test_what_is_complete_is_not_made_again_nor_fetched(
    small_raw: Path, local: Objects, bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shards(small_raw, f"s3://{bucket}/out", options=OPTIONS)
    s3_server.call("delete_object", Bucket=bucket, Key="out/shard-000002.tar")
    s3_server.call("put_object", Bucket=bucket, Key="out/shard-000001.meta.npz", Body=b"not what was written")
    with spoiling(s3_server.port, rate=0, faults=()) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        report = make_shards(small_raw, f"s3://{bucket}/out", options=OPTIONS)
    assert report.pages_made == 6
    assert [path for path in proxy.paths if path.startswith("GET") and path.endswith(".tar")] == []
    assert s3_server.objects(bucket, "out/") == local


def test_changed_input_is_made_again_in_a_store(
    small_raw: Path, tmp_path: Path, bucket: str, s3_server: S3Server, local: Objects
) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(small_raw, raw)
    text = raw / "images/tesseract-phototest.txt"
    text.write_text("first")
    url = f"s3://{bucket}/out"
    make_shards(raw, url, options=OPTIONS)
    shutil.copyfile(small_raw / "images/tesseract-phototest.txt", text)
    with pytest.raises(ConfigError, match=rf"s3://{bucket}/out was made by make-shards from something else"):
        make_shards(raw, url, options=OPTIONS)
    again = OPTIONS.model_copy(update={"retry_quarantined": True})
    make_shards(raw, url, options=again)
    make_shards(raw, tmp_path / "folder", options=OPTIONS)
    assert s3_server.objects(bucket, "out/") == files_of(tmp_path / "folder")


def test_overwrite_leaves_nothing_of_before(small_raw: Path, local: Objects, bucket: str, s3_server: S3Server) -> None:
    url = f"s3://{bucket}/out"
    make_shards(small_raw, url, options=MakeShardsOptions(workers=1, pages_per_shard=1))
    make_shards(small_raw, url, options=OPTIONS.model_copy(update={"overwrite": True}))
    assert s3_server.objects(bucket, "out/") == local


def test_what_others_wrote_is_refused(small_raw: Path, bucket: str, s3_server: S3Server) -> None:
    s3_server.call("put_object", Bucket=bucket, Key="out/precious.txt", Body=b"not ours")
    with pytest.raises(ConfigError, match=rf"s3://{bucket}/out: holds 1 files or folders .*precious\.txt"):
        make_shards(small_raw, f"s3://{bucket}/out", options=OPTIONS)
    assert s3_server.objects(bucket) == {"out/precious.txt": b"not ours"}


def test_a_missing_bucket_is_refused(small_raw: Path, bucket: str) -> None:
    with pytest.raises(ConfigError, match=rf"s3://no-{bucket}/out: cannot write there: .* is not there"):
        make_shards(small_raw, f"s3://no-{bucket}/out", options=OPTIONS)


def test_a_place_that_only_one_process_sees_is_refused(small_raw: Path) -> None:
    with pytest.raises(ConfigError, match="the memory of one process"):
        make_shards(small_raw, "memory://out", options=OPTIONS)


def test_two_jobs_on_one_store_are_refused(
    small_raw: Path, bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wdstream.make_shards.stores.output._LOCK_WAIT_S", 0.2)
    url = f"s3://{bucket}/out"
    with (
        opened_output(url),
        pytest.raises(ConfigError, match=r"another make-shards \(process \d+ on .*\) is at work there"),
    ):
        make_shards(small_raw, url, options=OPTIONS)
    assert s3_server.objects(bucket) == {}


def test_parts_share_a_store_and_exclude_the_whole(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdstream.make_shards.stores.output._LOCK_WAIT_S", 0.2)
    url = f"s3://{bucket}/out"
    with opened_output(url, part="part-000001-of-000002"), opened_output(url, part="part-000002-of-000002"):
        for part in ("", "part-000001-of-000002"):
            with pytest.raises(ConfigError, match="is at work there"), opened_output(url, part=part):
                pass
    with (
        opened_output(url),
        pytest.raises(ConfigError, match="is at work there"),
        opened_output(url, part="part-000001-of-000002"),
    ):
        pass


def test_a_job_that_lost_its_store_writes_no_index(bucket: str, s3_server: S3Server) -> None:
    url = f"s3://{bucket}/out"

    def work() -> None:
        with opened_output(url) as output:
            assert isinstance(output, StoreOutput)
            (output.path / "index").mkdir()
            (output.path / "index/index.json").write_text("{}")
            s3_server.call("put_object", Bucket=bucket, Key="out/.make-shards/lease", Body=b'{"nonce": "another"}')
            output.push()

    with pytest.raises(ShardError, match="has taken over"):
        work()
    assert s3_server.objects(bucket) == {"out/.make-shards/lease": b'{"nonce": "another"}'}


def test_index_json_goes_first_and_comes_last(bucket: str, s3_server: S3Server) -> None:
    """A reader finds an index that fits its columns, or none."""
    place = open_place(f"s3://{bucket}/out")
    for name in ("index.json", "a.npy", "b.npy"):
        place.write(f"index/{name}", b"before")
    seen: list[list[str]] = []
    with opened_output(f"s3://{bucket}/out") as output:
        (output.path / "index/index.json").write_bytes(b"after!")
        (output.path / "index/a.npy").write_bytes(b"after!")
        (output.path / "index/b.npy").unlink()
        put = s3_place.S3Place.put

        def watched(self: s3_place.S3Place, name: str, path: Path) -> None:
            seen.append(sorted(s3_server.objects(bucket, "out/index/")))
            put(self, name, path)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(s3_place.S3Place, "put", watched)
            output.push()
    assert seen == [["a.npy"], ["a.npy"]]
    assert s3_server.objects(bucket, "out/index/") == {"index.json": b"after!", "a.npy": b"after!"}


def test_texts_are_counted_from_the_store_where_no_record_has_counts(
    tmp_path: Path, tiny_model: Path, bucket: str, s3_server: S3Server
) -> None:
    """Of rows of which not all is supervised, the counts are not in the records of shards."""
    raw = tmp_path / "raw"
    raw.mkdir()
    chat = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A page."}]
    (raw / "rows.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for _ in range(5)))
    options = MakeShardsOptions(workers=1, pages_per_shard=2, tokenizer=tiny_model)
    make_shards(raw, f"s3://{bucket}/out", options=options)
    make_shards(raw, tmp_path / "local", options=options)
    assert any(name.startswith("index/supervised.") for name in files_of(tmp_path / "local"))
    assert s3_server.objects(bucket, "out/") == files_of(tmp_path / "local")


@pytest.mark.parametrize(
    ("rate", "seed"), [(0.2, 1), *(pytest.param(rate, 3, marks=pytest.mark.slow) for rate in (0.05, 0.1, 0.2))]
)
def test_a_store_that_fails_gets_the_same_objects(
    rate: float, seed: int, small_raw: Path, local: Objects, bucket: str, s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By answers that fail, and by answers that are lost or cut off after the store has done what was asked."""
    with spoiling(s3_server.port, rate=rate, seed=seed) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        make_shards(small_raw, f"s3://{bucket}/out", options=OPTIONS)
        assert sum(proxy.failed.values()) > 10 * rate
    s3_server.use(monkeypatch)
    assert s3_server.objects(bucket, "out/") == local
    assert s3_server.unfinished(bucket) == []


def test_the_command_takes_a_url(small_raw: Path, tmp_path: Path, bucket: str, tree_of: Callable[[Path], Tree]) -> None:
    command = [sys.executable, "-m", "wdstream", "make-shards", str(small_raw), f"s3://{bucket}/out", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, tree_of(tmp_path)) == (0, {}), done.stderr
    assert f"s3://{bucket}/out" in done.stdout


def test_a_file_system_of_fsspec_gets_the_same_files(small_raw: Path, local: Objects, tmp_path: Path) -> None:
    """As sftp:// or hdfs:// are: files that grow are seen there, and folders have to be made."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/shard-000001.tar.tmp").write_bytes(b"what a kill left")
    report = make_shards(small_raw, f"local://{tmp_path}/out", options=OPTIONS)
    assert (report.num_pages, files_of(tmp_path / "out")) == (13, local)
    assert make_shards(small_raw, f"local://{tmp_path}/out", options=OPTIONS).pages_made == 0
