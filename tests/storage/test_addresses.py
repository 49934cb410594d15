"""Addresses that are meant as URLs and are none: said, and no folder `s3:` is made of one."""

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.helpers.nginx import serving_nginx
from tests.helpers.s3_server import S3Server
from wdstream.errors import ConfigError
from wdstream.storage.addresses import check_address
from wdstream.storage.places import local_folder, open_place
from wdstream.storage.remote import FsspecStorage, open_storage

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
