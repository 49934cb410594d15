"""Exports as tables, read by `datasets`, by pyarrow and by make-shards: the same images, texts, turns and metadata."""

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import webdataset

from tests.helpers.mixed_shards import small_image, tree_of, write_mixed
from wdstream.curation.export.energon import export_energon
from wdstream.curation.export.options import ExportOptions, TableFormat
from wdstream.curation.export.tables import ExportReport, export_tables
from wdstream.curation.split import split_shards
from wdstream.curation.split_options import SplitOptions
from wdstream.errors import ConfigError
from wdstream.make_shards import MakeShardsOptions, index_folder, make_shards
from wdstream.records import Page, TextSegment
from wdstream.shards.describe import TarRules
from wdstream.shards.reader import Shards
from wdstream.text.row_forms import DEFAULT_RULES, rules_with_map

pytestmark = pytest.mark.filterwarnings("ignore")  # of datasets and its libraries
KINDS: tuple[TableFormat, ...] = ("parquet", "datasets")


def export(source: Path, out: Path, kind: TableFormat, **options: object) -> ExportReport:
    return export_tables(source, out, kind, options=ExportOptions.of({"workers": 1, **options}))


def pages_in_order(folder: Path) -> list[Page]:
    shards = Shards.open(folder)
    return [shards.read_page(row) for row in range(len(shards))]


def rows_of(out: Path, kind: TableFormat, cache: Path, split: str = "train") -> datasets.Dataset:
    if kind == "datasets":
        rows = datasets.load_from_disk(str(out))[split]
    else:
        rows = datasets.load_dataset(str(out), split=split, cache_dir=str(cache))
    return rows.cast_column("images", datasets.List(datasets.Image(decode=False)))


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", KINDS)
def test_datasets_reads_every_page(kind: TableFormat, tmp_path: Path) -> None:
    source = write_mixed(tmp_path / "in", count=24)
    report = export(source, tmp_path / "out", kind, shard_size="20kB")
    assert report.pages == {"train": 24} and report.num_files > 1
    rows, pages = rows_of(tmp_path / "out", kind, tmp_path / "cache"), pages_in_order(source)
    assert rows["key"] == [page.key for page in pages]
    for row, page in zip(rows, pages, strict=True):
        assert [image["bytes"] for image in row["images"]] == list(page.images)
        texts = [segment.text for segment in page.segments if isinstance(segment, TextSegment)]
        found = [row["text"]] if row["text"] is not None else [part.get("text") for part in row["content"] or ()]
        if row["messages"] is None:
            assert [text for text in found if text] == texts
        else:
            assert row["messages"] == [
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Lies."}]},
                {"role": "assistant", "content": texts[-1], "train": True},
            ]
        assert {name: row[name] for name in ("language", "score")} == {
            n: page.meta.get(n) for n in ("language", "score")
        }
    assert rows[0]["images"][0]["path"] == "p0000.jpg"
    assert rows[5]["images"][1]["path"] == "p0005.1.jpg"


@pytest.mark.parametrize("kind", KINDS)
def test_make_shards_reads_the_same_pages_again(kind: TableFormat, tmp_path: Path) -> None:
    source = write_mixed(tmp_path / "in", count=24)
    export(source, tmp_path / "raw", kind)
    report = make_shards(tmp_path / "raw", tmp_path / "out", options=MakeShardsOptions(workers=1, keep_empty=True))
    assert [entry.reason for entry in report.quarantined] == []
    before, after = pages_in_order(source), pages_in_order(tmp_path / "out")
    assert [page.images for page in after] == [page.images for page in before]
    assert [page.segments for page in after] == [page.segments for page in before]
    for old, new in zip(before, after, strict=True):
        assert new.meta["key"] == old.key
        assert old.meta == {name: without_nulls(new.meta[name]) for name in new.meta.keys() - {"key", "source", "line"}}


@pytest.mark.parametrize("kind", KINDS)
def test_pages_whose_files_have_names_that_keys_cannot_have_come_back(kind: TableFormat, tmp_path: Path) -> None:
    """Their `source` was taken for another image than `page_v1.png`, which is of it."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for number, name in enumerate(("page.v1", "Übung", "n" * 240)):
        (raw / f"{name}.png").write_bytes(small_image(number, "png"))
        (raw / f"{name}.txt").write_text(name)
    options = MakeShardsOptions(workers=1)
    make_shards(raw, tmp_path / "shards", options=options)
    export(tmp_path / "shards", tmp_path / "table", kind)
    report = make_shards(tmp_path / "table", tmp_path / "again", options=options)
    assert (report.num_pages, report.num_quarantined) == (3, 0)
    before, after = pages_in_order(tmp_path / "shards"), pages_in_order(tmp_path / "again")
    assert [(page.images, page.segments, page.meta["source"]) for page in after] == [
        (page.images, page.segments, page.meta["source"]) for page in before
    ]


def test_pages_of_one_image_have_a_column_image(tmp_path: Path) -> None:
    source = write_mixed(tmp_path / "in", count=5)
    export(source, tmp_path / "out", "parquet", where="num_images == 1 and text_chars > 0")
    table = pq.read_table(tmp_path / "out/train-00000-of-00001.parquet")
    assert table.column_names == ["key", "image", "messages", "text", "language", "pages", "score"]
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    row = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))[0]
    assert row["image"].size == (7, 6)


def test_held_out_pages_are_the_split_test(tmp_path: Path) -> None:
    source = write_mixed(tmp_path / "in", count=40)
    split_shards(source, SplitOptions.of({"holdout": "25%", "by": "page"}))
    held = Shards.open(source).held_out
    assert held is not None
    for kind in KINDS:
        report = export(source, tmp_path / kind, kind)
        assert report.pages == {"train": 40 - int(held.sum()), "test": int(held.sum())}
        test = rows_of(tmp_path / kind, kind, tmp_path / "cache", "test")
        assert test["key"] == [page.key for page, is_held in zip(pages_in_order(source), held, strict=True) if is_held]


def test_a_kill_and_any_number_of_processes_end_with_the_same_bytes(tmp_path: Path) -> None:
    source = write_mixed(tmp_path / "in", count=24)
    export(source, tmp_path / "one", "parquet", shard_size="20kB")
    export(source, tmp_path / "two", "parquet", shard_size="20kB", workers=2)
    expected = tree_of(tmp_path / "one", ["workers"])
    assert tree_of(tmp_path / "two", ["workers"]) == expected
    files = sorted((tmp_path / "one").glob("*.parquet"))
    files[0].unlink()
    files[1].write_bytes(b"PAR1")
    (tmp_path / f"one/.export/file-{files[2].name}.json").unlink()
    (tmp_path / f"one/.export/types-{files[3].name}.json").write_bytes(bytes(40))
    export(source, tmp_path / "one", "parquet", shard_size="20kB")
    assert tree_of(tmp_path / "one", ["workers"]) == expected


def test_another_export_is_refused(tmp_path: Path) -> None:
    source = write_mixed(tmp_path / "in", count=9)
    export(source, tmp_path / "out", "parquet")
    with pytest.raises(ConfigError, match="kind was 'parquet', is 'datasets'"):
        export(source, tmp_path / "out", "datasets")
    with pytest.raises(ConfigError, match="into it or above it"):
        export(source, source / "tables", "parquet")


def test_samples_that_are_read_by_a_map(tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    with webdataset.TarWriter(str(tmp_path / "tars/a.tar")) as writer:
        picture = small_image(0, "jpg")
        writer.write({"__key__": "k0", "scan.jpg": picture, "json": {"ocr": "read by a map"}})
    by_map = rules_with_map(DEFAULT_RULES, "image=scan.jpg,text=json:ocr")
    index_folder(tmp_path / "tars", workers=1, rules=TarRules(rows=by_map))
    export(tmp_path / "tars", tmp_path / "out", "parquet")
    (row,) = pq.read_table(tmp_path / "out").to_pylist()
    assert (row["key"], row["image"], row["text"]) == ("k0", {"bytes": picture, "path": "k0.scan.jpg"}, "read by a map")
    with pytest.raises(ConfigError, match=r"by a map .*energon does not know: .* OUT"):
        export_energon(tmp_path / "tars", workers=1)
