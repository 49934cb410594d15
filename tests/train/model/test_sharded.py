"""FSDP2: one process reads the weights, and all have the model that each of them would have read.

Spans: train.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.paths import ROOT
from tests.helpers.processes import run_world
from tests.helpers.training import Workplace, make_config, trainable
from wdstream.families.registry import FAMILIES, load_family
from wdstream.testing import make_tiny_model
from wdstream.train.model.load import load_model
from wdstream.train.model.sharded import layer_classes, small_tensors
from wdstream.train.model.unreached import find_unreached, freeze_named
from wdstream.train.step.loss import LossHead

WORKER = str(ROOT / "tests/workers/opened.py")
CPU = torch.device("cpu")


def opened(folder: Path, work: Path, **tree: Any) -> list[dict[str, Any]]:
    work.mkdir()
    run_world(WORKER, [str(folder), str(work), json.dumps(tree)], size=2)
    return [torch.load(work / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize(
    "family", ["qwen2_5_vl", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gemma3", "llava_onevision"))]
)
def test_every_rank_has_the_whole_model_in_shards(tmp_path: Path, family: str) -> None:
    folder = make_tiny_model(tmp_path / "model", family=family)
    wanted = load_model(make_config(folder), CPU)
    freeze_named(wanted, find_unreached(wanted, LossHead(wanted), load_family(folder)))
    for found in opened(folder, tmp_path / "work"):
        assert found["weights"].keys() == dict(wanted.named_parameters()).keys()
        assert all(torch.equal(found["weights"][name], one) for name, one in wanted.named_parameters())
        assert set(found["learns"]) == trainable(wanted)
        small = {place: tensor for place, _, tensor in small_tensors(wanted)}
        assert found["others"].keys() == small.keys() and len(small) > 0
        assert all(torch.equal(found["others"][place], tensor) for place, tensor in small.items())
        assert found["saved"] == sorted(set(wanted.state_dict()) - set(found["weights"]))
        assert found["kept"] == 0  # nothing holds the whole weights any more


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [{}, {"modules_to_save": ["lm_head"]}, {"dora": True}])
def test_an_adapter_is_that_of_one_process(tiny_model: Path, tmp_path: Path, chosen: dict[str, Any]) -> None:
    adapter = {"kind": "lora", "r": 4, **chosen}
    torch.manual_seed(0)  # of the main process
    wanted = load_model(make_config(tiny_model, adapter=adapter), CPU)
    for found in opened(tiny_model, tmp_path / "work", train={"adapter": adapter}):
        assert all(torch.equal(found["weights"][name], one) for name, one in wanted.named_parameters())
        assert set(found["learns"]) == trainable(wanted)


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["null", "{kind: lora, r: 4}"])
def test_a_warm_start_is_read_by_one_process(workplace: Workplace, tmp_path: Path, adapter: str) -> None:
    """Of whole weights, and of an adapter that is merged into them."""
    source = tmp_path / "source"
    assert (
        workplace.train(source, f"train.adapter={adapter}", "train.max_steps=2", "train.lr=0.01", "data.eval=[]") == 0
    )
    folder = workplace.root / "model"
    before = load_model(make_config(folder), CPU).state_dict()
    first, second = opened(folder, tmp_path / "work", model={"init": str(source)})
    assert all(torch.equal(first["weights"][name], one) for name, one in second["weights"].items())
    assert any(not torch.equal(before[name], one) for name, one in first["weights"].items())
    if adapter == "null":
        wanted = load_file(source / "final" / "model.safetensors")
        assert all(torch.equal(first["weights"][name], one) for name, one in wanted.items() if name in first["weights"])


@pytest.mark.parametrize("family", [pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES])
def test_without_numbers_a_model_has_the_same_form_and_units(tmp_path: Path, family: str) -> None:
    folder = make_tiny_model(tmp_path / "model", family=family)
    found = load_family(folder)
    attention = found.attention_setting(found.attention[0])
    config = make_config(folder)
    one, other = (load_model(config, CPU, attention=attention, has_numbers=has) for has in (True, False))
    forms = [[(n, p.shape, p.dtype, p.requires_grad) for n, p in model.named_parameters()] for model in (one, other)]
    assert forms[0] == forms[1]
    places = [[(place, tensor.shape) for place, _, tensor in small_tensors(model)] for model in (one, other)]
    assert places[0] == places[1]
    assert all(parameter.is_meta for parameter in other.parameters())
    units = {name for name, module in one.named_modules() if type(module).__name__ in layer_classes(one)}
    assert any(re.search(r"(language_model|text_model)\.layers\.0$", name) for name in units), units
