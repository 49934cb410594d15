"""Layers that compute their activations again: the same gradient in every family, less that is kept for it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForImageTextToText

from tests.helpers.training import make_config
from wdstream.batches.collate import collate, encode_pack
from wdstream.config.adapter import AdapterConfig
from wdstream.config.speed import CheckpointedLayers
from wdstream.config.training import TrainConfig
from wdstream.errors import ConfigError, TrainError, WdstreamError
from wdstream.families.registry import FAMILIES, load_family
from wdstream.testing import make_samples
from wdstream.train.before import prove_learning
from wdstream.train.model.adapter import add_adapter
from wdstream.train.model.checkpointing import enable_checkpointing, layers_of
from wdstream.train.model.load import freeze_vision
from wdstream.train.step.loss import LossHead, find_targets

QUICK = ("qwen2_5_vl", "gemma3", "idefics3")
WAYS = (False, True, "selective", CheckpointedLayers(layers=1))


def open_model(path: Path) -> Any:
    family = load_family(path)
    attention = "sdpa" if "sdpa" in family.attention else "eager"
    family = family.for_attention(attention)
    setting = family.attention_setting(attention)
    model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32, attn_implementation=setting)
    return model.train(), family


class CountProducts(TorchDispatchMode):
    """Counts the products of a linear layer that are computed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
        return func(*args, **(kwargs or {}))


def gradient_and_work(path: Path, way: bool | str | CheckpointedLayers) -> tuple[torch.Tensor, int, int]:
    """The gradient of a batch, the bytes of saved tensors, and how many products were computed."""
    model, family = open_model(path)
    head = LossHead(model)
    enable_checkpointing(model, way)
    batch = collate([encode_pack(make_samples(family)[:3], family)], family)
    inputs = family.model_inputs(batch, device="cpu", dtype=torch.float32)
    inputs.pop("labels")
    kept: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(0)
    with CountProducts() as products:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = head.loss_sum(model, inputs, find_targets(batch.labels))
        loss.backward()
    parts = [torch.zeros(0) if one.grad is None else one.grad.flatten() for one in model.parameters()]
    return torch.cat(parts), sum(kept.values()), products.count


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name not in QUICK)]
)
def test_the_gradient_is_the_same_and_less_is_kept(name: str, tiny_models: dict[str, Path]) -> None:
    found = [gradient_and_work(tiny_models[name], way) for way in WAYS]
    for gradient, _, _ in found[1:]:
        assert torch.equal(gradient, found[0][0])
    kept, products = zip(*(figures for _, *figures in found), strict=True)
    every, first = WAYS.index(True), -1
    assert kept[every] < kept[first] < kept[0]
    assert products[every] > products[first] > products[0]
    assert products[WAYS.index("selective")] == products[0]  # those are kept


@pytest.mark.parametrize("has_adapter", [False, True])
def test_a_frozen_vision_tower_has_no_backward_pass(tiny_model: Path, has_adapter: bool) -> None:
    """Its layers are not computed again either, whether it is frozen by itself or under an adapter."""
    model, family = open_model(tiny_model)
    freeze_vision(model)
    model = add_adapter(model, AdapterConfig(), tiny_model) if has_adapter else model
    enable_checkpointing(model, True)
    batch = collate([encode_pack(make_samples(family)[:1], family)], family)
    inputs = family.model_inputs(batch, device="cpu", dtype=torch.float32)
    given: list[bool] = []
    for layer in layers_of(model)[1]:
        layer.register_forward_hook(lambda _, taken, made: given.append(made.requires_grad))
    model(**{name: value for name, value in inputs.items() if name != "labels"})
    assert given
    assert not any(given)


@pytest.mark.parametrize(
    "train",
    [
        {"freeze_vision": True},
        {"adapter": {"kind": "lora"}},
        {"parts": {"vision": {"frozen": True}}},
        {"stages": [{"steps": 1, "train": ["projector"]}, {"train": ["projector", "language"]}]},
        {"patterns": {"*.visual.*": {"frozen": True}}},
    ],
)
def test_layers_of_a_frozen_vision_tower_are_refused(tiny_model: Path, train: dict[str, Any]) -> None:
    config = make_config(tiny_model, gradient_checkpointing={"vision_layers": 1}, **train)
    with pytest.raises(ConfigError, match=r"train\.gradient_checkpointing\.vision_layers: .* leave it out"):
        prove_learning(config, load_family(tiny_model))


def test_what_is_checked_needs_no_weights(tiny_model: Path, tmp_path: Path) -> None:
    """Of a model folder without its weights: so before they are loaded."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors")))
    family = load_family(folder)
    prove_learning(make_config(folder, gradient_checkpointing={"vision_layers": 1, "layers": 3}), family)
    for settings, message in (
        ({"gradient_checkpointing": {"layers": 99}}, "gradient_checkpointing.layers: 99, and this model has 3"),
        ({"patterns": {"*.layer.0.*": {"lr": 1}}}, r"names are such as \*.layers.0.\*"),
        ({"adapter": {"target_modules": "nothing"}}, "train.adapter.target_modules: "),
        ({"adapter": {"modules_to_save": ["nothing"]}}, "no module of the model has a name that ends in nothing"),
    ):
        with pytest.raises(WdstreamError, match=message):
            prove_learning(make_config(folder, **settings), family)


@pytest.mark.parametrize("has_adapter", [False, True])
def test_only_the_layers_asked_for(tiny_model: Path, has_adapter: bool) -> None:
    model, _ = open_model(tiny_model)
    model = add_adapter(model, AdapterConfig(), tiny_model) if has_adapter else model
    enable_checkpointing(model, CheckpointedLayers(layers=2, vision_layers=1))
    language, vision = layers_of(model)
    assert [layer.gradient_checkpointing for layer in language] == [True, True, False]
    assert [layer.gradient_checkpointing for layer in vision] == [True] + [False] * (len(vision) - 1)


def test_more_layers_than_there_are_is_refused(tiny_model: Path) -> None:
    with pytest.raises(TrainError, match=r"gradient_checkpointing\.layers: 4, and this model has 3"):
        enable_checkpointing(open_model(tiny_model)[0], CheckpointedLayers(layers=4))


def test_settings() -> None:
    read = TrainConfig.of({"gradient_checkpointing": {"layers": 2}}).gradient_checkpointing
    assert read == CheckpointedLayers(layers=2, vision_layers=0)
    assert TrainConfig.of({"gradient_checkpointing": True}).gradient_checkpointing is True
    with pytest.raises(ConfigError, match=r"gradient_checkpointing.*at least 1"):
        TrainConfig.of({"gradient_checkpointing": {}})
    with pytest.raises(ConfigError, match="gradient_checkpointing"):
        TrainConfig.of({"gradient_checkpointing": "some"})
