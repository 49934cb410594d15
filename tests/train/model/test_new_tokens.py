"""More tokens: ids, rows and how they begin; everything else is as before; plain transformers and doctor agree.

Spans: train, commands.
"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoTokenizer

from tests.helpers.command import run
from wdstream.errors import ConfigError, FamilyError
from wdstream.families.registry import FAMILIES, load_family
from wdstream.proofs.doctor import run_doctor
from wdstream.text.encoder import TextEncoder
from wdstream.train.model.new_tokens import TABLES, grow_model, grown_table, refuse_taken_ids

NEW = ("<stamp>", "<signature>")


def test_rows_begin_as_means() -> None:
    table = torch.tensor([[0.0, 2.0], [2.0, 4.0], [7.0, 7.0]])  # the last row has no token
    mean = [1.0, 3.0]
    assert grown_table(table, {2: None}, 3, known=2).tolist() == [[0, 2], [2, 4], mean]
    assert grown_table(table, {2: [1], 3: [0, 1]}, 5, known=2).tolist() == [[0, 2], [2, 4], [2, 4], mean, mean]
    assert grown_table(table.bfloat16(), {2: None}, 3, known=2).dtype == torch.bfloat16


QUICK = ("qwen2_5_vl", "idefics3")


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(one, marks=pytest.mark.slow) for one in sorted({*FAMILIES} - {*QUICK}))]
)
def test_only_rows_and_tokens_are_added(tiny_models: dict[str, Path], tmp_path: Path, name: str) -> None:
    model, out = tiny_models[name], tmp_path / "grown"
    added = grow_model(model, out, NEW, init="pieces", multiple=64)
    before, after = load_file(model / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    for weight, tensor in before.items():
        same = after[weight][: len(tensor)] if weight.endswith(TABLES) else after[weight]
        first = min(min(added.ids.values()), len(tensor)) if weight.endswith(TABLES) else len(tensor)
        assert torch.equal(same[:first], tensor[:first])
    assert added.rows[1] % 64 == 0
    plain = AutoModelForImageTextToText.from_pretrained(out, dtype=torch.float32)
    assert plain.get_input_embeddings().weight.shape[0] == added.rows[1] == plain.config.get_text_config().vocab_size
    assert plain.get_output_embeddings().weight.shape[0] == added.rows[1]
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.convert_tokens_to_ids(list(NEW)) == list(added.ids.values())
    pieces = TextEncoder.open(model).encode("<stamp>")
    row = plain.get_input_embeddings().weight[added.ids["<stamp>"]]
    torch.testing.assert_close(row, before[added.tables[0]][pieces].float().mean(dim=0))


@pytest.mark.parametrize("name", [QUICK[0], pytest.param(QUICK[1], marks=pytest.mark.slow)])
def test_doctor_passes_and_text_forms_the_tokens(tiny_models: dict[str, Path], tmp_path: Path, name: str) -> None:
    grow_model(tiny_models[name], tmp_path / "grown", NEW)
    report = run_doctor(tmp_path / "grown")
    assert report.ok, [(check.name, check.found) for check in report.checks if not check.ok]
    old, new = load_family(tiny_models[name]).encoder, load_family(tmp_path / "grown").encoder
    text = "signed <signature> and sealed <stamp>."
    assert new.find_id("<stamp>") in new.encode(text)
    assert len(new.encode(text)) < len(old.encode(text))
    assert new.decode(new.encode(text)) == old.decode(old.encode(text)) == text
    assert new.encode("no such token") == old.encode("no such token")
    assert new.fingerprint != old.fingerprint  # token counts of an index made before are not taken for these


def test_special_ones_are_formed_only_where_allowed(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "grown"
    number = grow_model(tiny_model, out, NEW, is_special=True).ids["<stamp>"]
    assert number not in load_family(out).encoder.encode("<stamp>")
    assert load_family(out, allow_tokens=["<stamp>"]).encoder.encode("<stamp>") == [number]


def test_rows_that_are_there_are_taken_first(tiny_model: Path, tmp_path: Path) -> None:
    """As in published models, which have more rows than tokens."""
    padded, out = tmp_path / "padded", tmp_path / "grown"
    first = grow_model(tiny_model, padded, NEW, multiple=64)
    added = grow_model(padded, out, ["<seal>"], init="pieces")
    assert added.rows == (first.rows[1], first.rows[1])
    assert added.ids == {"<seal>": 1 + max(first.ids.values())}
    assert "rows as before in model.embed_tokens.weight" in added.text
    assert (out / "config.json").read_text() == (padded / "config.json").read_text()
    table, before = (load_file(folder / "model.safetensors")[added.tables[0]] for folder in (out, padded))
    moved = (table != before).any(dim=1).nonzero().flatten().tolist()
    assert moved == [added.ids["<seal>"]]


def test_an_id_that_the_model_uses_for_something_else() -> None:
    names: dict[str, Any] = {"image_id": 9, "eos_id": 1, "pad_id": 1, "opening_ids": (), "structural_ids": {2}}
    family: Any = SimpleNamespace(model_dir=Path("m"), **names)
    refuse_taken_ids({"<stamp>": 8}, family)
    with pytest.raises(FamilyError, match=r"uses ids beyond its tokenizer .* \(<stamp> would be 9\)"):
        refuse_taken_ids({"<stamp>": 9}, family)


def test_weights_in_several_files(tiny_model: Path, tmp_path: Path) -> None:
    sharded = tmp_path / "sharded"
    shutil.copytree(tiny_model, sharded)
    (sharded / "model.safetensors").unlink()
    AutoModelForImageTextToText.from_pretrained(tiny_model).save_pretrained(sharded, max_shard_size="200KB")
    grow_model(sharded, tmp_path / "grown", NEW)
    names = [json.loads((one / "model.safetensors.index.json").read_text()) for one in (sharded, tmp_path / "grown")]
    assert names[0]["weight_map"] == names[1]["weight_map"]
    sizes = [tree["metadata"]["total_size"] for tree in names]
    assert sizes[1] - sizes[0] == 2 * 64 * 4
    AutoModelForImageTextToText.from_pretrained(tmp_path / "grown")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ((), "--token: name at least one token"),
        (("<stamp>", "<stamp>"), "<stamp> is named twice"),
        ((" <stamp>",), "no space at its ends"),
        (("<|im_end|>",), r"<\|im_end\|> is there already, with the id"),
    ],
)
def test_tokens_that_cannot_be_added(tiny_model: Path, tmp_path: Path, tokens: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        grow_model(tiny_model, tmp_path / "grown", tokens)
    assert not (tmp_path / "grown").exists()


def test_what_is_next_to_the_weights(tiny_model: Path, tmp_path: Path) -> None:
    """Templates come along; other copies of the weights do not, since they lack the rows."""
    model, out = tmp_path / "model", tmp_path / "grown"
    shutil.copytree(tiny_model, model)
    (model / "additional_chat_templates").mkdir()
    for name in ("consolidated.safetensors", "pytorch_model.bin", "additional_chat_templates/tools.jinja"):
        (model / name).write_text("x")
    grow_model(model, out, NEW)
    found = {path.name for path in out.rglob("*") if path.is_file()}
    assert found == {path.name for path in tiny_model.iterdir()} | {"tools.jinja"}


def test_folders_that_exist_or_hold_no_model(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(FamilyError, match="no weights there"):
        grow_model(tmp_path, tmp_path / "grown", NEW)
    with pytest.raises(ConfigError, match="not empty; remove it, or name another folder"):
        grow_model(tiny_model, tiny_model, NEW)


def test_the_command(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "grown"
    done = run("model", "add-tokens", tiny_model, out, "--token", "<stamp>", "--token", "<seal>", "--init", "pieces")
    assert done.returncode == 0
    assert "<stamp> = 1024, <seal> = 1025; 1,026 rows, of 1,024 before" in done.stdout.replace("\n", " ")
    again = run("model", "add-tokens", tiny_model, out, "--token", "<stamp>")
    assert again.returncode == 2
    assert "not empty; remove it" in again.stderr
