"""An index is what was written: a changed bit, an absent, a forbidden and a failing column are errors that name it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.fake_shards import pages, write_shards
from tests.helpers.paths import ROOT
from tests.helpers.web_server import Server, serving
from wdstream.errors import ForbiddenFileError, ShardError, ShardIndexError, StorageFailureError
from wdstream.shards.catalog import Catalog, catalog_from_json
from wdstream.shards.column_files import BLOCK, damaged_blocks, entry_of, map_column, show_ranges
from wdstream.shards.index import merge_index
from wdstream.shards.reader import Shards
from wdstream.shards.token_columns import write_paragraphs, write_token_column
from wdstream.storage.remote import FsspecStorage

NAME = "ab" * 8
CONTENT = {"s-0.tar": pages("a", 3), "s-1.tar": pages("b", 2)}


def use(shards: Shards) -> list[bytes]:
    """Every column, as bytes."""
    names = ("shard", "offset", "nbytes", "crc", "num_images", "image_start", "image_width", "image_height")
    columns = [getattr(shards, name) for name in (*names, "text_bytes", "text_chars", "starts_with_text", "key_hash")]
    columns += [shards.tokens(NAME), shards.supervised(NAME), *shards.paragraphs(NAME)]
    return [column.tobytes() for column in columns]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shards = write_shards(tmp_path / "f", CONTENT)
    merge_index(shards)
    write_token_column(shards, NAME, [1, 2, 3, 4, 5], [1, 2, 0, 0, 5])
    with write_paragraphs(shards, NAME) as writer:
        writer.add([[1], [], [1, 2], [4], [2, 3]])
    return shards


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as server:
        yield server


@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_a_flipped_bit_anywhere_is_an_error_that_names_the_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    base = tmp_path_factory.getbasetemp() / "whole"
    if not base.exists():
        shards = write_shards(base, CONTENT)
        merge_index(shards)
        write_token_column(shards, NAME, [1, 2, 3, 4, 5], [1, 2, 0, 0, 5])
        with write_paragraphs(shards, NAME) as writer:
            writer.add([[1], [], [1, 2], [4], [2, 3]])
    name = data.draw(st.sampled_from(sorted(path.name for path in (base / "index").iterdir())))
    content = bytearray((base / "index" / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    folder = tmp_path_factory.mktemp("flipped")
    shutil.copytree(base / "index", folder / "index")
    (folder / "index" / name).write_bytes(content)
    if name == "index.json" and json.loads((base / "index" / name).read_bytes()) == _parsed(content):
        return  # a space became another: the same list
    with pytest.raises(ShardIndexError, match=name.replace(".", r"\.")):
        use(Shards.open(folder))


def _parsed(content: bytearray) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


def test_rows_of_the_damage_and_the_remedy_are_named(folder: Path) -> None:
    for name, where in (("crc", "rows 0 to 4"), ("image_width", "images 0 to 4")):
        path = folder / "index" / f"{name}.npy"
        content = bytearray(path.read_bytes())
        content[-1] ^= 4
        path.write_bytes(content)
        message = rf"{name}\.npy of the index of .* is damaged in {where}: .*; run `wdstream index {folder}`"
        with pytest.raises(ShardIndexError, match=message):
            use(Shards.open(folder))
        report = merge_index(folder)
        assert report.notes == (f"written again from the shards: {name}.npy was damaged in {where}",)
        use(Shards.open(folder))


def test_ranges_of_a_long_column(tmp_path: Path) -> None:
    array = np.arange(10 * BLOCK + 5, dtype="<i4")
    entry = entry_of(array)
    np.save(tmp_path / "x.npy", array)
    assert damaged_blocks(map_column(tmp_path / "x.npy", entry), entry) == []
    for place in (0, BLOCK, 3 * BLOCK, 5 * BLOCK + 1, 10 * BLOCK + 4):
        array[place] ^= 1
    np.save(tmp_path / "x.npy", array)
    runs = damaged_blocks(map_column(tmp_path / "x.npy", entry), entry)
    assert runs == [(0, 32767), (49152, 65535), (81920, 98303), (163840, 163844)]
    assert show_ranges(runs, "rows") == "rows 0 to 32767, 49152 to 65535, 81920 to 98303 and 1 more ranges"


def test_a_damaged_token_column_is_removed_and_never_taken_for_all_supervised(folder: Path) -> None:
    path = folder / "index" / f"supervised.{NAME}.npy"
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)
    with pytest.raises(ShardIndexError, match=r"supervised\..* is damaged in rows 0 to 4: .* count again with `wdstre"):
        Shards.open(folder).supervised(NAME)
    report = merge_index(folder)
    assert report.is_new is False
    assert "supervised.abababababababab.npy was damaged in rows 0 to 4; count again" in report.notes[0]
    shards = Shards.open(folder)
    with pytest.raises(ShardIndexError, match="no token counts of the tokenizer"):
        shards.tokens(NAME)
    assert shards.paragraphs(NAME)[1].tolist() == [1, 1, 2, 4, 2, 3]
    path.write_bytes(content)  # not listed: not there, whatever file there is
    assert Shards.open(folder).supervised(NAME) is None


@pytest.mark.parametrize("name", [f"supervised.{NAME}", f"tokens.{NAME}", "text_chars"])
@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (404, ShardIndexError, r"{name}\.npy of the index of http.* is listed in index\.json and is not there; copy"),
        (403, ForbiddenFileError, r"{name}\.npy may not be read \(ClientResponseError: 403.*check credentials"),
        (
            503,
            StorageFailureError,
            r"{name}\.npy cannot be read, after 2 attempts: ClientResponseError: 503.*again",
        ),
    ],
)
def test_remote_absent_forbidden_and_failing(
    server: Server, name: str, status: int, error: type[ShardError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FsspecStorage.__init__, "__kwdefaults__", {"attempts": 2, "first_wait_s": 0.01})
    server.answers[f"/index/{name}.npy"] = status
    with pytest.raises(error, match=message.format(name=name)) as caught:
        use(Shards.open(server.url))
    assert "wdstream index" not in str(caught.value)
    server.answers.clear()
    server.answers["/index/index.json"] = status
    advises_an_index = "run `wdstream index" if status == 404 else rf"index\.json.* {status}"
    with pytest.raises(ShardError, match=advises_an_index) as caught:
        Shards.open(server.url)
    assert ("wdstream index" in str(caught.value)) == (status == 404)


def test_remote_changed(server: Server, folder: Path) -> None:
    path = folder / "index" / f"supervised.{NAME}.npy"
    path.write_bytes(path.read_bytes()[:-4] + b"\1\0\0\0")
    with pytest.raises(ShardIndexError, match=r"is damaged in rows 0 to 4: not what was written; copy index/ again"):
        use(Shards.open(server.url))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ShardIndexError, match=r"is damaged: 148 bytes expected, found 144; copy index/ again"):
        use(Shards.open(server.url))


OPENED_BY_ANOTHER_USER = """
import os, sys
from wdstream.shards.reader import Shards
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    Shards.open(sys.argv[1]).supervised("ab" * 8)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("name", ["index.json", f"supervised.{NAME}.npy", "crc.npy", ""])
def test_a_file_of_another_user_is_forbidden_not_absent(name: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as open_to_all:  # pytest's folders are its user's alone
        Path(open_to_all).chmod(0o755)
        copy = shutil.copytree(folder, Path(open_to_all) / "f")
        closed = copy / "index" / name if name else copy
        closed.chmod(0)
        command = [sys.executable, "-c", OPENED_BY_ANOTHER_USER, str(copy)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ForbiddenFileError"), done.stdout + done.stderr
    assert f"{name} may not be read (Permission denied): give this user the right" in done.stdout
    assert "wdstream index" not in done.stdout


def rewrite(folder: Path, name: str, change: Callable[[np.ndarray], None]) -> None:
    """Change a column as a foreign writer would, who lists what it wrote."""
    path, listing = folder / "index" / f"{name}.npy", folder / "index" / "index.json"
    array = np.load(path)
    change(array)
    np.save(path, array)
    catalog: Catalog = catalog_from_json(listing.read_bytes(), "", "")
    listing.write_bytes(catalog.with_columns({name: entry_of(array)}).to_json())


@pytest.mark.parametrize(
    ("name", "row", "value", "message"),
    [
        (f"tokens.{NAME}", 3, -1, "holds -1 in row 3 (1 such entries); at least 0 expected"),
        (f"supervised.{NAME}", 2, 9, "holds 9 in row 2 (1 such entries); no more than all tokens expected"),
        (f"paragraphs.{NAME}", 1, -5, "holds -5 in paragraph 1 (1 such entries); at least 0 expected"),
        (f"paragraph_start.{NAME}", 2, 0, "holds 0 in row 1 (1 such entries); each row to begin where"),
        (f"paragraph_start.{NAME}", 5, 9, "goes from 0 in row 0 to 9 in row 5; 0 to 6 expected"),
        ("image_width", 4, 0, "holds 0 in image 4 (1 such entries); at least 1 expected"),
        ("image_height", 0, -3, "holds -3 in image 0"),
        ("image_start", 2, 7, "holds 7 in row 1 (2 such entries); each row to begin where"),
        ("image_start", 5, 6, "goes from 0 in row 0 to 6 in row 5; 0 to 5 expected"),
        ("num_images", 1, -1, "holds -1 in row 1"),
        ("shard", 1, 2, "holds 2 in row 1 (1 such entries); at least 0 and at most 1 expected"),
        ("shard", 1, 1, "holds 1 in row 1 (1 such entries); the shard of the row expected"),
        ("offset", 4, -512, "holds -512 in row 4"),
        ("offset", 4, 1 << 62, "nbytes.npy of the index"),
        ("nbytes", 0, 1 << 62, "in row 0 (1 such entries); a sample inside its tar expected"),
        ("text_chars", 2, 1000, "holds 1000 in row 2 (1 such entries); no more characters than bytes"),
        ("starts_with_text", 2, 7, "holds 7 in row 2 (1 such entries); at least 0 and at most 1 expected"),
    ],
)
def test_entries_that_cannot_be_are_named(folder: Path, name: str, row: int, value: int, message: str) -> None:
    rewrite(folder, name, lambda array: array.__setitem__(row, value))
    with pytest.raises(ShardIndexError) as caught:
        use(Shards.open(folder))
    assert message in str(caught.value)
    assert str(folder) in str(caught.value)


def make_old(folder: Path) -> None:
    """The index as wdstream wrote it before columns were listed."""
    path = folder / "index" / "index.json"
    value = json.loads(path.read_bytes()) | {"schema_version": 1}
    del value["columns"], value["digest"]
    path.write_bytes(json.dumps(value, indent=1).encode() + b"\n")


def test_an_index_of_before_names_the_command_which_keeps_the_counts(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in (folder / "index").iterdir()}
    make_old(folder)
    with pytest.raises(ShardIndexError, match=rf"earlier wdstream .*: run `wdstream index {folder}`, which takes sec"):
        Shards.open(folder)
    report = merge_index(folder)
    assert report.is_new
    assert report.notes[0].startswith(f"token columns of {NAME} kept as they are: they had no digest until now")
    assert {path.name: path.read_bytes() for path in (folder / "index").iterdir()} == before


@pytest.mark.parametrize(
    ("name", "row", "value", "message"),
    [
        ("tokens", 3, 1 << 20, "counts 1048576 tokens in the 17 bytes of row 3"),
        ("tokens", 3, -1, f"tokens.{NAME} holds -1 in row 3"),
        ("supervised", 1, 50, f"supervised.{NAME} holds 50 in row 1"),
        ("paragraph_start", 1, -1, f"paragraph_start.{NAME} holds -1 in row 1"),
    ],
)
def test_counts_of_before_that_cannot_be_true_are_removed(
    folder: Path, name: str, row: int, value: int, message: str
) -> None:
    make_old(folder)
    path = folder / "index" / f"{name}.{NAME}.npy"
    array = np.load(path)
    array[row] = value
    np.save(path, array)
    (note,) = merge_index(folder).notes
    assert message in note
    assert "count again with `wdstream lengths" in note
    assert not list((folder / "index").glob(f"*.{NAME}.npy"))


def test_changed_shards_are_named_when_the_index_is_made_again(folder: Path) -> None:
    write_shards(folder, {"s-1.tar": pages("b", 2, payload=900)})
    assert merge_index(folder).notes == ("1 shards are not as the index before listed them: s-1.tar",)
    for path in folder.glob("s-0.*"):
        path.unlink()
    assert merge_index(folder).notes == ("1 shards of the index before are not there: s-0.tar",)
