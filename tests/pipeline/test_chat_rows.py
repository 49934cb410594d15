"""Chat rows from raw JSONL to batches: planned exactly, supervised where they should be, bad rows quarantined by
name.

Spans: raw, make_shards, text, pipeline.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wdstream.errors import ConfigError
from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.make_shards.indexing import add_token_column
from wdstream.pipeline.planned import Plan
from wdstream.records import World
from wdstream.shards.reader import Shards
from wdstream.tiling.policy import TilingPolicy

IMAGE = {"type": "image"}


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def rows() -> list[dict[str, Any]]:
    question = [IMAGE, {"type": "text", "text": "What does it say?"}]
    plain = [turn("user", "Count to three."), turn("assistant", "one two three " * 3)]
    seen = [
        turn("user", question),
        turn("assistant", "Words on a page."),
        turn("user", "All?"),
        turn("assistant", "All."),
    ]
    good: list[dict[str, Any]] = [{"messages": plain}] * 3 + [{"messages": seen, "images": ["a.png"]}] * 5
    good.append({"messages": [*seen[:1], {**seen[1], "train": True}, *seen[2:]], "images": ["a.png"]})
    good.append(
        {"content": [{"type": "text", "text": "given", "is_supervised": False}, {"type": "text", "text": "learn"}]}
    )
    bad: list[dict[str, Any]] = [
        {"messages": seen},
        {"messages": seen, "images": ["a.png", "a.png"]},
        {"messages": seen[:1], "images": ["a.png"]},
        {"messages": [turn("robot", "x"), turn("assistant", "y")]},
    ]
    return good + bad


@pytest.fixture(scope="module")
def model(tiny_models: dict[str, Path]) -> Path:
    return tiny_models["qwen2_5_vl"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    Image.new("RGB", (300, 200), "white").save(folder / "a.png")
    (folder / "a.txt").write_text("the page by itself", encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in rows())
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def shards(raw: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "out"
    make_shards(raw, out, options=MakeShardsOptions(tokenizer=model, workers=1))
    return out


def test_bad_rows_are_quarantined_by_name(shards: Path) -> None:
    lines = (shards / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    reasons = [json.loads(line)["reason"] for line in lines]
    assert len(reasons) == 4
    for wanted in (
        "messages has 1 images, but 0 file names",
        "messages has 1 images, but 2 file names",
        "there is no turn of the assistant",
        "unknown role 'robot'",
    ):
        assert sum(wanted in reason for reason in reasons) == 1, (wanted, reasons)


def plan_of(shards: Path, family: Family, epochs: int = 1) -> Plan:
    tiling = TilingPolicy(kind="grid", grid=(2, 1), tile_size=56, overview_size=56)
    settings: Any = {
        "sequence_length": 400,
        "max_patches": 4000,
        "global_batch_size": 2,
        "epochs": epochs,
        "tail": "pad",
    }
    return Plan(Shards.open(shards), family, tiling, seed=0, **settings)


def test_built_as_planned_and_supervised_as_planned(shards: Path, model: Path) -> None:
    plan = plan_of(shards, load_family(model))
    assert len(plan.shards[0]) == 11
    planned = {pack.number: pack for step in plan.steps() for pack in step.packs}
    seen = 0
    with plan.loader() as loader:
        for batch in loader:
            pack = planned[batch["packs"][0]]
            assert batch["lengths"] == [list(pack.tokens)]
            assert not batch["failures"]
            assert int((batch["labels"] != -100).sum()) == sum(pack.supervised)
            seen += len(pack.samples)
    assert seen == 11


def test_chat_rows_resume_as_pages_do(shards: Path, model: Path) -> None:
    """Stopped after each step in turn, and on two ranks after one: the same packs to the end."""
    plan = plan_of(shards, load_family(model), epochs=3)
    with plan.loader() as loader:
        whole = [(batch["packs"], batch["input_ids"].tolist(), batch["labels"].tolist()) for batch in loader]
    assert len(whole) >= 6 and len(whole) % 2 == 0
    for steps in range(1, len(whole) // 2):
        with plan.loader() as loader:
            for _ in range(2 * steps):
                next(loader)
            state = loader.state_dict()
        ranks = []
        for rank in range(2):
            with plan.loader(world=World(rank=rank, size=2), state=state) as loader:
                ranks += [(batch["packs"], batch["input_ids"].tolist(), batch["labels"].tolist()) for batch in loader]
        assert sorted(ranks) == sorted(whole[2 * steps :])


def test_counting_later_gives_the_same_columns(shards: Path, raw: Path, model: Path, tmp_path: Path) -> None:
    fingerprint = load_family(model).text_fingerprint
    first = Shards.open(shards)
    make_shards(raw, tmp_path / "out", options=MakeShardsOptions(workers=1))
    add_token_column(tmp_path / "out", model)
    second = Shards.open(tmp_path / "out")
    assert second.tokens(fingerprint).tolist() == first.tokens(fingerprint).tolist()
    supervised = first.supervised(fingerprint)
    again = second.supervised(fingerprint)
    assert supervised is not None and again is not None
    assert again.tolist() == supervised.tolist()
    assert (supervised < first.tokens(fingerprint)).sum() == 10  # all chat rows, and the row with a prompt text


def test_chat_loss_last_is_stored_in_the_rows(raw: Path, model: Path, tmp_path: Path) -> None:
    make_shards(raw, tmp_path / "out", options=MakeShardsOptions(tokenizer=model, workers=1, chat_loss="last"))
    family = load_family(model)
    all_supervised = sum(
        sum(pack.supervised) for step in plan_of(tmp_path / "out", family).steps() for pack in step.packs
    )
    shards = Shards.open(tmp_path / "out")
    texts = [str(dict(shards.read(row)[1]).get("json", b"")) for row in range(len(shards))]
    assert sum('"train":false' in text for text in texts) == 6
    assert all_supervised > 0


def test_a_tokenizer_alone_cannot_count_chat_rows(shards: Path, model: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    with pytest.raises(ConfigError, match="give the folder of a model family"):
        add_token_column(shards, tmp_path)
