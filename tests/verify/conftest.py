"""Shards that are sound, shards with copies of pages."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.verify_shards import draw_page, text_of_page, write_raw
from wdstream.make_shards import MakeShardsOptions, make_shards


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Six pages in three shards, with the token columns and paragraphs of a tokenizer."""
    folder = tmp_path_factory.mktemp("verify")
    write_raw(folder / "raw", 6)
    options = MakeShardsOptions(pages_per_shard=2, workers=1, tokenizer=tiny_model, paragraphs=True)
    make_shards(folder / "raw", folder / "shards", options=options)
    return folder / "shards"


@pytest.fixture
def shards(sound: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(sound, tmp_path / "shards"))


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pages, and copies of three of them."""
    folder = tmp_path_factory.mktemp("copies")
    raw = folder / "raw"
    write_raw(raw, 10)
    shutil.copy(raw / "p03.png", raw / "x-same.png")
    shutil.copy(raw / "p03.txt", raw / "x-same.txt")
    shutil.copy(raw / "p04.png", raw / "x-text.png")
    (raw / "x-text.txt").write_text("quite another text, of a few words")
    draw_page(5).resize((300, 400), Image.Resampling.LANCZOS).convert("RGB").save(raw / "x-near.jpg", quality=40)
    (raw / "x-near.txt").write_text(text_of_page(5).replace("r", "n", 3))
    draw_page(6).save(raw / "x-form.jpg", quality=60)  # a form filled in otherwise: the look alone makes no duplicate
    (raw / "x-form.txt").write_text(text_of_page(77))
    make_shards(raw, folder / "shards", options=MakeShardsOptions(pages_per_shard=5, workers=1))
    return folder / "shards"
