"""Addresses that are meant as URLs and are none: said, and no folder `s3:` is made of one."""

import os
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.helpers.faulty_proxy import spoiling
from tests.helpers.nginx import serving_nginx
from tests.helpers.s3_server import S3Server
from tests.helpers.web_server import serving
from wdstream.config.schema import DatasetConfig
from wdstream.errors import ConfigError, StorageFailureError
from wdstream.nodes.tar_urls import open_url
from wdstream.storage.addresses import check_address, kept_url, request_for, shown_url, with_account, without_passwords
from wdstream.storage.download import Download
from wdstream.storage.places import local_folder, open_place
from wdstream.storage.remote import FsspecStorage, open_remote, open_storage

STRANGE_NAMES = [
    "a b.tar",
    "a+b.tar",
    "a%20b.tar",
    "100%.tar",
    "%2F.tar",
    "a#b.tar",
    "a?b.tar",
    "a&b=c;d.tar",
    "größe.tar",
]
STRANGE_NAMES += ["a[1].tar", "a*b.tar", "a'b.tar", "日本.tar", "a@b:c.tar", "a  b.tar", "a{b}.tar", "cafe\u0301.tar"]
MISSPELT = {
    "s3:/bucket/x": "s3:/bucket/x: expected s3://BUCKET/FOLDER, found '/' after the colon",
    "s3:bucket/x": "expected s3://BUCKET/FOLDER, found 'b' after the colon",
    "s3:": "found nothing after the colon",
    "s3://": "expected s3://BUCKET/FOLDER, found no bucket",
    "s3:///x": "found no bucket",
    "S3://bucket/x": "expected s3://BUCKET/FOLDER, found S3 in capitals",
    "HTTPS://host/x": "found HTTPS in capitals",
    "http:/host/x": "expected http://HOST/FOLDER",
    "http:/joe:hidden@host/x": "http:/joe:\\*\\*\\*@host/x: expected http://HOST",
    "file:x": "expected file:///FOLDER",
}


@pytest.mark.parametrize("address", MISSPELT)
def test_a_misspelt_url_is_refused_for_reading_and_writing(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for opened in (check_address, local_folder, open_place, open_storage):
        with pytest.raises(ConfigError, match=MISSPELT[address]) as refused:
            opened(address)
        assert "hidden" not in str(refused.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "address", ["s3://bucket", "file:///x", "C:/x", "C:\\x", "a:b", "s3/x", "/tmp/s3:/x", "zip://a::s3://b", "~/x", ""]
)
def test_what_else_may_be_an_address_is_left_alone(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize("folder", ["a b", "a+b", "a%20b", "a#b", "a?b", "größe"])
def test_files_are_found_by_the_names_that_are_listed(
    folder: str, bucket: str, s3_server: S3Server, tmp_path: Path
) -> None:
    """In a store and on a web server, whatever has a meaning in addresses."""
    (tmp_path / "web" / folder).mkdir(parents=True)
    for name in STRANGE_NAMES:
        s3_server.call("put_object", Bucket=bucket, Key=f"{folder}/{name}", Body=name.encode())
        (tmp_path / "web" / folder / name).write_bytes(name.encode())
    with serving_nginx(tmp_path / "web", tmp_path / "work") as web:
        for url in (f"s3://{bucket}/{folder}", f"{web}/{quote(folder)}"):
            storage = FsspecStorage(url)
            assert storage.listing().keys() == {*STRANGE_NAMES}
            assert [storage.read_file(name) for name in STRANGE_NAMES] == [name.encode() for name in STRANGE_NAMES]
            assert [storage.version(name).size for name in STRANGE_NAMES] == [len(n.encode()) for n in STRANGE_NAMES]
    place = open_place(f"s3://{bucket}/{folder}")
    assert {file.name for file in place.files()} == {*STRANGE_NAMES}
    place.write("new/%2F#?.tar", b"1")
    assert s3_server.objects(bucket, folder)["new/%2F#?.tar"] == b"1"


@pytest.mark.parametrize(
    ("address", "shown", "kept"),
    [
        ("https://me:s3c@host/x.tar", "https://me:***@host/x.tar", "https://host/x.tar"),
        (
            "https://b.s3.amazonaws.com/x.tar?X-Amz-Credential=A%2Fb&X-Amz-Date=7&X-Amz-Signature=f00",
            "https://b.s3.amazonaws.com/x.tar?X-Amz-Credential=***&X-Amz-Date=7&X-Amz-Signature=***",
            "https://b.s3.amazonaws.com/x.tar?X-Amz-Credential=***&X-Amz-Date=7&X-Amz-Signature=***",
        ),
        ("https://a.net/x?sv=1&sig=a%2Bb", "https://a.net/x?sv=1&sig=***", "https://a.net/x?sv=1&sig=***"),
        (
            "https://a.net/x?api-key=f00&n_tokens=5",
            "https://a.net/x?api-key=***&n_tokens=5",
            "https://a.net/x?api-key=***&n_tokens=5",
        ),
        ("/data/x?token=5/y", "/data/x?token=5/y", "/data/x?token=5/y"),
        (
            "pipe:curl -s 'http://me:s3c@host/x?sig=f00' | tee a?token=7",
            "pipe:curl -s 'http://me:***@host/x?sig=***' | tee a?token=***",
            "pipe:curl -s 'http://me:***@host/x?sig=***' | tee a?token=***",
        ),
        ("https://host/get?file=7&page=2", "https://host/get?file=7&page=2", "https://host/get?file=7&page=2"),
        ("http://[::1]:80/x@2024.tar", "http://[::1]:80/x@2024.tar", "http://[::1]:80/x@2024.tar"),
        ("s3://bucket/a b?.tar", "s3://bucket/a b?.tar", "s3://bucket/a b?.tar"),
    ],
)
def test_what_gives_a_right_is_neither_shown_nor_kept(address: str, shown: str, kept: str) -> None:
    assert shown_url(address) == shown
    assert kept_url(address) == kept
    if "://" in address:
        assert without_passwords(f"{address}: broke off") == f"{shown}: broke off"
    assert DatasetConfig(path=address).model_dump(mode="json")["path"] == kept
    assert DatasetConfig(path=address).path == address


@pytest.mark.parametrize("name", ["", "x"])
def test_an_address_of_the_new_internet_protocol(tmp_path: Path, name: str) -> None:
    """fsspec takes `::` for a chain of file systems."""
    (tmp_path / "x.tar").write_bytes(b"0123456789")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/x.tar").write_bytes(b"0123456789")
    with serving(tmp_path, host="::1") as server:
        url = f"{server.url}/sub" if name else server.url
        assert server.url.startswith("http://[::1]:")
        assert FsspecStorage(url).read_file("x.tar") == b"0123456789"
        with open_remote(f"{url}/x.tar") as file:
            assert file.read() == b"0123456789"
        with Download(f"{url}/x.tar") as stream:
            assert stream.read() == b"0123456789"


def test_a_proxy_and_a_password_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY and ~/.netrc hold for all that is read of web servers."""
    (tmp_path / "x.tar").write_bytes(b"0123456789")
    (tmp_path / "netrc").write_text("machine store.invalid login me password s3c\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving_nginx(tmp_path, tmp_path / "work") as web, spoiling(int(web.rpartition(":")[2]), rate=0) as proxy:
        monkeypatch.setattr(urllib.request, "_opener", None)  # which keeps what the environment said before
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_address[1]}")
        storage = FsspecStorage("http://store.invalid", skip_instance_cache=True)
        assert storage.read_file("x.tar") == b"0123456789"
        with Download("http://store.invalid/x.tar") as stream:
            assert stream.read() == b"0123456789"
        assert {*proxy.paths} == {"GET http://store.invalid/x.tar"}
        assert {*proxy.accounts} == {"Basic bWU6czNj"}  # me:s3c


def test_a_password_of_the_environment_is_not_added_to_a_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stores refuse both together, and `default` in ~/.netrc is for every server."""
    (tmp_path / "netrc").write_text("default login me password s3c\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert request_for("https://host/x?page=1", {}).unredirected_hdrs == {"Authorization": "Basic bWU6czNj"}
    assert request_for("https://host/x?X-Amz-Signature=f00", {}).unredirected_hdrs == {}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"machine host login m\xe4 password s3c\n", "can't decode byte 0xe4"),
        (b"machine host\nlogin me s3c password\n", "(line "),
        (b"\xef\xbb\xbfmachine host login me password s3c\n", "(line "),
    ],
)
def test_passwords_that_cannot_be_read_are_said_once(
    content: bytes, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "netrc").write_bytes(content)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for _ in range(2):
        assert request_for("https://host/x", {}).unredirected_hdrs == {}
        assert with_account("https://host") == "https://host"
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path}/netrc: not used: it cannot be read")
    assert told in line
    assert "s3c" not in line


def test_a_pipe_in_place_of_netrc_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(tmp_path / "netrc")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert request_for("https://host/x", {}).unredirected_hdrs == {}
    assert [line.partition(";")[0] for line in caplog.messages] == [
        f"{tmp_path}/netrc: not used: it cannot be read (it is no file)"
    ]


@pytest.mark.parametrize("name", [os.devnull, "absent", "link"])
def test_no_netrc_is_no_trouble(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "link").symlink_to(os.devnull)
    monkeypatch.setenv("NETRC", str(tmp_path / name))
    assert request_for("https://host/x", {}).unredirected_hdrs == {}
    assert caplog.messages == []


def test_a_proxy_of_another_kind_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # which keeps what the environment said before
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    try:
        with pytest.raises(StorageFailureError, match=r"unknown url type: socks5.*HTTP_PROXY.* begin with http://"):
            open_url("http://store.invalid/x.tar")
        monkeypatch.setenv("http_proxy", "127.0.0.1:1")
        with pytest.raises(
            StorageFailureError, match=r"cannot be read: InvalidURL: 127\.0\.0\.1:1; .*HTTP_PROXY=http://"
        ):
            FsspecStorage("http://store.invalid", skip_instance_cache=True).read_file("x.tar")
    finally:
        urllib.request._opener = None  # type: ignore[attr-defined]
