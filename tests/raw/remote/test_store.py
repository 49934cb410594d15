"""The store of a raw folder: its listing in pages, whole objects that are what the store says."""

import hashlib
import random
from pathlib import Path

import pytest

from tests.helpers.faulty_server import failing
from tests.helpers.s3_server import S3Server
from wdstream.raw.remote.store import RawStore, StoredState, StoreEntry


def test_entries_come_in_pages_with_folders_and_without_marks(s3_server: S3Server, bucket: str) -> None:
    names = [f"raw/{number:04d}.txt" for number in range(1001)]
    for name in [*names, "raw/", "raw/below/", "raw/below/a.png", "raw/other/b.png", "beside.txt"]:
        s3_server.call("put_object", Bucket=bucket, Key=name, Body=b"" if name.endswith("/") else name.encode())
    store = RawStore(f"s3://{bucket}/raw")
    pages = [*store.entries("")]
    assert len(pages) == 2
    entries = [entry for page in pages for entry in page]
    assert sorted(entry.name for entry in entries if entry.state is None) == ["below", "other"]
    files = {entry.name: entry.state for entry in entries if entry.state is not None}
    assert sorted(f"raw/{name}" for name in files) == names
    assert files["0007.txt"] == store.state("0007.txt")
    assert files["0007.txt"] == StoredState(12, hashlib.md5(b"raw/0007.txt").hexdigest())
    assert [*store.entries("below/")] == [[StoreEntry("a.png", store.state("below/a.png"))]]
    for missing in ("none.txt", "below/none.txt"):
        with pytest.raises(FileNotFoundError):
            store.state(missing)


def test_flipped_bytes_are_asked_for_again(tmp_path: Path) -> None:
    content = random.Random(0).randbytes(50_000)
    (tmp_path / "a.png").write_bytes(content)
    (tmp_path / "empty.txt").touch()
    with failing(tmp_path, rate=0.3, faults=("flipped", "half", "reset", "500"), seed=2) as server:
        store = RawStore(server.url)
        state = StoredState(len(content), hashlib.md5(content).hexdigest())
        assert all(store.fetch_whole("a.png", state) == content for _ in range(30))
        assert server.failed["flipped"]
        assert store.fetch_whole("empty.txt", StoredState(0, "")) == b""


def test_versions_that_are_no_md5_are_taken_at_their_word(tmp_path: Path) -> None:
    """As of objects that a key of KMS encrypts: their ETag looks like an MD5, and is another one."""
    (tmp_path / "a.png").write_bytes(b"content")
    with failing(tmp_path, rate=0.0, faults=("500",), seed=0) as server:
        store = RawStore(server.url)
        assert store.fetch_whole("a.png", StoredState(7, "0" * 32)) == b"content"
        assert store.fetch_whole("a.png", StoredState(5, "")) == b"content", "of another size since it was listed"
