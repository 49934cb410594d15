"""A small mixed set: scans, a page without text, rows with metadata, a name with dots and one in another script."""

import json
from pathlib import Path

import pytest

from tests.helpers.verify_shards import draw_page
from wdstream.make_shards import MakeShardsOptions, make_shards


def write_mixed(raw: Path) -> None:
    """Seven pages, and two that are quarantined: `scans/bare.png` without text, line 3 of the rows."""
    for name in ("scans/a.png", "scans/b.v2.png", "scans/größe.png", "scans/bare.png", "old/a.png"):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        draw_page(len(name), (420, 560)).save(raw / name)
        if "bare" not in name:
            (raw / name).with_suffix(".txt").write_text(f"the text of {name}")
    rows: list[dict[str, object]] = [
        {"text": "eins", "language": "de", "licence": "CC0", "score": 0.5, "year": 1999},
        {"text": "two", "language": "en", "licence": "CC0", "score": 1.5, "is_clean": True},
        {"text": "<image> three"},
        {"text": "four", "language": "de", "year": 2021},
    ]
    (raw / "rows").mkdir()
    (raw / "rows" / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of `write_mixed`; its raw pages are in `raw` next to them."""
    folder = tmp_path_factory.mktemp("mixed")
    write_mixed(folder / "raw")
    make_shards(folder / "raw", folder / "shards", options=MakeShardsOptions(pages_per_shard=3, workers=1))
    return folder / "shards"
