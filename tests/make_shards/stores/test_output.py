"""make-shards into a real S3 server: the bytes of a local folder, one writer, what continues and what is refused.

Spans: make_shards.
"""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.faulty_proxy import spoiling
from tests.helpers.jobs import Tree
from tests.helpers.s3_server import S3Server
from wdstream.errors import ConfigError, ShardError
from wdstream.make_shards import MakeShardsOptions, index_folder, make_shards
from wdstream.make_shards.stores.output import StoreOutput, opened_output
from wdstream.shards.apart.set_folder import set_folder
from wdstream.shards.reader import Shards
from wdstream.storage.engines.part import WorkPart
from wdstream.storage.places import open_place
from wdstream.storage.writes import s3_place
from wdstream.storage.writes.one_job import LEASE

OPTIONS = MakeShardsOptions(workers=1, pages_per_shard=3)
HERE_ONLY = ".make-shards/lock"
OTHER = b'{"nonce": "another"}'
"""The lease of somebody else."""

Objects = dict[str, bytes]


def files_of(folder: Path) -> Objects:
    """What a local job leaves, as a store is to have it."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    found.pop(HERE_ONLY, None)
    return found


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small pages, which are three shards."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("raw")
    for number in range(8):
        Image.frombytes("RGB", (40, 40), random.Random(number).randbytes(4800)).save(folder / f"page-{number}.png")
        (folder / f"page-{number}.txt").write_text(f"page {number}")
    return folder


@pytest.fixture(scope="module")
def made(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """What a job on this machine makes of them."""
    out = tmp_path_factory.mktemp("made") / "out"
    make_shards(raw, out, options=OPTIONS)
    return files_of(out)


def put_all(server: S3Server, bucket: str, files: Objects) -> None:
    for name, data in files.items():
        server.call("put_object", Bucket=bucket, Key=f"out/{name}", Body=data)


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
    small_raw: Path, bucket: str, s3_server: S3Server, own_temp: Path, tmp_path: Path
) -> None:
    two = OPTIONS.replace(workers=2)
    make_shards(small_raw, tmp_path / "local", options=OPTIONS)
    report = make_shards(small_raw, f"s3://{bucket}/some shards/", options=two)
    assert s3_server.objects(bucket, "some shards/") == files_of(tmp_path / "local")
    assert (report.num_pages, str(report.out)) == (13, f"s3://{bucket}/some shards")
    assert (left_here(own_temp), s3_server.unfinished(bucket)) == ([], [])
    shards = Shards.open(f"s3://{bucket}/some shards")
    assert len([shards.read_page(row) for row in range(len(shards))]) == 13


def test_what_is_complete_is_not_made_again_nor_fetched(
    raw: Path, made: Objects, bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_all(s3_server, bucket, made)
    s3_server.call("delete_object", Bucket=bucket, Key="out/shard-000002.tar")
    s3_server.call("put_object", Bucket=bucket, Key="out/shard-000001.meta.npz", Body=b"not what was written")
    with spoiling(s3_server.port, rate=0, faults=()) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        report = make_shards(raw, f"s3://{bucket}/out", options=OPTIONS)
    assert report.pages_made == 5
    assert [path for path in proxy.paths if path.startswith("GET") and path.endswith(".tar")] == []
    assert s3_server.objects(bucket, "out/") == made


def test_a_restart_asks_twice_per_shard(
    raw: Path, made: Objects, bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For its record and its meta, which tells what its idx holds; another idx is fetched, and noticed."""
    put_all(s3_server, bucket, made)
    idx = made["shard-000001.tar.idx"]
    with spoiling(s3_server.port, rate=0, faults=()) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        assert make_shards(raw, f"s3://{bucket}/out", options=OPTIONS).pages_made == 0
        asked = sorted(path.removeprefix(f"GET /{bucket}/out/") for path in proxy.paths if "shard-" in path)
        assert asked == [
            *(f".make-shards/shard-00000{number}.json" for number in range(3)),
            *(f"shard-00000{number}.meta.npz" for number in range(3)),
        ]
        for other in (idx[:8] + b"\1" + idx[9:], idx[:-8], b""):
            s3_server.call("put_object", Bucket=bucket, Key="out/shard-000001.tar.idx", Body=other)
            proxy.paths.clear()
            assert make_shards(raw, f"s3://{bucket}/out", options=OPTIONS).pages_made == 3
            assert f"GET /{bucket}/out/shard-000001.tar.idx" in proxy.paths
    assert s3_server.objects(bucket, "out/") == made


def test_a_part_fetches_its_own_shards_alone(
    made: Objects, bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_all(s3_server, bucket, made)
    with spoiling(s3_server.port, rate=0, faults=()) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        with opened_output(f"s3://{bucket}/out", part=WorkPart.parse("2/3")) as output:
            here = {path.relative_to(output.path).as_posix() for path in output.path.rglob("*") if path.is_file()}
    gets = [path for path in proxy.paths if path.startswith("GET") and "shard-" in path]
    assert len(gets) == 2 and all("shard-000001" in path for path in gets)
    assert {name for name in here if "shard-" in name} == {name for name in made if "shard-000001" in name}
    assert s3_server.objects(bucket, "out/") == made, "what was not fetched was not removed"


def test_a_part_aborts_the_uploads_that_it_left_itself(bucket: str, s3_server: S3Server) -> None:
    for number in range(4):
        s3_server.call("create_multipart_upload", Bucket=bucket, Key=f"out/shard-{number:06d}.tar")
    s3_server.call("create_multipart_upload", Bucket=bucket, Key="out/.make-shards/survey.jsonl")
    with opened_output(f"s3://{bucket}/out", part=WorkPart.parse("1/2")):
        left = ["out/.make-shards/survey.jsonl", "out/shard-000001.tar", "out/shard-000003.tar"]
        assert sorted(s3_server.unfinished(bucket)) == left
    with opened_output(f"s3://{bucket}/out"):
        assert s3_server.unfinished(bucket) == []


def test_changed_input_is_made_again_in_a_store(raw: Path, tmp_path: Path, bucket: str, s3_server: S3Server) -> None:
    changed = tmp_path / "raw"
    shutil.copytree(raw, changed)
    (changed / "page-1.txt").write_text("first")
    url = f"s3://{bucket}/out"
    make_shards(changed, url, options=OPTIONS)
    shutil.copyfile(raw / "page-1.txt", changed / "page-1.txt")
    with pytest.raises(ConfigError, match=rf"s3://{bucket}/out was made by make-shards from something else"):
        make_shards(changed, url, options=OPTIONS)
    for number in (6, 7):  # all of the last shard, of which nothing is left then
        (changed / f"page-{number}.txt").write_text("")
    make_shards(changed, url, options=OPTIONS.replace(retry_quarantined=True))
    make_shards(changed, tmp_path / "folder", options=OPTIONS)
    assert s3_server.objects(bucket, "out/") == files_of(tmp_path / "folder")


def test_overwrite_leaves_nothing_of_before(raw: Path, made: Objects, bucket: str, s3_server: S3Server) -> None:
    others = {name.replace("00002", "00009"): data for name, data in made.items() if "shard-000002" in name}
    put_all(s3_server, bucket, {**made, **others, "make-shards.json": b"{}", "index/old.npy": b"old"})
    make_shards(raw, f"s3://{bucket}/out", options=OPTIONS.replace(overwrite=True))
    assert s3_server.objects(bucket, "out/") == made


def test_what_others_wrote_is_refused(raw: Path, bucket: str, s3_server: S3Server) -> None:
    s3_server.call("put_object", Bucket=bucket, Key="out/precious.txt", Body=b"not ours")
    with pytest.raises(ConfigError, match=rf"s3://{bucket}/out: holds 1 files or folders .*precious\.txt"):
        make_shards(raw, f"s3://{bucket}/out", options=OPTIONS)
    assert s3_server.objects(bucket) == {"out/precious.txt": b"not ours"}


def test_a_missing_bucket_is_refused(raw: Path, bucket: str) -> None:
    with pytest.raises(ConfigError, match=rf"s3://no-{bucket}/out: cannot write there: .* no such bucket"):
        make_shards(raw, f"s3://no-{bucket}/out", options=OPTIONS)


def test_a_place_that_only_one_process_sees_is_refused(raw: Path) -> None:
    with pytest.raises(ConfigError, match="the memory of one process"):
        make_shards(raw, "memory://out", options=OPTIONS)


def test_parts_share_a_store_and_exclude_the_whole(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdstream.make_shards.stores.output._LOCK_WAIT_S", 0.2)
    url = f"s3://{bucket}/out"
    first, second, third = (WorkPart.parse(text) for text in ("1/2", "2/2", "3/3"))
    with opened_output(url, part=first), opened_output(url, part=second):
        for part in (None, first, third):
            with pytest.raises(ConfigError, match="is at work there"), opened_output(url, part=part):
                pass
    with (
        opened_output(url),
        pytest.raises(ConfigError, match="is at work there"),
        opened_output(url, part=first),
    ):
        pass


def test_a_job_that_lost_its_store_writes_no_index(bucket: str, s3_server: S3Server) -> None:
    url = f"s3://{bucket}/out"

    def work() -> None:
        with opened_output(url) as output:
            assert isinstance(output, StoreOutput)
            (output.path / "index").mkdir()
            (output.path / "index/index.json").write_text("{}")
            s3_server.call("put_object", Bucket=bucket, Key=f"out/{LEASE}", Body=OTHER)
            output.push()

    with pytest.raises(ShardError, match="has taken over"):
        work()
    assert s3_server.objects(bucket) == {f"out/{LEASE}": OTHER}


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


@pytest.mark.slow
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
    rate: float, seed: int, raw: Path, made: Objects, bucket: str, s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By answers that fail, and by answers that are lost or cut off after the store has done what was asked."""
    with spoiling(s3_server.port, rate=rate, seed=seed) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        make_shards(raw, f"s3://{bucket}/out", options=OPTIONS)
        assert sum(proxy.failed.values()) > 10 * rate
    s3_server.use(monkeypatch)
    assert s3_server.objects(bucket, "out/") == made
    assert s3_server.unfinished(bucket) == []


def test_two_processes_on_one_store(
    raw: Path, made: Objects, tmp_path: Path, bucket: str, s3_server: S3Server, tree_of: Callable[[Path], Tree]
) -> None:
    """The first is stopped while it is at work; a second one, and a change of the index, learn who it is."""
    url = f"s3://{bucket}/out"
    options = ["--workers", "1", "--pages-per-shard", "3"]
    command = [sys.executable, "-m", "wdstream", "make-shards", str(raw), url, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as first:
        try:
            while LEASE not in s3_server.objects(bucket, "out/"):
                assert first.poll() is None, "it ended without a lease"
                time.sleep(0.2)
            first.send_signal(signal.SIGSTOP)
            who = rf"another make-shards \(process {first.pid} on .*\) is at work there"
            second = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
            assert second.returncode != 0 and re.search(who, " ".join(second.stderr.split())), second.stderr
            with pytest.raises(ConfigError, match=who):
                index_folder(url)
            first.send_signal(signal.SIGCONT)
            written, _ = first.communicate()
        finally:
            first.kill()
    assert (first.returncode, tree_of(tmp_path)) == (0, {})
    assert url in written and s3_server.objects(bucket, "out/") == made


def test_an_index_that_changes_excludes_make_shards(
    raw: Path, bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wdstream.make_shards.stores.output._LOCK_WAIT_S", 0.2)
    url = f"s3://{bucket}/out"
    with (
        set_folder(url, job="index", with_metas=False),
        pytest.raises(ConfigError, match=r"another index \(process \d+ on .*\) is at work there"),
    ):
        make_shards(raw, url, options=OPTIONS)
    assert s3_server.objects(bucket) == {}


def test_a_file_system_of_fsspec_gets_the_same_files(raw: Path, made: Objects, tmp_path: Path) -> None:
    """As sftp:// or hdfs:// are: files that grow are seen there, and folders have to be made."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/shard-000001.tar.tmp").write_bytes(b"what a kill left")
    report = make_shards(raw, f"local://{tmp_path}/out", options=OPTIONS)
    assert (report.num_pages, files_of(tmp_path / "out")) == (8, made)
    assert make_shards(raw, f"local://{tmp_path}/out", options=OPTIONS).pages_made == 0
