"""Rows of every form that others write, from JSONL to batches: the literal text, images and reasons of each case.
The rows are tests/data/cases/rows, a folder for each form.

Spans: text, raw, make_shards, shards, pipeline, nodes.
"""

import json
import subprocess
import sys
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.paths import DATA
from wdstream.families.registry import load_family
from wdstream.nodes.as_page import as_page
from wdstream.nodes.lane import LaneSettings
from wdstream.pipeline.planned import Plan
from wdstream.pipeline.streamed import Lanes
from wdstream.records import Page, TextSegment, TurnSegment
from wdstream.shards.reader import Shards
from wdstream.text.maps.forms import IMAGE_FIELDS
from wdstream.tiling.policy import TilingPolicy

CASES = DATA / "cases" / "rows"
CHAT = ["user:", "<image>", "Read.", "assistant:", "A page."]
NO_PLACEHOLDER = "0 images, but the text has {} of <image>, {} of <|image_pad|>, 0 of <start_of_image>, 0 of <|image|>"

READ = {
    "codeblock@2": ["Use `", "<image>", "` in HTML ", "<image>"],
    "codeblock@3": ["A page about <|image_pad|> tokens. ", "<image>"],
    "hf_dict@1": ["<image>", "a"],
    "hf_dict@2": ["<image>", "a"],
    "hf_dict@3": ["<image>", "a"],
    "hf_dict@5": ["<image>", "a"],
    "hf_dict@6": ["<image>", "a"],
    "hf_dict@8": ["a"],
    "hf_dict@10": ["<image>", "a caption without a placeholder"],
    "image_path@1": ["<image>", "Text of page a"],
    "image_path@2": ["<image>", "Text"],
    "image_path@3": ["<image>", "t"],
    "imagefolder@1": ["<image>", "Text of page a"],
    "imagefolder@2": ["<image>", "Text of page b"],
    "llava@1": ["user:", "<image>", "\nWhat?", "assistant:", "A page."],
    "openai@1": CHAT,
    "singular_image@1": ["<image>", "Text of page a"],
    "singular_image@2": ["<image>", "\nText of page b"],
    "singular_image@3": ["<image>", "<image>", " both"],
    "swift@1": CHAT,
    "swift_dict@1": CHAT,
    "windows@2": ["<image>", "x"],
    "windows@3": ["<image>", "x"],
}
REFUSED = {
    "codeblock@1": "1 images, but the text has 3 of <image>, 0 of <|image_pad|>",
    "hf_dict@4": "image 'https://127.0.0.1/x.png' is a URL; fetch it first and give its path",
    "hf_dict@7": NO_PLACEHOLDER.format(1, 0),
    "hf_dict@9": "no text: the row holds none",
    "hf_dict@11": "text is int, a string expected",
    "hf_dict@12": "no text: the row holds none",
    "hf_dict@13": "image 'file:///etc/hostname' leaves the folder of the JSONL file; allow it with",
    "no_images_key_placeholder@1": NO_PLACEHOLDER.format(1, 0),
    "no_images_key_placeholder@2": NO_PLACEHOLDER.format(0, 1),
    "windows@1": "no text: the row holds none",
    "windows@4": "image 'a%20b.png' does not exist (relative to the folder of the JSONL file); the nearest name there",
}
NAMED = {"hf_dict@2": "a.png", "hf_dict@3": "a.png", "imagefolder@2": "b.png", "singular_image@2": "b.png"}
"""The file that the image of a row is, where it is not a.png."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    out = tmp_path_factory.mktemp("cases") / "out"
    command = ["make-shards", str(CASES), str(out), "--tokenizer", str(tiny_model), "--workers", "1"]
    subprocess.run([sys.executable, "-m", "wdstream", *command], check=True, capture_output=True)
    return out


def segments_in_short(page: Page) -> list[str]:
    found = []
    for segment in page.segments:
        if isinstance(segment, TurnSegment):
            found.append(f"{segment.role}:")
        else:
            found.append(segment.text if isinstance(segment, TextSegment) else "<image>")
    return found


def name_of(path: str, line: int) -> str:
    return f"{path.partition('/')[0]}@{line}"


def test_every_row_is_read_or_refused(shards: Path) -> None:
    reader = Shards.open(shards)
    pages = {
        name_of(page.meta["source"], page.meta["line"]): page for page in map(reader.read_page, range(len(reader)))
    }
    assert {name: segments_in_short(page) for name, page in pages.items()} == READ
    lines = [json.loads(line) for line in (shards / "quarantine.jsonl").read_text().splitlines()]
    refused = {name_of(line["file"], line["page"]): line["reason"] for line in lines if line["page"]}
    assert refused.keys() == REFUSED.keys()
    assert not [(name, refused[name]) for name, reason in REFUSED.items() if reason not in refused[name]]
    for name, page in pages.items():
        folder = CASES / name.partition("@")[0]
        if len(page.images) == 1:
            assert page.images[0] == (folder / NAMED.get(name, "a.png")).read_bytes(), name
    assert pages["singular_image@3"].images == tuple(
        (CASES / "singular_image" / n).read_bytes() for n in ("a.png", "b.png")
    )


def test_rows_in_batches_of_a_plan_and_of_a_stream(shards: Path, tiny_model: Path) -> None:
    """Every row is trained on with all its images, planned and streamed alike."""
    family, policy = load_family(tiny_model), TilingPolicy(kind="none")
    sizes: dict[str, Any] = {"sequence_length": 512, "max_patches": 4096, "global_batch_size": 1}
    plan = Plan(Shards.open(shards), family, policy, epochs=1, **sizes)
    with plan.loader() as loader:
        planned = list(islice(loader, plan.total_steps()))
    urls = [str(path) for path in sorted(shards.glob("*.tar"))]
    lanes = Lanes(urls=urls, settings=LaneSettings(family=family, tiling=policy, lanes=1, epochs=1, **sizes))
    with lanes.loader() as stream:
        streamed = list(takewhile(lambda batch: any(batch["keys"]), stream))
    for batches in (planned, streamed):
        assert sum(len(keys) for batch in batches for keys in batch["keys"]) == len(READ)
        images = sum(len(batch["image_grid_thw"]) for batch in batches if "image_grid_thw" in batch)
        assert images == sum(texts.count("<image>") for texts in READ.values()) == 24


def test_rows_with_their_images_in_memory_are_the_same_pages() -> None:
    """The rows of `READ` whose images are at the row, through as_page."""
    seen = 0
    for folder in sorted(CASES.iterdir()):
        for number, line in enumerate((folder / "rows.jsonl").read_text().splitlines(), start=1):
            row = json.loads(line)
            field = next((field for field in IMAGE_FIELDS if isinstance(row.get(field), str | list)), None)
            names = [] if field is None else row[field] if isinstance(row[field], list) else [row[field]]
            name = f"{folder.name}@{number}"
            is_here = all(isinstance(name, str) and (folder / name).is_file() for name in names)
            if name not in READ or not names or not is_here:
                continue
            row[field] = [(folder / name).read_bytes() for name in names]
            page = as_page(row)
            assert isinstance(page, Page)
            assert segments_in_short(page) == READ[name]
            assert page.images == tuple(row[field])
            seen += 1
    assert seen == 13
