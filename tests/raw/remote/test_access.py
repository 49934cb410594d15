"""Raw files by their paths, in a store as on this machine."""

from pathlib import Path

import pytest

from tests.helpers.s3_server import S3Server
from wdstream.errors import ConfigError, RowError
from wdstream.raw.reading import reading
from wdstream.raw.remote.access import (
    STORE_ROOT,
    is_raw_file,
    is_raw_folder,
    local_copy,
    open_raw,
    raw_address,
    raw_folder,
    raw_names,
    raw_state,
    read_raw,
    shown_raw,
)
from wdstream.raw.row_files import is_image_file, resolve_image
from wdstream.raw.settings import RawSettings

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 60


def test_files_of_a_store(s3_server: S3Server, bucket: str) -> None:
    for name in ("a.png", "below/B.png", "below/c.txt"):
        s3_server.call("put_object", Bucket=bucket, Key=f"raw/{name}", Body=PNG)
    s3_server.call("put_object", Bucket=bucket, Key="outside.png", Body=PNG)
    with raw_folder(f"s3://{bucket}/raw") as raw:
        assert raw_address(raw) == shown_raw(raw) == f"s3://{bucket}/raw"
        assert raw_names(raw) == ("a.png", "below")
        assert (is_raw_file(raw / "a.png"), is_raw_file(raw / "below"), is_raw_file(raw / "z.png")) == (
            True,
            False,
            False,
        )
        assert (is_raw_folder(raw), is_raw_folder(raw / "below"), is_raw_folder(raw / "a.png")) == (True, True, False)
        assert read_raw(raw / "a.png") == PNG
        with open_raw(raw / "a.png") as file:
            assert file.read(8) == PNG[:8]
        assert raw_state(raw / "a.png").num_bytes == len(PNG)
        for path in (raw / "../outside.png", raw / "none.png"):
            with pytest.raises(FileNotFoundError):
                read_raw(path)
        with local_copy(raw / "below/c.txt") as copy, reading(raw, RawSettings()) as current:
            assert (copy.name, copy.read_bytes()) == ("c.txt", PNG)
            current.note(copy, b"")
            assert current.take() == {"below/c.txt": "e3b0c44298fc1c149afbf4c8996fb924"}
        assert not copy.exists()


def test_images_that_rows_name(s3_server: S3Server, bucket: str) -> None:
    for name in ("rows/images/A.png", "rows/b.png", "outside.png"):
        s3_server.call("put_object", Bucket=bucket, Key=f"raw/{name}", Body=PNG)
    with raw_folder(f"s3://{bucket}/raw") as raw:
        folder = raw / "rows"
        assert resolve_image(folder, "images/A.png") == folder / "images/A.png"
        assert resolve_image(folder, "images\\a.PNG") == folder / "images/A.png"
        assert is_image_file(folder, "b.png")
        assert not is_image_file(folder, "A sentence that is no name.")
        with pytest.raises(RowError, match="leaves the folder"):
            resolve_image(folder, "../outside.png")
        with pytest.raises(RowError, match=r"the nearest name there is 'b.png'"):
            resolve_image(folder, "bb.png")
        assert resolve_image(folder, "../outside.png", allow_outside=True) == folder / "../outside.png"


def test_folders_of_this_machine_and_what_is_no_folder(tmp_path: Path) -> None:
    for address in (tmp_path, str(tmp_path), f"file://{tmp_path}"):
        with raw_folder(address) as raw:
            assert raw == tmp_path
    with pytest.raises(ConfigError, match="does not list"), raw_folder("http://user:secret@host/raw"):
        pass
    assert not STORE_ROOT.exists()
    with pytest.raises(OSError, match="Not a directory"):
        read_raw(STORE_ROOT / "a.png")
