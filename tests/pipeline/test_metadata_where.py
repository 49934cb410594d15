"""From rows with metadata to a plan that asks for them: make-shards, index, plan, states.

Spans: make_shards, shards, plan, pipeline.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wdstream import Plan, Shards, TilingPolicy, load_family
from wdstream.errors import ConfigError, StateError
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.shards.catalog import catalog_from_json
from wdstream.shards.column_files import entry_of

ROWS: list[dict[str, Any]] = [
    {"text": "Guten Tag", "language": "de", "text_visible": 1.0, "page": 3},
    {"text": "Good day", "language": "en", "text_visible": 0.5},
    {"text": "Auf Wiedersehen", "language": "de", "text_visible": 0.25},
    {"text": "Nobody knows"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    base = tmp_path_factory.mktemp("where")
    (base / "raw").mkdir()
    (base / "raw" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    options = MakeShardsOptions(tokenizer=tiny_model, workers=1)
    make_shards(base / "raw", base / "shards", options=options)
    return base / "shards"


def plan(folder: Path, model: Path, where: str) -> Plan:
    return Plan(
        Shards.open(folder),
        load_family(model),
        TilingPolicy(kind="none"),
        sequence_length=64,
        max_patches=64,
        global_batch_size=1,
        epochs=1,
        where=where,
    )


def test_pages_are_chosen_by_their_metadata(folder: Path, tiny_model: Path) -> None:
    chosen = plan(folder, tiny_model, 'language == "de" and text_visible > 0.9')
    assert [text for step in chosen.steps() for pack in step.packs for text in pack.samples] == [0]
    summary = plan(folder, tiny_model, 'language != "de" or page == 3').summary()
    assert (summary.pages, dict(summary.rejects)) == (2, {"filtered": 2})
    assert dict(summary.absent) == {"language": 1, "page": 3}


def test_a_typing_error_is_named_before_anything_is_planned(folder: Path, tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match=r"no column 'text_visble', and .*; did you mean 'text_visible'\. There are"):
        plan(folder, tiny_model, "text_visble > 0.9")
    with pytest.raises(ConfigError, match="text is compared with a number"):
        next(iter(plan(folder, tiny_model, "language > 0.9").steps()))


def test_other_metadata_are_another_plan(folder: Path, tiny_model: Path) -> None:
    state = plan(folder, tiny_model, 'language == "de"').state_after(-1).to_json()
    other = plan(folder, tiny_model, "page > 0").state_after(-1).to_json()
    listing, path = folder / "index" / "index.json", folder / "index" / "metadata.language.npy"
    before = listing.read_bytes(), path.read_bytes()
    changed = np.load(path)[::-1].copy()
    np.save(path, changed)
    catalog = catalog_from_json(before[0], "", "")
    listing.write_bytes(catalog.with_columns({"metadata.language": entry_of(changed)}).to_json())
    try:
        with pytest.raises(StateError, match=r"columns: expected .*metadata that `where` names differs"):
            plan(folder, tiny_model, 'language == "de"').resume(state)
        plan(folder, tiny_model, "page > 0").resume(other)  # does not read that column
    finally:
        listing.write_bytes(before[0])
        path.write_bytes(before[1])
