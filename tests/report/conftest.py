"""One pack with every kind of document: real pages, a hostile text, a right-to-left page, a row, a damaged sample."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.paths import PAGES
from wdstream.config.schema import Config
from wdstream.report.explain import show_pack
from wdstream.report.view import DocumentView, PackView
from wdstream.shards.reader import Shards

HOSTILE = (
    "</div><script>alert(1)</script>\n"
    '<img src=x onerror="alert(2)"> & <|image_pad|> \u202e{{ 7 * 7 }} [red]not markup[/]'
)
CONFIG = Path("runs/[bold]&<b>.yaml")


@pytest.fixture(scope="session")
def shown_shards(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Six pages, of which one was damaged after it was indexed and one is too long for a pack."""
    from wdstream.make_shards import MakeShardsOptions, make_shards

    folder = tmp_path_factory.mktemp("shown")
    raw = folder / "raw"
    (raw / "images").mkdir(parents=True)
    for name in ("tesseract-phototest-rotated-L.png", "tesseract-phototest-rotated-L.txt"):
        shutil.copyfile(PAGES / "images" / name, raw / "images" / name)
    for name in ("hostile", "damaged"):
        Image.fromarray(np.full((40, 60, 3), 200, dtype=np.uint8)).save(raw / "images" / f"{name}.png")
        (raw / "images" / f"{name}.txt").write_text(HOSTILE if name == "hostile" else "gone", encoding="utf-8")
    for path in PAGES.glob("pdf/handbook-fa-sect.user-space.*"):
        shutil.copyfile(path, raw / path.name)
    Image.new("RGB", (90, 30), "navy").save(raw / "images" / "navy.jpg")
    content = [{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": "a flag."}]
    (raw / "rows.jsonl").write_text(json.dumps({"images": ["images/navy.jpg"], "content": content}) + "\n")
    options = MakeShardsOptions(tokenizer=tiny_model, dpi=50, pages_per_shard=100, workers=1)
    make_shards(raw, folder / "shards", options=options)
    damage(folder / "shards", "images/damaged")
    return folder / "shards"


def damage(folder: Path, key: str) -> None:
    """Flip a byte of a sample in its tar."""
    shards = Shards.open(folder)
    row = shards.find(key)
    assert row is not None
    path = folder / shards.shard_names[int(shards.shard[row])]
    data = bytearray(path.read_bytes())
    data[int(shards.offset[row]) + 600] ^= 0xFF
    path.write_bytes(data)


@pytest.fixture(scope="session")
def shown_config(shown_shards: Path, stream_config: Callable[..., Config]) -> Config:
    return stream_config(shown_shards, sequence_length=4096, max_patches=8192, global_batch_size=1)


@pytest.fixture(scope="session")
def view(shown_config: Config) -> PackView:
    """The first pack, which holds all documents."""
    return show_pack(shown_config, CONFIG)


@pytest.fixture(scope="session")
def documents(view: PackView) -> dict[str, DocumentView]:
    """The documents of the pack by key."""
    return {document.key: document for document in view.documents}
