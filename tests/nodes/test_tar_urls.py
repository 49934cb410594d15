"""Which tars a path means."""

from pathlib import Path

import fsspec
import pytest

from wdstream.errors import ConfigError, ShardError
from wdstream.nodes.tar_urls import expand_urls, shard_names


def test_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("b.tar", "a.tar.gz", "notes.txt", "a-08.tar", "a-09.tar", "a-10.tar"):
        (tmp_path / name).touch()
    assert [Path(url).name for url in expand_urls(str(tmp_path))] == [
        "a-08.tar",
        "a-09.tar",
        "a-10.tar",
        "a.tar.gz",
        "b.tar",
    ]
    assert expand_urls(f"{tmp_path}/a-{{08..10}}.tar") == [
        f"{tmp_path}/a-{number}.tar" for number in ("08", "09", "10")
    ]
    assert expand_urls("http://host/{en,de}-{1..2}.tar") == [
        "http://host/en-1.tar",
        "http://host/en-2.tar",
        "http://host/de-1.tar",
        "http://host/de-2.tar",
    ]
    assert expand_urls("pipe:awk '{print $1}' {a,b}.tar") == [
        "pipe:awk '{print $1}' a.tar",
        "pipe:awk '{print $1}' b.tar",
    ]
    assert expand_urls("pipe:printf '\\{ %s' {a..c}") == ["pipe:printf '\\{ %s' {a..c}"]
    assert expand_urls("pipe:cat {{a,b}/{1..2},c}.tar") == [
        f"pipe:cat {x}.tar" for x in ("a/1", "a/2", "b/1", "b/2", "c")
    ]


def test_what_may_be_tars_and_is_not_read_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("sub/x.tar", "b.tar.br", "C.TAR"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ShardError, match=r"no tars in this folder; .*: 'C\.TAR', 'b\.tar\.br', 'sub/'$"):
        expand_urls(str(tmp_path))
    (tmp_path / "a.tar").touch()
    assert expand_urls(str(tmp_path)) == [f"{tmp_path}/a.tar"]
    (message,) = caplog.messages
    assert message == f"{tmp_path}: not read, though there may be tars in it: 'C.TAR', 'b.tar.br', 'sub/'"


def test_folders_and_tars_of_an_object_store() -> None:
    files = fsspec.filesystem("memory")
    files.pipe({"/bucket/tars/b.tar": b"", "/bucket/tars/a.tar.gz": b"", "/bucket/tars/notes.txt": b""})
    try:
        tars = ["memory://bucket/tars/a.tar.gz", "memory://bucket/tars/b.tar"]
        assert expand_urls("memory://bucket/tars") == expand_urls("memory://bucket/tars/") == tars
        assert expand_urls("memory://bucket/{x,y}.tar") == ["memory://bucket/x.tar", "memory://bucket/y.tar"]
        with pytest.raises(ShardError, match="memory://bucket: no tars in this folder"):
            expand_urls("memory://bucket")
        with pytest.raises(ShardError, match="memory://bucket/typo/ is not there"):
            expand_urls("memory://bucket/typo")
        with pytest.raises(ConfigError, match="nowhere://bucket/tars"):
            expand_urls("nowhere://bucket/tars")
    finally:
        files.rm("/bucket", recursive=True)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no tars in this folder; their names end in \.tar"):
        expand_urls(str(tmp_path))
    with pytest.raises(ShardError, match=r"x-2\.tar: no such file; give a folder of tars"):
        (tmp_path / "x-1.tar").touch()
        expand_urls(f"{tmp_path}/x-{{1..3}}.tar")


def test_a_name_outlives_a_move() -> None:
    urls = ["/data/a/x.tar", "https://host/b/y.tar?signature=1", "pipe:cat /data/a/x.tar"]
    assert shard_names(urls) == ["x.tar", "y.tar", "pipe:cat /data/a/x.tar"]
    assert shard_names(["/en/0.tar", "/de/0.tar"]) == ["/en/0.tar", "/de/0.tar"]
    assert shard_names(["/en/0.tar", "/en/0.tar"]) == ["/en/0.tar", "/en/0.tar"]


def test_a_name_has_no_password_and_outlives_one() -> None:
    """It is in pages.jsonl, rejects.jsonl, messages and the state of the stream."""
    urls = ["https://me:{}@host/en/0.tar?sv=1&sig={}", "https://me:{}@host/de/0.tar?sv=1&sig={}"]
    for given in ("old", "new"):
        assert shard_names([url.format(given, given) for url in urls]) == [
            "https://host/en/0.tar?sv=1&sig=***",
            "https://host/de/0.tar?sv=1&sig=***",
        ]
    assert shard_names(["pipe:curl -x http://a:80 me@b 'https://host/0.tar?sig=a%2Bb' | zcat", "/data/1.tar"]) == [
        "pipe:curl -x http://a:80 me@b 'https://host/0.tar?sig=***' | zcat",
        "1.tar",
    ]
    assert shard_names(["https://host/get?token=a", "https://host/get?token=b"]) == [
        "https://host/get?token=***#0",
        "https://host/get?token=***#1",
    ]


def test_what_comes_without_tls_is_said(bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    expand_urls("https://host/a-{0..1}.tar")
    expand_urls("pipe:cat http://host/a.tar")
    assert caplog.messages == []
    expand_urls("http://user:secret@host/a-{0..1}.tar")
    expand_urls(f"s3://{bucket}/a.tar")
    told = (
        ": read without TLS, and once: where a byte of a text or a JPEG is changed on its way, nothing notices "
        "it. Give https://, an endpoint with TLS, or index the tars, after which each page has a checksum"
    )
    assert caplog.messages == [f"http://user:***@host{told}", f"s3://{bucket}{told}"]
