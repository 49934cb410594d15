"""Uniform shards, read by the real `datasets`: nothing is missing, and our own reader has the same pages."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from tests.helpers.mixed_shards import pages_of, write_mixed
from wdstream.curation.resharding.reshard import reshard
from wdstream.curation.resharding.reshard_options import ReshardOptions
from wdstream.pixels.header import image_size
from wdstream.records import ImageSegment, Page, TextSegment, TurnSegment
from wdstream.shards.index import merge_index
from wdstream.shards.page_members import members_from_page
from wdstream.shards.reader import Shards
from wdstream.shards.writer import SampleEntry, ShardWriter


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def loaded(folder: Path, cache: Path) -> list[dict[str, Any]]:
    """What `datasets` has of each sample: bytes of images, text, json."""
    rows = datasets.load_dataset(str(folder), split="train", cache_dir=str(cache))
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
    return [without_nulls(dict(row)) for row in rows]


def stored(folder: Path) -> list[dict[str, Any]]:
    shards = Shards.open(folder)
    found = []
    for row in range(len(shards)):
        key, members = shards.read(row)
        sample: dict[str, Any] = {
            name: {"bytes": data, "path": f"{key}.{name}"}
            for name, data in members.items()
            if name not in ("txt", "json")
        }
        sample |= {"txt": members["txt"].decode()} if "txt" in members else {}
        found.append(sample | ({"json": json.loads(members["json"])} if "json" in members else {}))
    return found


@pytest.mark.filterwarnings("ignore")  # of datasets and its libraries
def test_datasets_reads_uniform_shards_whole(tmp_path: Path) -> None:
    source = write_mixed(tmp_path / "in", count=24)
    reshard([source], tmp_path / "out", options=ReshardOptions(uniform=True, pages=9, workers=1))
    assert pages_of(tmp_path / "out") == pages_of(source)
    rows = loaded(tmp_path / "out", tmp_path / "cache")
    assert rows == stored(tmp_path / "out")
    assert len(rows) == 24
    assert all({"txt", "json"} <= row.keys() for row in rows if {"jpg", "png", "tif"} & row.keys())


@pytest.mark.filterwarnings("ignore")
def test_fields_of_several_kinds_and_late_ones_come_back_as_they_were(tmp_path: Path) -> None:
    image = (tmp_path / "i.png").resolve()
    from PIL import Image

    Image.new("RGB", (3, 4)).save(image)
    picture, say = ImageSegment(index=0), TextSegment
    metas: list[dict[str, Any]] = [
        {},
        {"year": 1999},
        {"year": 2001, "tags": []},
        {"tags": ["a"], "box": {"left": 0.12345678901234567}},
    ]
    metas += [{"n": 1}, {"n": 2.5, "nested": {"deep": [{"a": 1}, {"b": [None, True]}]}}, {"box": {}, "late": 1 << 60}]
    chats = [
        (
            TurnSegment(role="user"),
            picture,
            say(text="What?", is_supervised=False),
            TurnSegment(role="assistant", is_supervised=True, is_plain=True),
            say(text=text),
        )
        for text in ("42", '{"a": 1}', "null", "plain")
    ]
    pages = [
        Page(key=f"p{n}", images=(image.read_bytes(),), segments=(picture, say(text=f"text {n}")), meta=meta)
        for n, meta in enumerate(metas)
    ]
    pages += [Page(key=f"q{n}", images=(image.read_bytes(),), segments=chat, meta={}) for n, chat in enumerate(chats)]
    (tmp_path / "in").mkdir()
    with ShardWriter(tmp_path / "in/shard-000000.tar") as writer:
        for page in pages:
            writer.add(
                page.key, members_from_page(page, ["png"]), SampleEntry.of(page, [image_size(image.read_bytes())])
            )
    merge_index(tmp_path / "in")
    reshard([tmp_path / "in"], tmp_path / "out", options=ReshardOptions(uniform=True, workers=1))
    assert pages_of(tmp_path / "out") == pages_of(tmp_path / "in")
    assert loaded(tmp_path / "out", tmp_path / "cache") == [
        without_nulls(sample) for sample in stored(tmp_path / "out")
    ]
