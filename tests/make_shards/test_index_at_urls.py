"""Indexes over tars at URLs: next to them on a store, elsewhere for tars that are only read; the bytes of a local one.

Spans: shards, make_shards.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.s3_server import S3Server
from tests.helpers.stores import files_of, send
from tests.helpers.web_server import serving
from wdstream.errors import ConfigError, ForbiddenFileError, ShardError, ShardIndexError
from wdstream.make_shards import add_token_column, index_folder
from wdstream.shards.reader import Shards

pytest.importorskip("s3fs", reason="needs the extra wdstream[remote]")


@pytest.fixture
def tars(small_shards: Path, tmp_path: Path) -> Path:
    """The tars of the small shards by themselves."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for tar in small_shards.glob("*.tar"):
        shutil.copyfile(tar, folder / tar.name)
    return folder


@pytest.fixture
def local(tars: Path, tiny_model: Path, tmp_path: Path) -> Path:
    """The same tars with an index that was made on this machine, and tokens."""
    folder = tmp_path / "local"
    shutil.copytree(tars, folder)
    index_folder(folder, tiny_model, workers=1)
    return folder


def test_the_index_of_a_store_is_that_of_a_folder(
    tars: Path, local: Path, tiny_model: Path, s3_server: S3Server, bucket: str
) -> None:
    url = send(s3_server, tars, bucket, "set")
    report = index_folder(url, workers=1)
    assert report.index.address == url and report.index.catalog.fingerprint == Shards.open(local).fingerprint
    add_token_column(url, tiny_model)
    assert s3_server.objects(bucket, "set") == files_of(local)
    assert [Shards.open(url).read(row) for row in range(30)] == [Shards.open(local).read(row) for row in range(30)]
    again = index_folder(url, tiny_model, workers=1)
    assert not again.index.is_new and s3_server.objects(bucket, "set") == files_of(local)


def without_address(folder: Path) -> dict[str, object]:
    """What index.json says, but for where the tars are."""
    told: dict[str, object] = json.loads((folder / "index/index.json").read_bytes())
    del told["digest"]
    return {name: value for name, value in told.items() if name != "tars"}


def test_tars_that_are_only_read_have_their_index_elsewhere(tars: Path, local: Path, tmp_path: Path) -> None:
    with serving(tars) as server:
        pattern = f"{server.url}/shard-{{000000..000003}}.tar"
        report = index_folder(pattern, out=tmp_path / "index-of-tars", workers=1)
        assert report.index.catalog.tars == server.url
        opened = Shards.open(tmp_path / "index-of-tars")
        assert opened.fingerprint == Shards.open(local).fingerprint
        assert [opened.read(row) for row in range(30)] == [Shards.open(local).read(row) for row in range(30)]
        assert not index_folder(pattern, out=tmp_path / "index-of-tars", workers=1).index.is_new
    assert without_address(tmp_path / "index-of-tars") == without_address(local) | {
        "columns": without_address(tmp_path / "index-of-tars")["columns"]
    }
    made, wanted = files_of(tmp_path / "index-of-tars"), files_of(local)
    assert {name for name in wanted if name not in made and not name.endswith((".tar", ".idx"))} == {
        name for name in wanted if name.startswith("index/tokens.")
    }
    assert all(wanted[name] == data for name, data in made.items() if name != "index/index.json")


def test_an_index_names_its_tars_wherever_it_is(
    tars: Path, local: Path, tiny_model: Path, tmp_path: Path, s3_server: S3Server, bucket: str
) -> None:
    url = send(s3_server, tars, bucket, "tars")
    place = f"s3://{bucket}/place"
    index_folder(url, tiny_model, out=place, workers=2)
    assert Shards.open(place).tars == url and not Shards.open(local).catalog.tars
    assert [Shards.open(place).read(row) for row in (0, 29)] == [Shards.open(local).read(row) for row in (0, 29)]
    assert s3_server.objects(bucket, "tars") == files_of(tars)
    assert not index_folder(place, workers=1).index.is_new  # by itself: it knows where its tars are
    moved = send(s3_server, tars, bucket, "moved")
    for name in files_of(tars):
        s3_server.call("delete_object", Bucket=bucket, Key=f"tars/{name}")
    with pytest.raises(ShardError, match=f"its tars are at {url}; if they moved: `wdstream index NEW --out {place}`"):
        Shards.open(place).read(0)
    before = s3_server.objects(bucket, "place")
    report = index_folder(moved, out=place, workers=1)
    after = s3_server.objects(bucket, "place")
    assert report.index.catalog.tars == moved and report.index.is_new
    assert {name for name in after if after[name] != before[name]} == {"index/index.json"} and len(after) == len(before)
    assert Shards.open(place).read(3) == Shards.open(local).read(3)


def test_a_local_folder_that_is_only_read(tars: Path, local: Path, tmp_path: Path) -> None:
    index_folder(tars, out=tmp_path / "place", workers=1)
    assert sorted(path.name for path in tars.iterdir()) == [f"shard-00000{n}.tar" for n in range(4)]
    assert Shards.open(tmp_path / "place").tars == str(tars.resolve())
    assert Shards.open(tmp_path / "place").read(7) == Shards.open(local).read(7)
    with pytest.raises(ConfigError, match="holds tars of its own"):
        index_folder(tars, out=local)


def test_what_cannot_be_indexed_says_what_to_do(tars: Path, tmp_path: Path, bucket: str) -> None:
    with serving(tars) as server:
        with pytest.raises(ConfigError, match=r"http:// is only read from.* --out FOLDER_OR_URL"):
            index_folder(server.url)
        with pytest.raises(ShardIndexError, match="is the address right"):
            index_folder(server.url + "/gone", out=tmp_path / "place")
        server.answers["/"] = 403
        with pytest.raises(ForbiddenFileError, match=r"name its tars with braces instead"):
            index_folder(server.url + "/", out=tmp_path / "place")
        with pytest.raises(ShardError, match=r"shard-000009\.tar is not there"):
            index_folder(server.url + "/shard-00000{0,9}.tar", out=tmp_path / "place")
    with pytest.raises(ConfigError, match=r"http://user:\*\*\*@host: .* a password or signature is not written there"):
        index_folder("http://user:secret@host", out=tmp_path / "place")
    with pytest.raises(ConfigError, match="in one folder"):
        index_folder("http://host/{a,b}/x.tar", out=tmp_path / "place")
    with pytest.raises(ShardIndexError, match="no tar at all"):
        index_folder(f"s3://{bucket}/nothing")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "cut.tar").write_bytes(b"cut")
    with pytest.raises(ShardError, match=f"{tmp_path}/bad/cut.tar: the header at byte 0 has 3 of 512 bytes"):
        index_folder(tmp_path / "bad", out=tmp_path / "place", workers=1)
    assert not (tmp_path / "place").exists()
