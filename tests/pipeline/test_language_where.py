"""The language of pages from raw rows to the packs of a run: found, filtered by, weighted by.

Spans: pipeline, make_shards.
"""

import io
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.raw.test_page_language import ENGLISH, FRENCH, GERMAN
from wdstream.errors import ConfigError
from wdstream.families.registry import load_family
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.make_shards.finish import MakeShardsReport
from wdstream.pipeline.planned import Plan
from wdstream.plan.protocols import Dataset
from wdstream.shards.reader import Shards
from wdstream.tiling.policy import TilingPolicy

TEXTS = {"de": GERMAN, "fr": FRENCH, "en": ENGLISH}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    rows = [{"name": f"{name}{n}", "text": f"{text} {n}"} for n in range(10) for name, text in TEXTS.items()]
    rows += [{"name": "short", "text": "OK"}, {"name": "told", "text": ENGLISH, "language": "de"}]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def made(raw: Path, out: Path, model: Path, **settings: Any) -> MakeShardsReport:
    return make_shards(raw, out, options=MakeShardsOptions(tokenizer=model, workers=1, **settings))


def names_of(plan: Plan, steps: int | None = None) -> list[str]:
    """The `name` of every page of a plan, or of its first steps."""
    samples = [int(sample) for step in islice(plan.steps(), steps) for pack in step.packs for sample in pack.samples]
    places = [plan.locate(sample) for sample in samples]
    return [str(plan.shards[dataset].read_page(row).meta["name"]) for dataset, row in places]


def test_found_filtered_and_weighted(raw: Path, tiny_model: Path, tmp_path: Path) -> None:
    report = made(raw, tmp_path / "out", tiny_model, language="auto")
    assert report.misnamed == {"de read as en": 1}
    said = io.StringIO()
    report.print(Console(file=said, width=200))
    assert "1 pages read as another language than their metadata say, which stays: de read as en: 1" in said.getvalue()
    assert "language (absent in 1), language_score (absent in 2)" in said.getvalue()
    shards, family = Shards.open(tmp_path / "out"), load_family(tiny_model)
    policy = TilingPolicy(kind="none")
    budget: dict[str, Any] = {"sequence_length": 512, "max_patches": 4096, "global_batch_size": 1, "tail": "pad"}
    german = Plan(shards, family, policy, where='language == "de"', epochs=1, **budget)
    assert sorted(names_of(german)) == sorted([*(f"de{n}" for n in range(10)), "told"])
    sure = Plan(shards, family, policy, where='language == "de" and language_score > 0.5', epochs=1, **budget)
    assert sorted(names_of(sure)) == sorted(f"de{n}" for n in range(10))
    by_weight = [
        Dataset(columns=shards, name="french", weight=3, where='language == "fr"'),
        Dataset(columns=shards, name="rest", weight=1, where='language == "en"'),
    ]
    mixed = names_of(Plan(by_weight, family, policy, weights_in="pages", **budget), steps=20)
    french, english = (sum(found.startswith(name) for found in mixed) for name in ("fr", "en"))
    assert french + english == len(mixed) and abs(french - 3 * english) <= 12


def test_only_where_it_is_asked_for(raw: Path, tiny_model: Path, tmp_path: Path) -> None:
    made(raw, tmp_path / "out", tiny_model)
    assert Shards.open(tmp_path / "out").catalog.metadata.columns["language"].absent == 31
    with pytest.raises(ConfigError, match="language was None, is 'auto'\n  language_model was None, is 'py3langid 0"):
        made(raw, tmp_path / "out", tiny_model, language="auto")
    with pytest.raises(ConfigError, match="--overwrite"):
        made(raw, tmp_path / "out", tiny_model, language="de", retry_quarantined=True)
