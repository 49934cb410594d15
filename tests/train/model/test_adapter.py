"""Where adapters are, what is trained next to them, and that a checkpoint and plain peft give the same model again."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

from tests.helpers.training import make_config, trainable
from wdstream.batches.collate import collate, encode_pack
from wdstream.errors import ConfigError, TrainError
from wdstream.families.registry import FAMILIES, load_family
from wdstream.testing import make_samples
from wdstream.train.before import prove_learning
from wdstream.train.model.adapter import describe_trained, require_unsharded, saved_modules, target_modules
from wdstream.train.model.load import load_model, trains_vision
from wdstream.train.model.parts import model_part
from wdstream.train.model.unreached import find_unreached, freeze_named
from wdstream.train.step.loss import LossHead, find_targets

CPU = torch.device("cpu")


def test_lora_reaches_the_language_model_only(tiny_model: Path) -> None:
    config = make_config(tiny_model, adapter={"kind": "lora", "r": 4}, gradient_checkpointing=True)
    model = load_model(config, CPU)
    names = trainable(model)
    assert len(names) == 3 * 7 * 2  # layers x projections x (A, B)
    assert all(".language_model." in name and ".lora_" in name for name in names)
    assert not trains_vision(config)
    assert trains_vision(make_config(tiny_model, adapter={"target_modules": ".*qkv"}))


def test_lora_targets_that_match_nothing_are_named(tiny_model: Path) -> None:
    with pytest.raises(TrainError, match=r"train.adapter.target_modules: .*no_such"):
        load_model(make_config(tiny_model, adapter={"target_modules": "no_such"}), CPU)


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens", r".*(lm_head|q_proj)"])
def test_an_adapter_on_a_tied_head_is_refused(tiny_model: Path, target: str) -> None:
    targets = target if "*" in target else [target]
    with pytest.raises(TrainError, match=r"lm_head and model.language_model.embed_tokens are one weight"):
        load_model(make_config(tiny_model, adapter={"target_modules": targets}), CPU)


def test_an_adapter_on_a_head_of_its_own(tiny_models: dict[str, Path]) -> None:
    config = make_config(tiny_models["idefics3"], adapter={"target_modules": ["lm_head"]})
    assert {name.split(".")[-3] for name in trainable(load_model(config, CPU))} == {"lora_A", "lora_B"}


def make_inputs(path: Path) -> tuple[dict[str, object], Any]:
    family = load_family(path)
    batch = collate([encode_pack(make_samples(family), family)], family)
    inputs = dict(family.model_inputs(batch, device="cpu", dtype=torch.float32))
    inputs.pop("labels", None)
    return inputs, find_targets(batch.labels)


def train_two_steps(model: Any, path: Path) -> Tensor:
    """Two steps of AdamW, then the loss; every parameter that is trained in a run gets a gradient."""
    head, (inputs, targets) = LossHead(model), make_inputs(path)
    freeze_named(model, find_unreached(model, head, load_family(path)))  # as a run does
    chosen = {name: one for name, one in model.named_parameters() if one.requires_grad}
    optimizer = torch.optim.AdamW(chosen.values(), lr=1e-2)
    for _ in range(2):
        head.loss_sum(model, inputs, targets).backward()
        assert not [name for name, one in chosen.items() if one.grad is None]
        optimizer.step()
        optimizer.zero_grad()
    return head.loss_sum(model, inputs, targets).detach()


QUICK: tuple[tuple[str, dict[str, Any]], ...] = (
    ("qwen2_5_vl", {"dora": True, "rslora": True, "init": "gaussian"}),
    ("qwen2_5_vl", {"modules_to_save": ["lm_head", "projector"]}),  # the head is tied to the embedding
    ("idefics3", {"train_tokens": ["<row_1_col_1>"], "alpha_pattern": {"v_proj": 3}}),
)
SLOW: tuple[tuple[str, dict[str, Any]], ...] = (
    ("qwen2_5_vl", {"train_tokens": ["<|im_end|>"]}),
    ("idefics3", {"modules_to_save": ["embed_tokens", "lm_head"], "rank_pattern": {"q_proj": 2, "mlp.up_proj": 8}}),
    ("gemma3", {"parts": ["language", "vision"], "modules_to_save": ["embed_tokens"]}),
    ("qwen3_vl", {"modules_to_save": ["projector"]}),  # parts of it are in a list of modules
)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("family", "chosen"), [*QUICK, *(pytest.param(*variant, marks=pytest.mark.slow) for variant in SLOW)]
)
def test_a_checkpoint_and_plain_peft_give_the_same_model(
    tiny_models: dict[str, Path], tmp_path: Path, family: str, chosen: dict[str, Any]
) -> None:
    path = tiny_models[family]
    config = make_config(path, adapter={"r": 4, **chosen})
    torch.manual_seed(0)
    model = load_model(config, CPU)
    begin = LossHead(model).loss_sum(model, *make_inputs(path)).item()
    bare = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)
    assert begin == pytest.approx(LossHead(bare).loss_sum(bare, *make_inputs(path)).item(), rel=1e-6)
    assert {one.dtype for one in model.parameters() if one.requires_grad} == {torch.float32}
    loss = train_two_steps(model, path)
    assert loss < begin
    again: Any = load_model(config, CPU)
    set_peft_model_state_dict(again, copy.deepcopy(get_peft_model_state_dict(model)))
    assert torch.equal(LossHead(again).loss_sum(again, *make_inputs(path)), loss)
    model.save_pretrained(str(tmp_path))
    plain = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32), tmp_path)
    plain.train()
    assert LossHead(plain).loss_sum(plain, *make_inputs(path)).item() == pytest.approx(loss.item(), rel=1e-6)
    merged = plain.merge_and_unload()
    assert LossHead(merged).loss_sum(merged, *make_inputs(path)).item() == pytest.approx(loss.item(), rel=1e-5)


def test_scales_and_ranks_follow_the_settings(tiny_model: Path) -> None:
    def layers(**chosen: Any) -> dict[str, Any]:
        model = load_model(make_config(tiny_model, adapter={"r": 4, "alpha": 8, **chosen}), CPU)
        return {name.rpartition(".")[2]: one for name, one in model.named_modules() if hasattr(one, "lora_A")}

    assert layers()["q_proj"].scaling == {"default": 2.0}
    assert layers(rslora=True)["q_proj"].scaling == {"default": 4.0}
    found = layers(rank_pattern={"down_proj": 2}, alpha_pattern={"q_proj": 16})
    assert (found["down_proj"].r, found["up_proj"].r) == ({"default": 2}, {"default": 4})
    assert (found["q_proj"].scaling, found["k_proj"].scaling) == ({"default": 4.0}, {"default": 2.0})


def test_only_the_rows_of_the_tokens_are_trained(tiny_model: Path) -> None:
    config = make_config(tiny_model, adapter={"r": 4, "train_tokens": ["<|im_end|>"]})
    before = AutoModelForImageTextToText.from_pretrained(tiny_model, dtype=torch.float32)
    model: Any = load_model(config, CPU)
    train_two_steps(model, tiny_model)
    merged = model.merge_and_unload()
    assert merged.lm_head.weight is merged.get_input_embeddings().weight
    moved = (merged.lm_head.weight != before.lm_head.weight).any(dim=1).nonzero().flatten().tolist()
    assert moved == [load_family(tiny_model).encoder.find_id("<|im_end|>")]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_parts_of_every_family(tiny_models: dict[str, Path], family: str) -> None:
    path = tiny_models[family]
    adapter = make_config(path, adapter={"parts": ["vision", "projector"]}).train.adapter
    assert adapter is not None
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_pretrained(path, device_map="meta")
    assert {model_part(name) for name, _ in model.named_parameters()} == {
        "language",
        "vision",
        "projector",
        "embeddings",
    }
    targets = target_modules(model, adapter)
    assert {model_part(name) for name in targets} >= {"vision"}
    language = [name for name, _ in model.named_modules() if model_part(name) in ("language", "embeddings")]
    assert not {*targets} & {*language}
    saved = saved_modules(model, ["projector"])
    assert not [name for name in saved if isinstance(model.get_submodule(name), nn.ModuleList)]
    # All but a parameter that is in no module of the part, such as llava_onevision's image_newline.
    modules = {name.rpartition(".")[0] for name, _ in model.named_parameters() if model_part(name) == "projector"}
    inside = [name for name in modules if model_part(name) == "projector"]
    assert not [name for name in inside if not f"{name}.".startswith(tuple(f"{one}." for one in saved))]


def trained_parts(names: Sequence[str]) -> set[str]:
    return {model_part(name) for name in names}


def test_adapters_by_part(tiny_model: Path) -> None:
    config = make_config(tiny_model, adapter={"r": 4, "parts": ["language", "vision", "projector"]})
    model = load_model(config, CPU)
    assert trained_parts([*trainable(model)]) == {"language", "vision", "projector"}
    assert trains_vision(config)
    line = describe_trained(model)
    total = sum(one.numel() for one in model.parameters() if one.requires_grad)
    assert line.startswith(f"trained: {total / 1e6:.3f} M weights (tensors of language 0.0")
    only = make_config(tiny_model, adapter={"r": 4, "parts": ["projector"]})
    assert trained_parts([*trainable(load_model(only, CPU))]) == {"projector"}
    assert not trains_vision(make_config(tiny_model, adapter={"parts": ["language"]}))
    assert trains_vision(make_config(tiny_model, adapter={"modules_to_save": ["projector"]}))
    assert {*trainable(load_model(make_config(tiny_model, adapter={"r": 4, "parts": ["language"]}), CPU))} == {
        *trainable(load_model(make_config(tiny_model, adapter={"r": 4}), CPU))
    }


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            {"modules_to_save": ["no_such"]},
            r"modules_to_save: no module .* in no_such; it is made of lm_head, model",
        ),
        ({"train_tokens": ["<stamp>"]}, r"train_tokens: the tokenizer of .* has no <stamp>; add them with"),
        (
            {"rank_pattern": {"qkv": 2}},
            r"rank_pattern: no module .* a match of qkv; they are down_proj",
        ),
        ({"alpha_pattern": {"qkv": 2}}, r"alpha_pattern: no module"),
        (
            {"rank_pattern": {"q_proj": 2, "self_attn.q_proj": 8}},
            r"rank_pattern: self_attn.q_proj: a pattern before it already holds",
        ),
        (
            {"train_tokens": ["<|im_end|>"], "modules_to_save": ["lm_head"]},
            r"train_tokens: modules_to_save already trains every row",
        ),
    ],
)
def test_what_the_model_lacks_is_named(tiny_model: Path, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainError, match=f"train.adapter.{message}"):
        load_model(make_config(tiny_model, adapter={"r": 4, **chosen}), CPU)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"target_modules": ["q_proj", "q_prj"]}, r"target_modules: no module .* ends in q_prj: .* there are q_proj"),
        (
            {"parts": ["language", "projector"], "modules_to_save": ["merger"]},
            "parts: projector: no adapter is on it: .* modules_to_save trains all",
        ),
        (
            {"target_modules": ["q_proj", "k_proj"], "rank_pattern": {"q_proj": 2, "k_proj": 8}},
            "r: has no effect: rank_pattern has another for every module",
        ),
        (
            {"target_modules": ["q_proj"], "alpha": 8, "alpha_pattern": {".*": 2}},
            "alpha: has no effect: alpha_pattern has another",
        ),
    ],
)
def test_what_has_no_effect_is_refused_of_a_new_run(tiny_model: Path, chosen: dict[str, Any], message: str) -> None:
    config, family = make_config(tiny_model, adapter={"r": 4, **chosen}), load_family(tiny_model)
    with pytest.raises(TrainError, match=f"train.adapter.{message}"):
        prove_learning(config, family)
    prove_learning(config, family, is_new=False)


@pytest.mark.parametrize(
    "chosen", [{"parts": ["vision"]}, {"target_modules": ".*qkv"}, {"modules_to_save": ["projector"]}]
)
def test_freeze_vision_refuses_an_adapter_that_reaches_further(tiny_model: Path, chosen: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"freeze_vision: train.adapter trains \d+ weights .* such as base_model"):
        load_model(make_config(tiny_model, freeze_vision=True, adapter=chosen), CPU)
    load_model(make_config(tiny_model, freeze_vision=True, adapter={"r": 4}), CPU)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"parts": ["language"], "target_modules": "x"}, "parts and target_modules both say"),
        ({"parts": ["projector"], "modules_to_save": ["projector"]}, "both name the projector"),
        ({"quant_type": "fp4", "double_quant": False}, "quant_type, double_quant: of kind: qlora, and ignored by"),
        ({"kind": "qlora", "quantized_parts": []}, "at least 1 item"),
        ({"rank_pattern": {"q_proj": 0}}, "greater than 0"),
        ({"rank_pattern": {"(": 2}}, r"rank_pattern[\s\S]*expected a regular expression: missing"),
        ({"target_modules": "("}, r"target_modules[\s\S]*expected a regular expression: missing"),
        ({"train_tokens": [""]}, r"train_tokens[\s\S]* at least 1 character"),
    ],
)
def test_contradictions_are_refused_by_name(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        make_config(Path("m"), adapter=chosen)


def test_rows_of_sharded_tables_are_refused() -> None:
    adapter = make_config(Path("m"), adapter={"train_tokens": ["<stamp>"]}).train.adapter
    require_unsharded(adapter, is_sharded=False)
    require_unsharded(None, is_sharded=True)
    with pytest.raises(ConfigError, match=r"train.adapter.kind: qlora: under FSDP its checkpoints cannot be loaded"):
        require_unsharded(make_config(Path("m"), adapter={"kind": "qlora"}).train.adapter, is_sharded=True)
    with pytest.raises(ConfigError, match=r"train.adapter.train_tokens: FSDP and ZeRO-3 shard the embedding"):
        require_unsharded(adapter, is_sharded=True)
