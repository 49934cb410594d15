"""DocTags as tokens from raw pages to ids: planned lengths are the ids', whichever command counted the tokens.

Spans: pipeline, make_shards, proofs.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.helpers.shared import SharedFolders
from wdstream.commands.app import app
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import ConfigError, ShardIndexError
from wdstream.families.registry import load_family
from wdstream.make_shards import MakeShardsOptions, add_token_column, index_folder, make_shards
from wdstream.proofs.doctor import check_processor, check_text, run_doctor
from wdstream.shards.reader import Shards

TAGS = ("<otsl>", "</otsl>", "<fcel>", "<nl>", "<loc_7>", "<loc_12>")
ALLOW = ("<*otsl>", "<fcel>", "<nl>", "<loc_*>")
TABLE = "<loc_7><loc_12><otsl><fcel>Name<fcel>Sum<nl><fcel>A<fcel>12 €<nl></otsl>\n\n<end_of_utterance><image>"


@pytest.fixture(scope="module")
def model(shared: SharedFolders) -> Path:
    """A tiny SmolVLM with the tokens of DocTags, as SmolDocling has them."""

    def make(folder: Path) -> None:
        from wdstream.testing.tiny.build import RECIPES, make_tiny_model
        from wdstream.testing.tiny.recipe import special_tokens

        recipe = RECIPES["smolvlm"]
        tokens = (*recipe.added_tokens, *special_tokens(*TAGS))
        make_tiny_model(folder, family=replace(recipe, added_tokens=tokens), vocab_size=1024)

    return shared.get("smoldocling", make)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for number in range(6):
        Image.new("L", (90 + number, 120), 200).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"Page {number}\n\n" + TABLE * (number + 1), encoding="utf-8")
    turns = [{"role": "user", "content": "Table?"}, {"role": "assistant", "content": "<otsl>1"}]
    (folder / "rows.jsonl").write_text(json.dumps({"key": "chat", "messages": turns}) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def shards(raw: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    options = MakeShardsOptions(tokenizer=model, allow_tokens=ALLOW, paragraphs=True, workers=1)
    report = make_shards(raw, out, options=options)
    assert (report.num_pages, report.num_quarantined) == (7, 0)
    return out


@pytest.fixture
def config(model: Path) -> Callable[..., Config]:
    def make(shards: Path, *, allow: tuple[str, ...] = ALLOW, **data: object) -> Config:
        settings = {"train": [{"path": str(shards)}], "sequence_length": 700, "max_patches": 4096, "epochs": 1}
        settings |= {"global_batch_size": 1, "workers": 0, "tail": "pad", **data}
        tiling = {"kind": "grid", "grid": [1, 1], "tile_size": 56, "overview_size": 56}
        tree = {"model": {"path": str(model)}, "data": settings, "tiling": tiling, "text": {"allow_tokens": allow}}
        return Config.of(tree)

    return make


@pytest.mark.parametrize("overlength", ["reject", "split"])
def test_planned_lengths_are_those_of_the_ids(shards: Path, config: Callable[..., Config], overlength: str) -> None:
    plan = plan_from_config(config(shards, sequence_length=400, overlength=overlength))
    family = plan.family
    planned = {pack.number: pack for step in plan.steps() for pack in step.packs}
    ids: list[int] = []
    with plan.loader(workers=0, prefetch=0) as loader:
        for batch in loader:
            assert batch["lengths"] == [list(planned[batch["packs"][0]].tokens)]
            ids += batch["input_ids"].flatten().tolist()
    counts = {token: ids.count(number) for token, number in family.encoder.allowed.items()}
    assert counts["<otsl>"] == 22 and counts["<fcel>"] == 21 * 4 and counts["<loc_12>"] == 21
    text = [number for number in ids if number not in family.structural_ids]
    assert family.encoder.decode(text).count("<end_of_utterance>") == 21  # as text, letter by letter


def test_columns_by_every_command_are_one(shards: Path, raw: Path, model: Path, tmp_path: Path) -> None:
    make_shards(raw, tmp_path / "later", options=MakeShardsOptions(tokenizer=model, workers=1))
    plain, allowing = load_family(model), load_family(model, allow_tokens=ALLOW)
    later = Shards.open(tmp_path / "later")
    assert later.tokens(plain.text_fingerprint).sum() > Shards.open(shards).tokens(allowing.text_fingerprint).sum()
    report = add_token_column(tmp_path / "later", model, allow_tokens=ALLOW)
    assert report.fingerprint == allowing.text_fingerprint
    index_folder(tmp_path / "later", model, allow_tokens=ALLOW, workers=1)
    expected = Shards.open(shards).tokens(allowing.text_fingerprint).tolist()
    assert Shards.open(tmp_path / "later").tokens(allowing.text_fingerprint).tolist() == expected
    assert (tmp_path / "later" / "shard-000000.tar").read_bytes() == (shards / "shard-000000.tar").read_bytes()


def test_a_column_that_is_missing_names_its_command(
    shards: Path, config: Callable[..., Config], raw: Path, tmp_path: Path
) -> None:
    with pytest.raises(ShardIndexError, match=r"wdstream lengths .* --tokenizer PATH.* --allow-token for each"):
        plan_from_config(config(shards, allow=("<otsl>",)))
    with pytest.raises(ConfigError, match=r"text must not form <end_of_utterance>"):
        plan_from_config(config(shards, allow=("<end_of_utterance>",)))
    with pytest.raises(ConfigError, match=r"text must not form <row_1_col_1>, which <row_\* matches, for"):
        plan_from_config(config(shards, allow=("<row_*",)))
    with pytest.raises(ConfigError, match="allow_tokens: they are counted with a tokenizer; give --tokenizer, too"):
        MakeShardsOptions(allow_tokens=("<otsl>",))
    with pytest.raises(ConfigError, match="allow_tokens: they are counted with a tokenizer"):
        index_folder(shards, allow_tokens=("<otsl>",), workers=1)


def test_the_doctor_proves_them(model: Path) -> None:
    family = load_family(model, allow_tokens=("<*otsl>", "<loc_*>"))
    found = [check_text(family), check_processor(family)]
    assert all(check.ok for check in found), found
    assert found[0].found == "no structural token from 15 hostile texts; each of 4 allowed tokens is formed"
    without = check_processor(load_family(model))
    assert without.found.split(" for ")[1] != found[1].found.split(" for ")[1]  # a document more
    refused = run_doctor(model, allow_tokens=["<image>"]).checks[0]
    assert not refused.ok and "text must not form <image> for" in refused.found
    done = CliRunner().invoke(app, ["doctor", "--help"], env={"COLUMNS": "200"})
    assert "--allow-token" in done.output
