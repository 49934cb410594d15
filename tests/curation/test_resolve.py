"""A page is found by key, raw file, pattern and beginning of keys; what was refused is found with its reason."""

import io
import shutil
import tarfile
import unicodedata
from pathlib import Path

import pytest

from tests.helpers.command import run
from tests.helpers.web_server import serving
from wdstream.curation.resolve import resolve_in
from wdstream.make_shards import MakeShardsOptions, index_folder, make_shards
from wdstream.shards.describe import TarRules
from wdstream.shards.reader import Shards

GROESSE = "scans/gr__e-"
NO_TEXT = "scans/bare.png is in quarantine: no text: no text file beside it; see {}/quarantine.jsonl"


@pytest.fixture(scope="module")
def shards(mixed: Path) -> Shards:
    return Shards.open(mixed)


def found(shards: Shards, name: str) -> tuple[str, list[str]]:
    (one,) = resolve_in([shards], name)
    return one.how, [shards.key(row).partition(GROESSE)[1] or shards.key(row) for row in one.rows]


@pytest.mark.parametrize(
    ("name", "how", "keys"),
    [
        ("scans/a", "key", ["scans/a"]),
        ("rows/mixed@000004", "key", ["rows/mixed@000004"]),
        ("scans/a.png", "raw file", ["scans/a"]),
        ("a.png", "raw file", ["old/a", "scans/a"]),
        ("/data/raw/scans/a.png", "raw file", ["scans/a"]),
        ("./scans//a.png", "raw file", ["scans/a"]),
        ("scans/b.v2.png", "raw file", ["scans/b_v2"]),
        ("b.v2.png", "raw file", ["scans/b_v2"]),
        ("b.v2", "raw file", ["scans/b_v2"]),
        ("scans/größe.png", "raw file", [GROESSE]),
        (unicodedata.normalize("NFD", "größe.png"), "raw file", [GROESSE]),
        ("rows/mixed.jsonl", "raw file", ["rows/mixed@000001", "rows/mixed@000002", "rows/mixed@000004"]),
        ("mixed", "raw file", ["rows/mixed@000001", "rows/mixed@000002", "rows/mixed@000004"]),
        ("mixed.jsonl:4", "raw file", ["rows/mixed@000004"]),
        ("mixed.jsonl@0004", "raw file", ["rows/mixed@000004"]),
        ("mixed@2", "raw file", ["rows/mixed@000002"]),
        ("scans/*", "pattern", ["scans/a", "scans/b_v2", GROESSE]),
        ("?.png", "pattern", ["old/a", "scans/a"]),
        ("*[0-9]@*", "", []),
        ("rows/m", "beginning of keys", ["rows/mixed@000001", "rows/mixed@000002", "rows/mixed@000004"]),
        ("scans/", "beginning of keys", ["scans/a", "scans/b_v2", GROESSE]),
        *(
            (name, "", [])
            for name in ("", "/", ".", "..", "[", "a[", ":3", "@1", "\udcff", "x" * 5000, "mixed:9", "\x1b")
        ),
    ],
)
def test_what_a_name_stands_for(shards: Shards, name: str, how: str, keys: list[str]) -> None:
    assert found(shards, name) == (how, keys)


@pytest.mark.parametrize("name", ["scans/bare.png", "bare.png", "bare", "scans/bare", "raw/scans/bare.png", "bare.*"])
def test_a_page_in_quarantine_is_found_with_its_reason(shards: Shards, mixed: Path, name: str) -> None:
    (one,) = resolve_in([shards], name)
    assert [*one.remarks(shards)] == [NO_TEXT.format(mixed)]
    assert (one.rows, one.near) == ((), ())


def test_a_raw_file_of_which_some_pages_are_in_quarantine(shards: Shards, mixed: Path) -> None:
    (one,) = resolve_in([shards], "mixed.jsonl")
    about, refused = one.remarks(shards)
    assert about == "mixed.jsonl: 3 pages of a raw file: rows/mixed@000001, rows/mixed@000002, rows/mixed@000004"
    assert refused.startswith("rows/mixed.jsonl:3 is in quarantine: 0 images, but the text has")
    for name in ("mixed.jsonl:3", "rows/mixed@000003"):
        (one,) = resolve_in([shards], name)
        assert (one.rows, [page.page for page in one.refused]) == ((), [3])


def test_nearest_names_are_named(shards: Shards) -> None:
    near = {name: resolve_in([shards], name)[0].near for name in ("scans/b.v3.png", "SCANS/A.PNG", "rows/mixt@000002")}
    assert near["scans/b.v3.png"][0] == "scans/b.v2.png"
    assert near["SCANS/A.PNG"][0] == "scans/a.png"
    assert near["rows/mixt@000002"][0] == "rows/mixed@000002"


def test_a_key_in_one_set_is_not_less_in_another(shards: Shards, mixed: Path, tmp_path: Path) -> None:
    """In the second set the same name is the beginning of other keys."""
    (tmp_path / "raw" / "scans").mkdir(parents=True)
    (tmp_path / "raw" / "scans" / "abc.jsonl").write_text('{"text": "x"}\n')
    make_shards(tmp_path / "raw", tmp_path / "shards", options=MakeShardsOptions(workers=1))
    other = Shards.open(tmp_path / "shards")
    assert [one.how for one in resolve_in([shards, other], "scans/a")] == ["key", ""]
    assert [one.how for one in resolve_in([shards, other], "scans/ab")] == ["", "beginning of keys"]


def test_sets_without_what_is_next_to_the_tars(mixed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Keys are read from the headers then, at an address too; it is said, since it takes longer."""
    copy = Path(shutil.copytree(mixed, tmp_path / "copy"))
    for path in copy.glob("*.meta.npz"):
        path.unlink()
    with serving(copy) as server:
        for place in (str(copy), server.url):
            assert found(Shards.open(place), "scans/") == ("beginning of keys", ["scans/a", "scans/b_v2", GROESSE])
    assert sum("keys are read from the tars, one by one" in record.message for record in caplog.records) == 2


def test_tars_of_others(tmp_path: Path) -> None:
    """Dotted keys, keys with the name of their tar, a sample that is left out: all are found by the names of files."""
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name, data in (("x/my page.v2.txt", b"text"), ("x/other.txt", b"more"), ("x/bad.jpg", b"no image")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    index_folder(tmp_path, rules=TarRules(keys="dotted", prefix_keys=True), workers=1)
    shards = Shards.open(tmp_path)
    assert found(shards, "my page.v2.txt") == ("raw file", ["t.tar/x/my page.v2"])
    assert found(shards, "x/other.txt") == ("raw file", ["t.tar/x/other"])
    assert found(shards, "t.tar/x/other") == ("key", ["t.tar/x/other"])
    (one,) = resolve_in([shards], "bad.jpg")
    assert [(page.page, page.place) for page in one.refused] == [("t.tar/x/bad", "t.tar")]
    assert "t.tar/x/bad in t.tar is left out of the index: " in run("extract", tmp_path, "bad.jpg").stderr


def test_more_raw_files_than_a_column_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixed: Path) -> None:
    """Then the paths are not a column, and the keys that make-shards makes from them are looked for."""
    monkeypatch.setattr("wdstream.shards.metadata.MAX_DISTINCT", 1)
    make_shards(mixed.parent / "raw", tmp_path / "shards", options=MakeShardsOptions(pages_per_shard=3, workers=1))
    shards = Shards.open(tmp_path / "shards")
    assert "source" not in shards.metadata
    for name in ("scans/b.v2.png", "b.v2.png", "b.v2"):
        assert found(shards, name) == ("raw file", ["scans/b_v2"])
    assert found(shards, "scans/größe.png") == ("raw file", [GROESSE])
    assert found(shards, "mixed.jsonl:2") == ("raw file", ["rows/mixed@000002"])
