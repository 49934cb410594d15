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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pytest
import webdataset

from tests.helpers.faulty_server import failing
from tests.helpers.paths import DATA
from wdstream.errors import ForbiddenFileError, RowError, ShardError, StorageFailureError
from wdstream.nodes.as_page import as_page
from wdstream.nodes.read_tars import ReadTars
from wdstream.shards.tar_header import make_header
from wdstream.storage.download import Download
from wdstream.testing import assert_resumes_exactly

PNG = (DATA / "pages/images/ocrmypdf-typewriter.png").read_bytes()


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


@pytest.mark.parametrize("first", ["images/a", "texts/a.txt"])
def test_a_file_without_a_suffix_that_could_be_the_image_of_a_text(tmp_path: Path, first: str) -> None:
    members = [("images/a", b"\xff\xd8\xff"), ("texts/a.txt", b"text of it")]
    write_tar(tmp_path / "x.tar", [*(members if first == "images/a" else members[::-1]), ("b.jpg", b"J")])
    with pytest.raises(ShardError, match=r"the image and the text of '(images|texts)/a' are apart"):
        list(ReadTars([str(tmp_path / "x.tar")]))


def test_files_that_are_in_no_sample_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    members = [("README", b"r"), ("a.jpg", b"J"), ("._a.jpg", b"x"), (".\x1b[31mx.txt", b"x"), ("a.txt", b"text")]
    write_tar(tmp_path / "x.tar", members)
    source = ReadTars([str(tmp_path / "x.tar")])
    for _ in range(2):
        source.reset()
        assert [(sample.key, sorted(sample.members)) for sample in source] == [("a", ["jpg", "txt"])]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == (
        f"{tmp_path}/x.tar: files that are in no sample, passed over: 2 whose name begins with a dot "
        "(.\u241b[31mx.txt, say), 1 without a suffix (README, say)"
    )


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
    defaults = Download.__init__.__kwdefaults__ or {}
    monkeypatch.setattr(Download.__init__, "__kwdefaults__", {**defaults, "first_wait_s": 0.001})
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


@pytest.mark.parametrize("name", ["images/0001", ".a.jpg", "x/._a.png"])
@pytest.mark.parametrize("is_first", [True, False])
def test_an_image_in_no_sample_could_be_that_of_a_text(tmp_path: Path, name: str, is_first: bool) -> None:
    """By its bytes, or by a name that begins with a dot."""
    stray = (name, PNG if "0001" in name else b"junk")
    sample = [("a.txt", b"text"), ("b.png", PNG), ("b.txt", b"b")]
    write_tar(tmp_path / "s.tar", [stray, *sample] if is_first else [*sample, stray])
    with pytest.raises(ShardError, match="are apart, and neither would be trained on"):
        list(ReadTars([str(tmp_path / "s.tar")]))


def test_what_macos_knows_of_an_image_is_no_half_of_a_sample(tmp_path: Path) -> None:
    """Images alone, of a chat whose texts are elsewhere, or to be read by OCR; and texts alone."""
    members = [("a.png", PNG), ("b.txt", b"b"), ("b.png", PNG), ("c.txt", b"c")]
    apple = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(99)
    write_tar(tmp_path / "s.tar", [each for name, data in members for each in ((f"._{name}", apple), (name, data))])
    assert [sample.key for sample in ReadTars([str(tmp_path / "s.tar")])] == ["a", "b", "c"]


def test_images_and_texts_in_tars_of_their_own_are_refused_before_the_first_sample(tmp_path: Path) -> None:
    """Also where the first samples of both are others, as in tars of unsorted folders."""
    keys = [f"p{number:03d}" for number in range(100)]
    write_tar(tmp_path / "images.tar", [(f"images/{key}.png", PNG) for key in keys])
    write_tar(tmp_path / "texts.tar", [(f"texts/{key}.txt", b"t") for key in reversed(keys)])
    urls = [str(tmp_path / "images.tar"), str(tmp_path / "texts.tar")]
    with pytest.raises(ShardError) as refused:
        ReadTars(urls)
    assert str(refused.value) == (
        f"{urls[0]} has images without text and {urls[1]} texts without image, of the same keys ('p000', ...): they "
        "would be trained on apart; write tars in which the members of a sample are neighbours"
    )
    write_tar(tmp_path / "texts.tar", [(f"texts/q{key}.txt", b"t") for key in keys])
    assert len([*ReadTars(urls)]) == 200


def test_a_license_next_to_texts_ends_no_stream(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", [("LICENSE", b"MIT License"), ("a.txt", b"a"), ("license.txt", b"l")])
    assert [sample.key for sample in ReadTars([str(tmp_path / "s.tar")])] == ["a", "license"]


def test_addresses_called_after_images_and_texts_are_looked_into(tmp_path: Path, server: str) -> None:
    write_tar(tmp_path / "images-000.tar", [(f"images/{key}.png", PNG) for key in "abc"])
    write_tar(tmp_path / "texts-000.tar", [(f"texts/{key}.txt", b"t") for key in "cba"])
    urls = [f"{server}/images-000.tar", f"{server}/texts-000.tar"]
    with pytest.raises(ShardError, match=r"images-000\.tar has images without text and .*texts-000\.tar texts without"):
        ReadTars(urls)
    (tmp_path / "texts-000.tar").unlink()  # the reader of that tar will say so
    assert [sample.key for sample in ReadTars(urls)] == ["images/a", "images/b", "images/c", "rest@0"]


def test_a_server_that_fails_is_looked_into_once() -> None:
    """Before a stream of images and texts begins; each look may take as long as a server is waited for."""
    asked: list[str] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(501)

        def log_message(self, *_: object) -> None:
            """Nothing is said."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            where = f"http://127.0.0.1:{server.server_address[1]}"
            ReadTars([f"{where}/{name}-{number}.tar" for name in ("images", "texts") for number in (0, 1)])
        finally:
            server.shutdown()
    assert asked == ["/images-0.tar"]
