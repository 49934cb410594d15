"""Stores that cannot be reached as they are set up: one line that says what to install or to set, and at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.faulty_proxy import spoiling
from tests.helpers.s3_server import S3Server
from wdstream.errors import ConfigError, ForbiddenFileError, StorageFailureError
from wdstream.storage.places import local_folder, open_place
from wdstream.storage.remote import FsspecStorage, open_storage
from wdstream.storage.writes.s3_place import S3Place

WITHOUT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from wdstream.errors import ConfigError
from wdstream.storage.places import open_place
from wdstream.storage.remote import open_storage
for opened in (open_place, open_storage):
    try:
        opened(sys.argv[2])
    except ConfigError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("absent", "url", "command"),
    [
        ("fsspec", "s3://bucket/x", "pip install 'wdstream[s3]'"),
        ("s3fs", "s3://bucket/x", "pip install 'wdstream[s3]'"),
        ("s3fs,aiobotocore", "s3://bucket/x", "pip install 'wdstream[s3]'"),
        ("fsspec", "memory://x", "pip install 'wdstream[remote]'"),
        ("gcsfs", "gs://bucket/x", "pip install 'wdstream[google]'"),
        ("adlfs", "az://bucket/x", "pip install 'wdstream[azure]'"),
    ],
)
def test_what_is_not_installed_comes_with_its_command(absent: str, url: str, command: str) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT, absent, url], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [line.rpartition("; ")[2] for line in lines] == [f"run {command}"] * 2
    assert all(line.startswith(url) for line in lines)


@pytest.mark.parametrize("address", ["s3:/bucket/x", "s3:bucket/x", "gs:/bucket", "s3://", "s3:///"])
def test_an_address_without_a_slash_or_a_bucket_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"expected (s3|gs)://BUCKET/FOLDER"):
        open_place(address)


def test_a_file_url_of_the_working_directory_is_refused() -> None:
    """It was written to in the root folder, and read in the working directory."""
    for opened in (open_place, open_storage):
        with pytest.raises(ConfigError, match=r"file://out: expected file:///FOLDER, found two slashes"):
            opened("file://out")


@pytest.mark.parametrize("end", ["?sig=abc%2F", "#top"])
def test_a_folder_of_a_web_server_has_no_query(end: str) -> None:
    with pytest.raises(ConfigError, match=r"http://u:\*\*\*@host/x[?#].*: a folder's address cannot have [?] or #"):
        open_storage(f"http://u:secret@host/x{end}")


def test_a_plug_in_that_connects_at_once_fails_with_a_line() -> None:
    with pytest.raises(StorageFailureError, match=r"ftp://127\.0\.0\.1:1/x cannot be opened.*refused"):
        open_storage("ftp://127.0.0.1:1/x")


def test_names_of_folders_may_have_colons() -> None:
    assert local_folder("s3/bucket:x") == Path("s3/bucket:x")
    assert local_folder("scans:/x") == Path("scans:/x")


def test_an_unknown_protocol_names_some_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"s4; is the address right[?] Stores are s3://"):
        FsspecStorage("s4://bucket/x")


def without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_") and "ENDPOINT" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))


def test_forgotten_credentials_are_said(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_credentials(monkeypatch, tmp_path)
    storage = FsspecStorage("s3://bucket/none", attempts=1, skip_instance_cache=True)
    with pytest.raises(ForbiddenFileError, match=r"Unable to locate credentials.*check credentials"):
        storage.size("x")


def test_a_profile_that_is_not_there_is_not_tried_again(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_credentials(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    storage = FsspecStorage("s3://bucket/profile", first_wait_s=1e9, skip_instance_cache=True)
    with pytest.raises(StorageFailureError, match=r"read: ProfileNotFound.* \(nobody\).*AWS_PROFILE, ...\) right[?]"):
        storage.size("x")


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ("PermanentRedirect", StorageFailureError, "the bucket is in another region: set AWS_DEFAULT_REGION"),
        ("AuthorizationHeaderMalformed", StorageFailureError, "the bucket is in another region"),
        ("ExpiredToken", ForbiddenFileError, "the credentials have expired, or are no longer valid: get new ones"),
        ("RequestTimeTooSkewed", ForbiddenFileError, "the clock of this machine is wrong: set it"),
        ("InvalidObjectState", ForbiddenFileError, "the object is archived: restore it"),
        ("QuotaExceeded", StorageFailureError, "the store is full: make room there, or raise its quota"),
        ("501", StorageFailureError, "are the address and the settings of the storage"),
    ],
)
def test_what_a_store_refuses_for_good_is_asked_once_and_says_what_helps(
    bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, said: str, kind: type[Exception], told: str
) -> None:
    """All but the clock's and the archive's were sent ten times, and for minutes."""
    with spoiling(s3_server.port, rate=1, faults=(said,)) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        for ask in (
            lambda: FsspecStorage(f"s3://{bucket}/refused", first_wait_s=1e9).read_file("x"),
            lambda: open_place(f"s3://{bucket}/refused").read("x"),
            lambda: open_place(f"s3://{bucket}/refused").write("x", b"1"),
        ):
            before = len(proxy.paths)
            with pytest.raises(kind, match=told):
                ask()
            again = said == "PermanentRedirect"  # by botocore, in the region that the answer names
            assert len(proxy.paths) == before + 1 + again


@pytest.mark.parametrize("said", ["RequestTimeout", "BadDigest", "503"])
def test_what_comes_late_or_damaged_to_a_store_is_sent_again(
    bucket: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    with spoiling(s3_server.port, rate=0.5, faults=(said,)) as proxy:
        s3_server.use(monkeypatch, url=proxy.url)
        place = S3Place(f"s3://{bucket}/late", first_wait_s=0.001)
        for name in "abcdefgh":
            place.write(name, name.encode())
        assert [place.read(name) for name in "abcdefgh"] == [name.encode() for name in "abcdefgh"]
        assert proxy.failed[said]
