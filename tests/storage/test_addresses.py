"""Addresses that are meant as URLs and are none: said, and no folder `s3:` is made of one."""

from pathlib import Path

import pytest

from wdstream.errors import ConfigError
from wdstream.storage.addresses import check_address
from wdstream.storage.places import local_folder, open_place
from wdstream.storage.remote import open_storage

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
