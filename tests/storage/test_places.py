"""Places to write to: a folder, a real S3 server, another store of fsspec; each keeps the same promises.

Spans: storage.places, storage.writes.
"""

import json
import multiprocessing
import os
import pickle
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers.faulty_proxy import spoiling
from tests.helpers.s3_server import S3Server
from tests.helpers.waiting import wait_until
from wdstream.errors import AbsentFileError, ConfigError, ForbiddenFileError, ShardError, StorageFailureError
from wdstream.storage.places import Place, is_url, open_place
from wdstream.storage.tries import ATTEMPTS
from wdstream.storage.writes import s3_place
from wdstream.storage.writes.local_place import LocalPlace
from wdstream.storage.writes.s3_place import S3Place

KINDS = ("local", "file", "s3", "memory", "file system")


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> Place:
    """A place of each kind, with nothing in it."""
    addresses: dict[str, str | Path] = {
        "local": tmp_path / "out",
        "file": f"file://{tmp_path}/out",
        "s3": f"s3://{bucket}/a b/out",
        "memory": f"memory://{bucket}/out",
        "file system": f"local://{tmp_path}/out",
    }
    return open_place(addresses[request.param])


def test_files_are_written_listed_read_and_removed(place: Place, tmp_path: Path) -> None:
    assert [*place.files()] == []
    place.write("index/b.npy", b"bb")
    place.write("a.tar", b"a")
    with place.writing("index/a.npy") as file:
        file.write(b"__")
        file.seek(0)
        file.write(b"aa")
    place.write("empty", b"")
    place.fetch("empty", tmp_path / "empty")
    assert (tmp_path / "empty").read_bytes() == b""
    place.remove(["empty"])
    (tmp_path / "source").write_bytes(b"c" * 100)
    place.put("c", tmp_path / "source")
    assert [(file.name, file.num_bytes) for file in place.files()] == [
        ("a.tar", 1),
        ("c", 100),
        ("index/a.npy", 2),
        ("index/b.npy", 2),
    ]
    assert [file.name for file in place.files("index/")] == ["index/a.npy", "index/b.npy"]
    place.fetch("c", tmp_path / "copy")
    assert (place.read("index/a.npy"), (tmp_path / "copy").read_bytes()) == (b"aa", b"c" * 100)
    place.remove(["index/a.npy", "not there", "c"])
    assert [file.name for file in place.files()] == ["a.tar", "index/b.npy"]


def test_a_version_changes_with_the_file(place: Place) -> None:
    place.write("a", b"1")
    _, first = place.read_version("a")
    assert first == next(iter(place.files())).version
    place.write("a", b"2")
    assert place.read_version("a")[1] != first


def test_what_is_not_there_is_absent(place: Place, tmp_path: Path) -> None:
    for ask in (place.read, place.read_version, lambda name: place.fetch(name, tmp_path / "copy")):
        with pytest.raises(AbsentFileError, match="nothing"):
            ask("nothing")
    assert not (tmp_path / "copy").exists()


def test_a_block_that_raises_writes_nothing(place: Place) -> None:
    def fail() -> None:
        with place.writing("a") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [*place.files()] == []


def test_only_one_creates_a_file(place: Place) -> None:
    assert place.create("a", b"first")
    assert place.create("a", b"first"), "an answer may be lost: what is there is what was asked for"
    assert not place.create("a", b"second")
    assert place.read("a") == b"first"


def test_a_file_is_replaced_while_nobody_else_did(place: Place) -> None:
    place.write("a", b"1")
    _, version = place.read_version("a")
    assert place.replace("a", b"2", version)
    assert not place.replace("a", b"3", version)
    assert place.read("a") == b"2"


def _write_in_child(place: Place, name: str) -> None:
    place.write(name, b"child")


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_places_go_to_other_processes(start: str, bucket: str) -> None:
    place = open_place(f"s3://{bucket}/out")
    place.write("a", b"parent")
    context = multiprocessing.get_context("fork") if start == "fork" else multiprocessing.get_context("spawn")
    child = context.Process(target=_write_in_child, args=(place, start))
    child.start()
    child.join()
    assert (child.exitcode, place.read(start)) == (0, b"child")
    assert pickle.loads(pickle.dumps(place)).read("a") == b"parent"


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """S3 wants at least 5 MiB for all parts but the last."""
    monkeypatch.setattr(s3_place, "PART_BYTES", 5 << 20)
    return 5 << 20


def test_a_large_file_goes_in_parts_and_appears_at_the_end(
    bucket: str, small_parts: int, tmp_path: Path, s3_server: S3Server
) -> None:
    (tmp_path / "x").write_bytes(body := os.urandom(small_parts * 2 + 5))
    place = open_place(f"s3://{bucket}/out")
    place.put("x.tar", tmp_path / "x")
    assert next(iter(place.files())).version.strip('"').endswith("-3")
    place.fetch("x.tar", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == body == s3_server.objects(bucket)["out/x.tar"]


def test_an_upload_that_fails_is_aborted(
    bucket: str, small_parts: int, tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(bytes(small_parts * 2 + 5))

    class Interrupted(S3Place):
        """The last part is not sent."""

        def _complete(self, name: str, upload: str, parts: list[dict[str, object]]) -> None:
            assert s3_server.unfinished(bucket) == ["out/x.tar"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted(f"s3://{bucket}/out").put("x.tar", tmp_path / "x")
    assert (s3_server.unfinished(bucket), s3_server.objects(bucket)) == ([], {})


def test_uploads_that_a_kill_left_are_aborted_below_the_place_alone(bucket: str, s3_server: S3Server) -> None:
    for key in ("out/x.tar", "out/y.tar", "output/z.tar"):
        s3_server.call("create_multipart_upload", Bucket=bucket, Key=key)
    open_place(f"s3://{bucket}/out").remove_unfinished()
    assert s3_server.unfinished(bucket) == ["output/z.tar"]


def test_requests_that_fail_are_sent_again(
    bucket: str, small_parts: int, tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(body := os.urandom(small_parts + 5))
    with spoiling(s3_server.port, rate=0.2, seed=3) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        place = S3Place(f"s3://{bucket}/out", first_wait_s=0.001)
        for number in range(12):
            assert place.create(f"{number:02}", b"%d" % number)
            assert not place.create(f"{number:02}", b"another")
            _, version = place.read_version(f"{number:02}")
            assert place.replace(f"{number:02}", b"now %d" % number, version)
        place.put("x.tar", tmp_path / "x")
        place.fetch("x.tar", tmp_path / "copy")
        place.remove([file.name for file in place.files() if file.name > "04" and file.name != "x.tar"])
        assert sum(proxy.failed.values()) > 10
        assert len(proxy.failed) > 4
    s3_server.use(monkeypatch)
    expected = {f"out/{number:02}": b"now %d" % number for number in range(5)} | {"out/x.tar": body}
    assert s3_server.objects(bucket) == expected
    assert (tmp_path / "copy").read_bytes() == body
    assert s3_server.unfinished(bucket) == []


def test_an_outage_is_waited_out(bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes more tries than there are of a store that never answered."""
    with spoiling(s3_server.port, rate=0, faults=("503",)) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        place = S3Place(f"s3://{bucket}/out", first_wait_s=0.001)
        place.write("a", b"1")
        proxy.rate = 1
        with ThreadPoolExecutor(1) as pool:
            written = pool.submit(place.write, "a", b"2")
            wait_until(lambda: written.done() or proxy.failed["503"] > ATTEMPTS, "more tries than there usually are")
            proxy.rate = 0
            written.result()
    assert s3_server.objects(bucket) == {"out/a": b"2"}


def test_what_may_not_be_removed_is_said(bucket: str, s3_server: S3Server) -> None:
    place = open_place(f"s3://{bucket}/out")
    place.write("a", b"")
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    s3_server.call("put_bucket_policy", Bucket=bucket, Policy=json.dumps({"Statement": [denied]}))
    with pytest.raises(ForbiddenFileError, match=r"out/a may not be removed .*AccessDenied for out/a"):
        place.remove(["a"])


def test_a_store_that_never_answers_is_a_failure_and_never_an_absence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    S3Server(1, tmp_path / "none").use(monkeypatch)
    place = S3Place("s3://bucket/out", attempts=2, first_wait_s=0.001)
    asks: list[Callable[[], object]] = [
        lambda: place.read("a"),
        lambda: place.write("a", b""),
        lambda: place.create("a", b""),
        lambda: [*place.files()],
    ]
    for ask in asks:
        with pytest.raises(StorageFailureError, match="after 2 attempts"):
            ask()


def test_what_a_kill_left_of_a_file_in_a_file_system_is_removed(tmp_path: Path) -> None:
    place = open_place(f"local://{tmp_path}")
    place.write("index/a.npy", b"a")
    (tmp_path / "index/a.npy.tmp").write_bytes(b"half")
    assert [file.name for file in place.files()] == ["index/a.npy"]
    place.remove_unfinished()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.npy"]


@pytest.mark.parametrize("name", ["../x", "index/../../x", "/x", "a//b", "./x"])
def test_names_that_would_leave_a_folder_are_refused(name: str, bucket: str, s3_server: S3Server) -> None:
    s3_server.call("put_object", Bucket=bucket, Key=f"out/{name}", Body=b"")
    with pytest.raises(ShardError, match=f"s3://{bucket}/out: holds a file named '{re.escape(name)}'"):
        list(open_place(f"s3://{bucket}/out").files())


@pytest.mark.parametrize("url", ["s3://bucket/out", "abfss://box@account/out"])
def test_a_path_that_was_a_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="a Path cannot hold a URL"):
        open_place(Path(url))


def test_a_message_says_whether_a_file_was_read_or_written(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    (tmp_path / "a").mkdir()
    for ask, told in (
        (lambda: place.write("a", b""), "a cannot be written"),
        (lambda: place.remove(["a"]), "a cannot be removed"),
        (lambda: place.read("a"), "a cannot be read"),
    ):
        with pytest.raises(StorageFailureError, match=told):
            ask()


def test_what_is_only_read_from_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"http://u:\*\*\*@host/x: http:// is only read from"):
        open_place("http://u:secret@host/x")


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(ConfigError, match="nosuch"):
        open_place("nosuch://x/y")


def test_what_is_a_url() -> None:
    assert is_url("s3://b/x") and not is_url("b/x") and not is_url(Path("s3:/b/x"))
    assert isinstance(open_place("file:///tmp/x"), LocalPlace)
    assert open_place("file:///tmp/x").local_path("a") == Path("/tmp/x/a")
