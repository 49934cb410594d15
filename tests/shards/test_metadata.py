"""Metadata of pages as columns of an index: kinds, absent values, what is left out and why, shards of before."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.fake_shards import fake_image, measure
from wdstream.errors import ShardIndexError
from wdstream.records import Page
from wdstream.shards import metadata as metadata_module
from wdstream.shards.index import IndexReport, merge_index
from wdstream.shards.meta import load_meta
from wdstream.shards.metadata import MAX_CHARS, PageMetadata, ShardMetadata
from wdstream.shards.page_members import page_from_members
from wdstream.shards.reader import Shards
from wdstream.shards.tar_folder import TarFolder
from wdstream.shards.token_columns import write_token_column
from wdstream.shards.writer import SampleEntry, ShardWriter

Metas = list[dict[str, Any]]


def write(folder: Path, shards: Mapping[str, Metas]) -> Path:
    """Shards of pages with this metadata."""
    folder.mkdir(exist_ok=True)
    for name, metas in shards.items():
        with ShardWriter(folder / name) as writer:
            for number, meta in enumerate(metas):
                members = {"jpg": fake_image(10, 20), "txt": b"text", "json": json.dumps(meta).encode()}
                page = page_from_members(f"{name[:-4]}/p{number}", members)
                writer.add(page.key, members, SampleEntry.of(page, [(10, 20)]))
    return folder


def column(shards: Shards, name: str) -> list[Any]:
    found: list[Any] = np.ma.masked_array(shards.metadata[name][np.arange(len(shards))]).tolist()
    return found


TWO: dict[str, Metas] = {
    "a.tar": [{"language": "de", "year": 1998, "share": 1, "ok": True}, {"language": "en", "share": 0.5}],
    "b.tar": [{"year": -3, "ok": None, "share": 2}, {"language": "ar", "ok": False, "empty": ""}],
}


def test_kinds_and_absent_values(tmp_path: Path) -> None:
    report = merge_index(write(tmp_path / "f", TWO))
    assert {name: (entry.kind, entry.absent) for name, entry in report.catalog.metadata.columns.items()} == {
        "empty": ("text", 3),
        "language": ("text", 1),
        "ok": ("bool", 2),
        "share": ("float", 1),
        "year": ("int", 2),
    }
    shards = Shards.open(tmp_path / "f")
    assert column(shards, "language") == ["de", "en", None, "ar"]
    assert column(shards, "year") == [1998, None, -3, None]
    assert column(shards, "ok") == [True, None, None, False]
    assert column(shards, "share") == [1.0, 0.5, 2.0, None]
    assert column(shards, "empty") == [None, None, None, ""]
    assert np.load(tmp_path / "f" / "index" / "metadata.language.npy").tolist() == [1, 2, -1, 0]
    assert json.loads(np.load(tmp_path / "f" / "index" / "metadata.language.text.npy").tobytes()) == ["ar", "de", "en"]


def test_the_same_bytes_again_and_up_to_date(tmp_path: Path) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    merge_index(write(tmp_path / "f", TWO))
    merge_index(write(tmp_path / "g", TWO))
    assert files(tmp_path / "f") == files(tmp_path / "g")
    assert merge_index(tmp_path / "f").is_new is False


def test_tars_described_again_have_the_columns_and_the_digest_of_the_writer(tmp_path: Path) -> None:
    folder = write(tmp_path / "f", TWO)
    before = merge_index(folder).catalog
    write_token_column(folder, "ab" * 8, [1, 2, 3, 4])
    report = TarFolder(folder, measure).index(rebuild=True)
    assert report.catalog.fingerprint == before.fingerprint
    assert report.catalog.metadata == before.metadata
    assert Shards.open(folder).tokens("ab" * 8).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("metas", "name", "reason"),
    [
        ([{"x": 1}, {"x": "1"}], "x", r"it holds values of several kinds \(a\.tar\)"),
        ([{"x": True}, {"x": 1}], "x", r"it holds values of several kinds \(a\.tar\)"),
        ([{"x": [1]}, {"x": 1}], "x", r"it holds lists or objects \(a\.tar\)"),
        ([{"x": {"y": 1}}], "x", "it holds lists or objects"),
        ([{"x": 1 << 63}], "x", "whole numbers of more than 64 bits"),
        ([{"x": (1 << 53) + 1}, {"x": 0.5}], "x", "whole numbers that would be rounded"),
        ([{"x": "a" * (MAX_CHARS + 1)}], "x", "texts of more than 256 characters"),
        ([{"doc.id": 1}], "doc.id", "its name is not a word"),
        ([{"größe": 1}], "größe", "its name is not a word"),
        ([{"in": 1}], "in", "its name is not a word"),
        ([{"../x": 1}], "../x", "its name is not a word"),
    ],
)
def test_what_is_no_column_says_why(tmp_path: Path, metas: Metas, name: str, reason: str) -> None:
    report = merge_index(write(tmp_path / "f", {"a.tar": [*metas, {"y": 1}]}))
    assert list(report.catalog.metadata.columns) == ["y"]
    shards = Shards.open(tmp_path / "f")
    assert shards.why_no_metadata("y") is None
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(shards.why_no_metadata(name))
    assert f"metadata {name!r} did not become a column: " in _printed(report)


def _printed(report: IndexReport) -> str:
    import io

    from rich.console import Console

    file = io.StringIO()
    report.print(Console(file=file, width=200))
    return file.getvalue()


def test_kinds_that_differ_between_shards(tmp_path: Path) -> None:
    shards: dict[str, Metas] = {
        "a.tar": [{"x": 1, "n": 1, "big": 1 << 60}],
        "b.tar": [{"x": "one", "n": 0.5, "big": 0.5}],
    }
    report = merge_index(write(tmp_path / "f", shards))
    assert {name: entry.kind for name, entry in report.catalog.metadata.columns.items()} == {"n": "float"}
    assert report.catalog.metadata.left_out == {
        "big": "it holds fractions, and whole numbers that would be rounded next to them",
        "x": "it holds values of several kinds (int in a.tar, text in b.tar)",
    }
    assert column(Shards.open(tmp_path / "f"), "n") == [1.0, 0.5]


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_module, "MAX_DISTINCT", 3)
    monkeypatch.setattr(metadata_module, "MAX_NAMES", 2)
    monkeypatch.setattr(metadata_module, "MAX_SHARD_NAMES", 4)
    texts: dict[str, Metas] = {"a.tar": [{"url": "1"}, {"url": "2"}], "b.tar": [{"url": "3"}, {"url": "4"}]}
    report = merge_index(write(tmp_path / "texts", texts))
    assert report.catalog.metadata.left_out == {"url": "it has more than 3 different texts"}
    report = merge_index(write(tmp_path / "names", {"a.tar": [{"c": 1, "a": 1, "b": "x"}]}))
    assert list(report.catalog.metadata.columns) == ["a", "b"]
    assert list(report.catalog.metadata.left_out) == ["c"]
    many: dict[str, Metas] = {"a.tar": [{"a": 1}], "b.tar": [{f"n{number}": 1 for number in range(5)}]}
    report = merge_index(write(tmp_path / "many", many))
    assert not report.catalog.metadata.columns
    why = Shards.open(tmp_path / "many").why_no_metadata("anything")
    assert why == f"in {tmp_path / 'many'} pages have more than 4 different names (b.tar)"


def test_shards_of_before_have_no_columns_until_they_are_read_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "f", TWO)
    path = folder / "a.meta.npz"
    meta = load_meta(path)
    with np.load(path) as stored:
        np.savez(path, **{name: stored[name] for name in stored.files if not name.startswith("metadata")})
    assert load_meta(path).metadata is None
    assert load_meta(path).digest == meta.digest
    report = merge_index(folder)
    assert (dict(report.catalog.metadata.columns), report.catalog.metadata.unread) == ({}, 1)
    assert "no metadata columns: 1 of 2 shards were described by an earlier wdstream" in _printed(report)
    why = Shards.open(folder).why_no_metadata("language")
    assert why is not None
    assert f"`wdstream index {folder} --rebuild` reads them" in why
    TarFolder(folder, measure).index(rebuild=True)
    assert column(Shards.open(folder), "language") == ["de", "en", None, "ar"]


def test_a_damaged_metadata_column_is_named_and_written_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "f", TWO)
    merge_index(folder)
    for name in ("metadata.language", "metadata.language.text", "metadata.share"):
        path = folder / "index" / f"{name}.npy"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(ShardIndexError, match=rf"{name}\.npy of the index of .* is damaged in .*run `wdst"):
            column(Shards.open(folder), name.split(".")[1])
        assert name in merge_index(folder).notes[0]
    assert column(Shards.open(folder), "language") == ["de", "en", None, "ar"]


VALUES = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5) | st.lists(st.none())
)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c d", "in"]), VALUES), max_size=6))
@settings(deadline=None, max_examples=300)
def test_what_comes_back_is_what_pages_have(metas: Metas) -> None:
    """Each column holds each page's value, and names without a column have a reason."""
    pages = [PageMetadata.of(meta) for meta in metas]
    stored = ShardMetadata.of(pages)
    again = ShardMetadata.from_arrays(stored.arrays(), len(metas))
    assert again.left_out == stored.left_out
    for row, page in enumerate(pages):
        for name, value in page.values.items():
            if name in again.left_out:
                continue
            found = again.columns[name]
            cell = found.values[row]
            assert (found.texts[cell] if found.kind == "text" else cell) == value
    present = {name for meta in metas for name, value in meta.items() if value is not None and value == value}
    infinite = {
        name for meta in metas for name, value in meta.items() if isinstance(value, float) and abs(value) == np.inf
    }
    assert present - infinite <= again.columns.keys() | again.left_out.keys()


def test_a_page_without_metadata(tmp_path: Path) -> None:
    assert SampleEntry.of(Page(key="k", images=(), segments=()), []).metadata == PageMetadata()
    report = merge_index(write(tmp_path / "f", {"a.tar": [{}]}))
    assert report.catalog.metadata.columns == {}
    assert report.catalog.metadata.unread == 0
