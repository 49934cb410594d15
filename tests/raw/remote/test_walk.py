"""A raw folder in a store is listed as the same folder of this machine is."""

from pathlib import Path

import pytest

from tests.helpers.faulty_proxy import spoiling
from tests.helpers.s3_server import S3Server
from wdstream.raw.listing import list_files
from wdstream.raw.remote.access import raw_folder

FILES = (
    *("b/page.png", "b/page.txt", "a.png", "a/z.png", "a/z.gt.txt", "a/page/z.xml", "a.b/c.tif", "a-b/d.png"),
    *("rows/x.jsonl", "rows/images/1.png", "rows/images/2.png", "texts/b/page.md", "left.xyz", ".hidden/e.png"),
    *("old/make-shards.json", "old/shard-000000.tar", "t/0.tar", "t/0.tar.gz", "é à/f.png", "a/.dot.png", "c/page.txt"),
)


def test_listing_is_that_of_the_folder(s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number, name in enumerate(FILES):
        path = raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = b'{"text": "row"}\n' * number if name.endswith("jsonl") else b"." * number
        path.write_bytes(content)
        s3_server.call("put_object", Bucket=bucket, Key=f"deep/raw/{name}", Body=content)
    here = list_files(raw, text_from=("texts/",))
    with raw_folder(f"s3://{bucket}/deep/raw/") as folder:
        there = list_files(folder, text_from=("texts/",))
        state = list_files(folder, text_from=("texts/",)).state
        without = list_files(folder, exclude=Path("s3://elsewhere"))
        assert state == there.state
    assert there.files == here.files
    assert [file.near for file in there.files] == [file.near for file in here.files]
    assert there.digest == here.digest
    assert without.files == list_files(raw).files
    for name in ("left_to_rows", "ignored", "outputs", "unreadable", "texts_left"):
        assert getattr(there, name) == getattr(here, name), name
    assert there.stamps.keys() == here.stamps.keys()


def test_names_that_no_file_system_has_cost_themselves(s3_server: S3Server, bucket: str) -> None:
    """Also in the raw folder itself, whose other files are listed."""
    for name in ("/b.png", "a//c.png", "x/../d.png", "a.png", "b.png/"):
        s3_server.call("put_object", Bucket=bucket, Key=f"raw/{name}", Body=b"")
    s3_server.call("put_object", Bucket=bucket, Key="raw/c.png/", Body=b"content, where b.png/ only marks a folder")
    with raw_folder(f"s3://{bucket}/raw") as folder:
        found = list_files(folder)
    assert [file.path for file in found.files] == ["a.png"]
    assert [path for path, _ in found.unreadable] == ["/", "a//", "c.png//", "x/.."]


def test_a_file_that_may_not_be_looked_into_is_no_file_of_no_use(
    s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first bytes would say whether it has rows; so whoever surveys it says that it cannot be read."""
    for name in ("a.csv", "b.json", "c.json", "d.txt"):
        s3_server.call("put_object", Bucket=bucket, Key=f"raw/{name}", Body=b"{}")
    with spoiling(s3_server.port, rate=0) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        for forbidden, expected in (("a.csv", ["a.csv"]), ("b.json", ["b.json"]), ("d.txt", [])):
            proxy.forbidden = forbidden
            with raw_folder(f"s3://{bucket}/raw") as folder:
                assert [file.path for file in list_files(folder).files] == expected
