"""ReadTars on tars of other tools: order, resume at every sample, pipes, compression, damage."""

import bz2
import gzip
import http.server
import io
import lzma
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pytest
import webdataset

from tests.helpers.faulty_server import failing
from wdstream.errors import ForbiddenFileError, RowError, ShardError, StorageFailureError
from wdstream.nodes.as_page import as_page
from wdstream.nodes.read_tars import ReadTars
from wdstream.shards.tar_header import make_header
from wdstream.storage.download import Download
from wdstream.testing import assert_resumes_exactly


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def tars(tmp_path: Path) -> list[str]:
    """Two tars by webdataset: 3 and 2 samples of a text and some bytes."""
    paths = []
    for shard, count in enumerate([3, 2]):
        path = tmp_path / f"{shard}.tar"
        with webdataset.TarWriter(str(path)) as writer:
            for number in range(count):
                writer.write({"__key__": f"{shard}{number}", "txt": f"text {number}", "png": b"x" * (700 * number)})
        paths.append(str(path))
    return paths


def test_all_samples_in_order(tars: list[str]) -> None:
    samples = list(ReadTars(tars))
    assert [sample.key for sample in samples] == ["00", "01", "02", "10", "11"]
    assert samples[1].members == {"png": b"x" * 700, "txt": b"text 1"}
    page = as_page({"__key__": samples[1].key, **samples[1].members})
    assert page.key == "01"


def test_resumes_at_every_sample_by_going_there(tars: list[str]) -> None:
    assert len(assert_resumes_exactly(lambda: ReadTars(tars))) == 5
    node = ReadTars(tars)
    next(node)
    state = node.state_dict()
    assert state == {"shard": 0, "sample": 1, "offset": 3584}
    # Damage what is before: a resume must not read it.
    path = Path(tars[0])
    path.write_bytes(b"\xff" * 200 + path.read_bytes()[200:])
    node.reset(state)
    assert [sample.key for sample in node] == ["01", "02", "10", "11"]


def test_compressed_tars_and_pipes_resume_by_reading_again(tars: list[str], tmp_path: Path) -> None:
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(Path(tars[0]).read_bytes()))
    for urls in ([str(packed), tars[1]], [f"pipe:cat {tars[0]}", f"pipe:cat {tars[1]}"]):
        items = assert_resumes_exactly(partial(ReadTars, urls))
        assert [(item.key, item.members) for item in items] == [(item.key, item.members) for item in ReadTars(tars)]


def test_tars_of_an_object_store_resume_at_their_place(tars: list[str]) -> None:
    files = fsspec.filesystem("memory")
    files.pipe({f"/bucket/{number}.tar": Path(tar).read_bytes() for number, tar in enumerate(tars)})
    try:
        urls = [f"memory://bucket/{number}.tar" for number in range(len(tars))]
        items = assert_resumes_exactly(lambda: ReadTars(urls))
        assert [(item.key, item.members) for item in items] == [(item.key, item.members) for item in ReadTars(tars)]
        fault = next(ReadTars(["memory://bucket/9.tar"])).fault
        assert "memory://bucket/9.tar is not there: the storage answers that it has no such file" in fault
    finally:
        files.rm("/bucket", recursive=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

        def copyfile(self, source: Any, outputfile: Any) -> None:
            """Sends what it promised, but for a file called torn.tar: that one ends after its first sample."""
            torn = self.path == "/torn.tar"
            outputfile.write(source.read(3584) if torn else source.read())

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_http_without_ranges(tars: list[str], server: str) -> None:
    assert [sample.key for sample in ReadTars([f"{server}/0.tar", f"{server}/1.tar"])] == ["00", "01", "02", "10", "11"]
    urls = [f"{server}/2.tar", f"{server}/0.tar", str(Path(tars[0]).with_name("none.tar"))]
    absent, *there, last = ReadTars(urls)
    assert [sample.key for sample in (absent, *there, last)] == ["rest@0", "00", "01", "02", "rest@0"]
    assert re.match(r"the tar is passed over: http://.*/2\.tar: cannot be opened \(HTTP Error 404", absent.fault)
    assert re.match(r"the tar is passed over: /.*none\.tar: .* it is not there; bring it back", last.fault)
    assert_resumes_exactly(lambda: ReadTars(urls))


def test_a_web_server_is_asked_once_for_a_tar(tars: list[str], tmp_path: Path) -> None:
    """Also to see whether it is compressed; and a resume, once more for what follows."""
    with failing(tmp_path, rate=0) as ranges:
        urls = [f"{ranges.url}/{Path(tar).name}" for tar in tars]
        assert [sample._replace(url="") for sample in ReadTars(urls)] == [s._replace(url="") for s in ReadTars(tars)]
        assert ranges.asked == 2
        assert_resumes_exactly(lambda: ReadTars(urls))


def test_a_download_that_breaks_off_again_and_again_is_an_error(
    tars: list[str], tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Download.__init__, "__kwdefaults__", {"first_wait_s": 0.001})
    Path(tars[0]).rename(tmp_path / "torn.tar")
    with pytest.raises(StorageFailureError, match=r"torn\.tar: broke off at byte [\d,]+, and cannot be continued"):
        list(ReadTars([f"{server}/torn.tar"]))


def test_directories_metadata_and_dotfiles_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "odd.tar"
    write_tar(
        path, [("__meta__/x.json", b"{}"), ("README", b""), ("d/a.TXT", b"1"), ("d/a.jpg", b"2"), ("d/b.txt", b"3")]
    )
    assert [(sample.key, sample.members) for sample in ReadTars([str(path)])] == [
        ("d/a", {"txt": b"1", "jpg": b"2"}),
        ("d/b", {"txt": b"3"}),
    ]


def test_empty_tars_and_no_tars(tmp_path: Path, tars: list[str]) -> None:
    empty = tmp_path / "empty.tar"
    write_tar(empty, [])
    assert [sample.key for sample in ReadTars([str(empty), tars[1], str(empty)])] == ["10", "11"]
    assert list(ReadTars([])) == []


def test_damage_costs_the_rest_of_its_tar(tars: list[str], tmp_path: Path) -> None:
    """What follows is read; the rest is one sample without parts, which says what is wrong. Of the sample before the
    damage nobody knows whether it is whole."""
    cut = tmp_path / "cut.tar"
    size = [*ReadTars([tars[0]])][1].offset + 40
    cut.write_bytes(Path(tars[0]).read_bytes()[:size])
    assert [sample.key for sample in ReadTars([str(cut)])] == ["rest@0"]
    size = [*ReadTars([tars[0]])][2].offset + 40
    cut.write_bytes(Path(tars[0]).read_bytes()[:size])
    *whole, rest, ten, eleven = ReadTars([str(cut), tars[1]])
    assert ([sample.key for sample in whole], ten.key, eleven.key) == (["00"], "10", "11")
    assert (rest.key, rest.members, rest.offset) == (f"rest@{whole[0].end}", {}, whole[0].end)
    assert rest.fault.startswith(f"the rest of the tar, from byte {whole[0].end} on, is passed over: {cut}: ")
    assert rest.fault.endswith("has 40 of 512 bytes: truncated")
    with pytest.raises(RowError, match="the rest of the tar"):
        as_page(rest)


def by_arrow(codec: str, data: bytes) -> bytes:
    packed = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(packed, codec) as stream:
        stream.write(data)
    return bytes(packed.getvalue())


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": partial(gzip.compress, mtime=0),
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": partial(by_arrow, "zstd"),
    "tar.lz4": partial(by_arrow, "lz4"),
}


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_resume_finds_the_same_damage(tars: list[str], tmp_path: Path, suffix: str) -> None:
    """Wherever the tar is cut, and wherever the stream is resumed; also where bytes in the middle are others."""
    data = COMPRESS[suffix](Path(tars[0]).read_bytes())
    variants = [data[:size] for size in range(0, len(data), len(data) // 7)]
    variants += [data[:place] + b"\x91" * 40 + data[place + 40 :] for place in range(0, len(data), len(data) // 5)]
    variants += [data + b"more", b"", b"no tar at all", data[:1]]
    for number, variant in enumerate(variants):
        path = tmp_path / f"damaged-{number}.{suffix}"
        path.write_bytes(variant)
        node, states, samples = ReadTars([str(path), tars[1]]), [], []
        while True:
            states.append(node.state_dict())
            try:
                samples.append(next(node))
            except StopIteration:
                break
        assert samples[-1].key == "11"
        for place, state in enumerate(states):
            again = ReadTars([str(path), tars[1]])
            again.reset(state)
            assert [*again] == samples[place:]


def test_a_key_that_comes_again_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "again.tar"
    write_tar(path, [("a.txt", b"1"), ("b.txt", b"2"), ("a.txt", b"3")])
    node = ReadTars([str(path), str(path)])
    assert [sample.members["txt"] for sample in node] == [b"1", b"2", b"3"] * 2
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{path}: 1 samples have a key that came before in this tar, 'a' and others; all are given. `wdstream index "
        "--skip-bad` keeps the first of each"
    )


def test_what_may_be_passing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="pipe:exit 3: the command failed with exit status 3"):
        list(ReadTars(["pipe:exit 3"]))
    with failing(tmp_path, rate=0) as server, pytest.raises(ForbiddenFileError, match=r"x\.tar.* may not be read"):
        server.authorization = "wanted"
        (tmp_path / "x.tar").write_bytes(b"")
        list(ReadTars([f"{server.url}/x.tar"]))
    double = tmp_path / "double.tar"
    write_tar(double, [("a.txt", b"1"), ("a.txt", b"2")])
    (sample,) = ReadTars([str(double)])
    assert (sample.key, sample.members) == ("a", {})
    assert sample.fault == "it has two members 'txt'; the second at byte 1024"
    with pytest.raises(RowError, match="sample 'a': it has two members 'txt'"):
        as_page(sample)


def test_a_part_of_terabytes_is_not_read(tmp_path: Path) -> None:
    """A header is enough to claim a size; in a file with a hole the bytes are there, too."""
    header = tarfile.TarInfo("huge.jpg")
    header.size = 3 << 40
    tar = tmp_path / "huge.tar"
    tar.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    (rest,) = ReadTars([str(tar)])
    assert "huge.tar: no end-of-archive block at byte 3298534883840: truncated" in rest.fault
    header.size = 5 << 30
    with tar.open("wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.seek(5 << 30, 1)
        file.write(make_header("huge.txt", 0) + make_header("next.txt", 1) + b"a" + bytes(511 + 1024))
    huge, following = ReadTars([str(tar)])
    assert (huge.key, huge.members, following.key) == ("huge", {}, "next")
    assert huge.fault == (
        "its part 'jpg' has 5368709120 bytes, above the limit of 2147483648 for one member of a sample"
    )
