"""Bytes that are changed on their way, without TLS: none is taken for what is stored, by whatever reads a store.

Spans: make_shards, verify, shards, storage.
"""

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import webdataset

from tests.helpers.faulty_proxy import READ_FAULTS, FaultyProxy, spoiling
from tests.helpers.jobs import Tree
from tests.helpers.mixed_shards import small_image
from tests.helpers.s3_server import S3Server
from tests.helpers.stores import files_of, send
from tests.helpers.web_server import serving
from wdstream.errors import StorageFailureError
from wdstream.make_shards import MakeShardsOptions, add_token_column, index_folder, make_shards
from wdstream.raw.remote.store import RawStore
from wdstream.shards.reader import Shards
from wdstream.storage.ahead import ReadAhead, read_twice
from wdstream.storage.local import ByteRange
from wdstream.storage.remote import open_storage
from wdstream.storage.writes.fsspec_place import FsspecPlace
from wdstream.storage.writes.s3_place import S3Place
from wdstream.verify.job import verify_shards
from wdstream.verify.options import VerifyOptions

pytest.importorskip("s3fs", reason="needs the extra wdstream[remote]")
READ = ("flipped", "flipped", "flipped", *READ_FAULTS)
"""More flipped bytes than other faults."""
FLIPPED = ("flipped",)


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen tars of two pages."""
    folder = tmp_path_factory.mktemp("flipped") / "tars"
    folder.mkdir()
    for tar in range(16):
        with webdataset.TarWriter(str(folder / f"x-{tar:03d}.tar")) as writer:
            for page in range(2):
                text = f"page {page} of tar {tar} " * 40
                writer.write({"__key__": f"{tar}/{page}", "png": small_image(tar * 2 + page, "png"), "txt": text})
    return folder


@pytest.fixture(scope="module")
def local(tars: Path, tiny_model: Path) -> Path:
    """The same tars, indexed on this machine, with tokens."""
    folder = Path(shutil.copytree(tars, tars.parent / "local"))
    index_folder(folder, tiny_model, workers=1)
    return folder


@contextmanager
def spoiled(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, rate: float, faults: Sequence[str] = READ
) -> Iterator[FaultyProxy]:
    """The server, behind a proxy that flips bytes."""
    with spoiling(server.port, rate=rate, faults=faults, seed=7) as proxy:
        server.use(monkeypatch, url=proxy.url)
        yield proxy


def test_what_is_read_of_a_store_is_what_is_stored(
    tars: Path, local: Path, tiny_model: Path, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = send(s3_server, tars, bucket, "set")
    with spoiled(s3_server, monkeypatch, 0.2) as proxy:
        assert open_storage(url).is_in_clear  # type: ignore[attr-defined]
        index_folder(url, workers=1)
        add_token_column(url, tiny_model)
        report = verify_shards(url, options=VerifyOptions(deep=True, workers=1))
        assert proxy.failed["flipped"] > 5
    assert report.findings == [] and report.num_samples == 32
    assert s3_server.objects(bucket, "set") == files_of(local)


def test_a_letter_that_nothing_else_would_notice(
    tars: Path, local: Path, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tar, pictures and encoding stay whole: a set that was indexed so would be of other texts, and be called sound."""
    url = send(s3_server, tars, bucket, "set")
    with spoiled(s3_server, monkeypatch, 0.3, FLIPPED) as proxy:
        proxy.aim = b"of tar "
        index_folder(url, workers=1)
        assert proxy.flips > 5
    assert Shards.open(url).fingerprint == Shards.open(local).fingerprint


def test_no_tar_is_missed_in_a_listing(
    tars: Path, local: Path, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`x-003.uar` would be passed over."""
    url = send(s3_server, tars, bucket, "set")
    with spoiled(s3_server, monkeypatch, 0.5, FLIPPED) as proxy:
        proxy.aim = b"tar</Key>"
        listed = [open_storage(url).listing() for _ in range(4)]  # type: ignore[attr-defined]
        raw = [[entry.name for page in RawStore(url).entries("") for entry in page] for _ in range(4)]
        assert proxy.flips > 4
    names = sorted(path.name for path in tars.iterdir())
    assert [sorted(names_now) for names_now in listed] == [names] * 4 == raw


@pytest.mark.parametrize("kind", [S3Place, FsspecPlace])
def test_small_files_and_names_of_a_place_are_what_is_stored(
    kind: type[FsspecPlace], s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists of pages to exclude, notes of parts: they have no checksum of their own."""
    lines = b"".join(b'{"key": "page %d"}\n' % number for number in range(50))
    names = [f"list-{number:02}.jsonl" for number in range(12)]
    for name in names:
        s3_server.call("put_object", Bucket=bucket, Key=f"notes/{name}", Body=lines)
    upload = s3_server.call("create_multipart_upload", Bucket=bucket, Key="notes/parts.bin")["UploadId"]
    of = {"Bucket": bucket, "Key": "notes/parts.bin", "UploadId": upload}
    etag = s3_server.call("upload_part", PartNumber=1, Body=lines, **of)["ETag"]
    s3_server.call("complete_multipart_upload", MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}, **of)
    with spoiled(s3_server, monkeypatch, 0.4, FLIPPED) as proxy:
        place, proxy.aim = kind(f"s3://{bucket}/notes"), b"page "
        for name in (names[0], "parts.bin") * 3:
            assert place.read(name) == lines
            place.fetch(name, tmp_path / name)
            assert (tmp_path / name).read_bytes() == lines
        proxy.aim = b"jsonl</Key>"
        for _ in range(4):
            assert [file.name for file in place.files()] == [*names, "parts.bin"]
        assert proxy.flips > 5


def test_what_is_read_of_a_web_server_is_what_is_stored(tars: Path, local: Path, tmp_path: Path) -> None:
    with serving(tars) as server, spoiling(int(server.url.rpartition(":")[2]), rate=0.3, faults=FLIPPED) as proxy:
        index_folder(f"{proxy.url}/x-{{000..015}}.tar", out=tmp_path / "index", workers=1)
        assert proxy.failed["flipped"]
        report = verify_shards(tmp_path / "index", options=VerifyOptions(deep=True, workers=1))
    assert report.findings == [] and report.num_samples == 32
    assert Shards.open(tmp_path / "index").fingerprint == Shards.open(local).fingerprint


def test_raw_pages_of_a_store_are_what_is_stored(
    small_raw: Path,
    tmp_path: Path,
    s3_server: S3Server,
    bucket: str,
    tree_of: Callable[[Path], Tree],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = Path(shutil.copytree(small_raw, tmp_path / "raw"))
    for number in range(6):  # read by ranges, which no ETag vouches for
        rows = "".join(f'{{"text": "row {row} of {number}, {"word " * 50}"}}\n' for row in range(4))
        (raw / f"more-{number}.jsonl").write_text(rows)
    url, options = send(s3_server, raw, bucket, "raw"), MakeShardsOptions(workers=1)
    make_shards(raw, tmp_path / "here", options=options)
    with spoiled(s3_server, monkeypatch, 0.3, FLIPPED) as proxy:
        make_shards(url, tmp_path / "there", options=options)
        assert proxy.failed["flipped"] > 5
    made, expected = tree_of(tmp_path / "there"), tree_of(tmp_path / "here")
    of_place = {".make-shards/input.jsonl": "", "make-shards.json": ""}  # they say where raw pages are, and since when
    assert {**made, **of_place} == {**expected, **of_place}


def test_bytes_that_never_come_twice_are_refused() -> None:
    draw, asked = random.Random(1), list[ByteRange]()

    def read(wanted: ByteRange) -> bytes:
        asked.append(wanted)
        return draw.randbytes(wanted.length)

    with pytest.raises(StorageFailureError, match=r"a\.tar: 16 bytes at byte 32 came otherwise each of 12 times"):
        read_twice(read, ByteRange(name="a.tar", offset=32, length=16))
    assert len(asked) == 12
    stored, answers = bytes(range(40)), [0, 1, 2, 0]

    def damaged(wanted: ByteRange) -> bytes:
        data = bytearray(stored[wanted.offset : wanted.offset + wanted.length])
        data[0] ^= answers.pop(0)
        return bytes(data)

    with ReadAhead(damaged, "a.tar", 40, is_in_clear=True) as ahead:
        assert ahead.read(0, 40) == stored and not answers
