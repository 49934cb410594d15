"""Rows in one folder, their images in another: the layout of LLaVA with its image folder.

Spans: raw, make_shards.
"""

import json
from pathlib import Path

import pytest

from tests.helpers.mixed_shards import small_image
from wdstream.errors import ConfigError
from wdstream.make_shards import make_shards
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.shards.reader import Shards


def write_llava(raw: Path) -> None:
    (raw / "data").mkdir(parents=True)
    (raw / "coco" / "train").mkdir(parents=True)
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "This."}]
    rows = [{"id": str(n), "image": f"train/{n}.png", "conversations": turns} for n in range(3)]
    (raw / "data" / "llava.json").write_text(json.dumps(rows))
    for n in range(3):
        (raw / "coco" / "train" / f"{n}.png").write_bytes(small_image(n, "png"))


def test_images_are_found_in_a_folder_that_is_named(tmp_path: Path) -> None:
    write_llava(tmp_path / "raw")
    options = MakeShardsOptions(image_folders=("coco",), workers=1)
    report = make_shards(tmp_path / "raw", tmp_path / "out", options=options)
    assert (report.num_pages, report.num_quarantined) == (3, 0)
    shards = Shards.open(tmp_path / "out")
    assert [shards.read_page(row).images for row in range(3)] == [(small_image(n, "png"),) for n in range(3)]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    write_llava(tmp_path / "raw")
    for name in ("cocoa", "../raw", str(tmp_path)):
        with pytest.raises(ConfigError, match=r"--image-folder .*: there is no such folder in"):
            make_shards(tmp_path / "raw", tmp_path / "out", options=MakeShardsOptions(image_folders=(name,)))
