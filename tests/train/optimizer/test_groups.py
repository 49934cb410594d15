"""What learns, in which group, with which rate and decay; entries that act on nothing are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText

from wdstream.config.training import TrainConfig
from wdstream.errors import ConfigError
from wdstream.train.model.load import freeze_vision
from wdstream.train.optimizer.groups import (
    freeze_parts,
    group_rates,
    groups_digest,
    learning_figures,
    learning_groups,
    learns_from_images,
    near_patterns,
    own_settings,
    refuse_idle_entries,
)


@pytest.fixture
def model(tiny_models: dict[str, Path]) -> Any:
    """A model with every kind of parameter, without weights."""
    config = AutoConfig.from_pretrained(tiny_models["qwen3_vl"])
    with torch.device("meta"):
        empty = AutoModelForImageTextToText.from_config(config)
    empty.tie_weights()
    return empty


def learning(model: nn.Module, **settings: object) -> set[str]:
    freeze_parts(model, TrainConfig.of(settings))
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def decays(model: nn.Module, *, decays_tables: bool = False, **settings: object) -> dict[str, float]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = learning_groups(model, TrainConfig.of(settings), decays_tables=decays_tables)
    return {names[each]: group.weight_decay for group in groups for each in group.parameters}


def is_of(name: str, *parts: str) -> bool:
    return any(part in name for part in parts)


def test_parts_and_patterns_freeze(model: nn.Module) -> None:
    every = {name for name, _ in model.named_parameters()}
    found = learning(
        model,
        parts={"vision": {"frozen": True}, "embeddings": {"frozen": True}},
        patterns={"*.visual.blocks.*": {"frozen": False}, "*.layers.?.mlp.*": {"frozen": True}},
    )
    frozen = every - found
    assert all(is_of(name, "visual.patch_embed", "visual.pos_embed", "embed_tokens", ".mlp.") for name in frozen)
    assert "model.visual.blocks.0.attn.qkv.weight" in found
    assert "model.visual.merger.norm.weight" in found


def test_a_tied_weight_has_both_names(model: nn.Module) -> None:
    assert "model.language_model.embed_tokens.weight" not in learning(model, patterns={"lm_head.*": {"frozen": True}})


def test_stages_freeze_what_none_of_them_trains(model: nn.Module) -> None:
    found = learning(model, stages=[{"train": ["projector"], "steps": 2}, {"train": ["language", "projector"]}])
    assert found and all(is_of(name, "merger", "language_model.layers", "language_model.norm") for name in found)


def test_two_groups_where_nothing_else_is_said(model: nn.Module) -> None:
    """As in every checkpoint of before, whose optimizer they are to fit."""
    groups = learning_groups(model, TrainConfig())
    every = list(model.parameters())
    assert [list(map(id, group.parameters)) for group in groups] == [
        [id(each) for each in every if each.ndim >= 2],
        [id(each) for each in every if each.ndim < 2],
    ]
    assert {group.lr for group in groups} == {None}


def test_weight_decay_is_on_matrices_that_are_no_tables(model: nn.Module) -> None:
    found = decays(model, weight_decay=0.1)
    spared = {name for name, decay in found.items() if decay == 0}
    vectors = {name for name, parameter in model.named_parameters() if parameter.ndim < 2}
    assert spared == vectors | {"model.visual.pos_embed.weight", "model.language_model.embed_tokens.weight"}
    assert {name for name, decay in decays(model, weight_decay=0.1, decays_tables=True).items() if not decay} == vectors


def test_weight_decay_by_part_and_pattern(model: nn.Module) -> None:
    found = decays(
        model,
        weight_decay=0.1,
        parts={"vision": {"weight_decay": 0.0}, "embeddings": {"weight_decay": 0.3}},
        patterns={"*.merger.norm.*": {"weight_decay": 0.2}},
    )
    assert found["model.visual.blocks.0.attn.qkv.weight"] == 0.0
    assert found["model.language_model.embed_tokens.weight"] == 0.3
    assert found["model.visual.merger.norm.bias"] == 0.2
    assert found["model.visual.merger.linear_fc1.weight"] == 0.1
    assert found["model.visual.merger.linear_fc1.bias"] == 0.0


def test_groups_of_one_size_are_told_apart(model: nn.Module) -> None:
    every = [{"patterns": {f"*.layers.{layer}.*": {"lr": rate}}} for layer, rate in ((0, 1.0), (1, 1.0), (0, 2.0))]
    first, other, faster = (learning_groups(model, TrainConfig.of(each)) for each in every)
    assert [len(group.parameters) for group in first] == [len(group.parameters) for group in other]
    assert groups_digest(first) != groups_digest(other)
    assert groups_digest(first) == groups_digest(faster) < 2**53  # a whole number in any JSON


def test_rates_of_groups_and_stages(model: nn.Module) -> None:
    config = TrainConfig.of(
        {
            "schedule": "constant",
            "parts": {"projector": {"lr": 5.0}},
            "stages": [{"train": ["projector"], "steps": 2}, {"train": ["projector", "language"], "lr": 2.0}],
        }
    )
    freeze_parts(model, config)
    groups = learning_groups(model, config)
    rates = [
        {group.part: rate for group, rate in zip(groups, group_rates(groups, step, config, total_steps=4), strict=True)}
        for step in (1, 2)
    ]
    assert rates == [{"projector": 5.0, "language": None}, {"projector": 5.0, "language": 2.0}]
    own = own_settings(model, config)
    assert learning_figures(own, 1, config, total_steps=4) == {"stage": 0.0, "lr/projector": 5.0}
    assert own_settings(model, TrainConfig()) == () and learning_figures((), 1, TrainConfig(), total_steps=4) == {}


def test_whether_images_are_needed(model: nn.Module) -> None:
    config = TrainConfig.of({"parts": {"vision": {"frozen": True}}})
    freeze_parts(model, config)
    assert learns_from_images(model, config)
    config = TrainConfig.of({"parts": {"projector": {"frozen": True}}})
    freeze_parts(model, config)
    assert not learns_from_images(model, config)
    assert learns_from_images(model, TrainConfig())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patterns": {"*.layer.*": {"lr": 1}}}, r"train.patterns.\*.layer.\*: no parameter that learns belongs to it"),
        ({"freeze_vision": True, "patterns": {"*.visual.*": {"lr": 1}}}, "no parameter that learns"),
        ({"freeze_vision": True, "patterns": {"*": {"frozen": False}}}, r"freeze_vision: true freezes model.visual"),
        ({"parts": {"language": {"frozen": True}}, "patterns": {"*.layers.*": {"lr": 1}}}, "together freeze all"),
        ({"stages": [{"train": ["language"]}], "patterns": {"*.visual.*": {"lr": 1}}}, "together freeze all"),
        (
            {"patterns": {"*merger*": {"frozen": True}}, "stages": [{"train": ["projector", "language"]}]},
            "train.stages: train: projector: has no effect",
        ),
    ],
)
def test_entries_without_effect_are_refused(model: nn.Module, settings: dict[str, object], message: str) -> None:
    config = TrainConfig.of(settings)
    if config.freeze_vision:
        freeze_vision(model)
    with pytest.raises(ConfigError, match=message):
        freeze_parts(model, config)


def refuse_idle(model: nn.Module, config: TrainConfig) -> None:
    freeze_parts(model, config)
    refuse_idle_entries(model, config)


FROZEN_TOWER = {"parts": {"vision": {"frozen": True}}}


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"lr": 0.5, "parts": {part: {"lr": 1} for part in ("language", "vision", "projector", "embeddings")}}, "lr"),
        (
            {"lr": 0.5, "stages": [{"train": ["projector"], "steps": 1, "lr": 1}, {"train": ["language"], "lr": 2}]},
            "lr",
        ),
        ({"weight_decay": 0.1, "patterns": {"*": {"weight_decay": 0.0}}}, "weight_decay"),
        ({"weight_decay": 0.1, "patterns": {"*": {"frozen": True}, "*norm*": {"frozen": False}}}, "weight_decay"),
        ({"parts": {"vision": {"lr": 1}}, "patterns": {"*.visual.*": {"lr": 2}}}, "parts.vision.lr"),
        ({"patterns": {"*.visual.*": {"lr": 1}, "*": {"lr": 2}}}, r"patterns.\*.visual.\*.lr"),
        ({**FROZEN_TOWER, "patterns": {"*": {"frozen": False}}}, "parts.vision: frozen: true"),
        ({"parts": {"projector": {"lr": 1}}, "stages": [{"train": ["projector"], "lr": 2}]}, "stages.0.lr"),
        ({"optimizer": "muon", "muon": {"lr": 1}, "patterns": {"*": {"lr": 2}}}, "muon.lr"),
        ({"optimizer": "muon", "stages": [{"train": ["embeddings"]}]}, "optimizer"),
        ({"optimizer": "muon", "eps": 1, "patterns": {"*": {"frozen": True}, "*mlp*proj*": {"frozen": False}}}, "eps"),
    ],
)
def test_settings_that_nothing_follows_are_refused(model: nn.Module, settings: dict[str, object], place: str) -> None:
    with pytest.raises(ConfigError, match=rf"train.{place}:? has no effect"):
        refuse_idle(model, TrainConfig.of(settings))


def test_settings_that_something_follows(model: nn.Module) -> None:
    stages = [{"train": ["projector"], "steps": 1, "lr": 1}, {"train": ["language"]}]
    refuse_idle(model, TrainConfig.of({"lr": 0.5, "weight_decay": 0.1, "stages": stages}))
    muon = {"optimizer": "muon", "muon": {"lr": 1, "weight_decay": 0.2}, "eps": 1, "betas": [0.8, 0.9]}
    refuse_idle(model, TrainConfig.of({**muon, "parts": {"projector": {"weight_decay": 0.0}}}))


def test_rates_and_decays_of_patterns_are_among_the_figures(model: nn.Module) -> None:
    config = TrainConfig.of(
        {
            "schedule": "constant",
            "optimizer": "muon",
            "muon": {"lr": 0.25},
            "parts": {"embeddings": {"lr": 3.0}},
            "patterns": {"*.blocks.0.*": {"lr": 0.5, "weight_decay": 0.2}},
            "stages": [{"train": ["vision"], "steps": 2}, {"train": ["language", "embeddings"]}],
        }
    )
    freeze_parts(model, config)
    own = own_settings(model, config)
    first, second = (learning_figures(own, step, config, total_steps=4) for step in (0, 2))
    assert first == {"stage": 0.0, "lr/muon": 0.25, "lr/*.blocks.0.*": 0.5, "weight_decay/*.blocks.0.*": 0.2}
    assert second == {"stage": 1.0, "lr/muon": 0.25, "lr/embeddings": 3.0}


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("*.layer.0.*", "*.layers.0.*"),
        ("*.langauge_model.layers.*.mlp.*", "*.language_model.layers.*.mlp.*"),
        ("model.visual.merger.linear_fc", "model.visual.merger.linear_fc"),
    ],
)
def test_near_patterns(pattern: str, near: str, model: nn.Module) -> None:
    found = near_patterns(pattern, [name for name, _ in model.named_parameters()])
    assert found == [near] or all(name.startswith(near) for name in found)


def test_of_an_adapter_nothing_but_its_own_matrices_learns(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("layers.0.mlp.up_proj.weight"))
    with pytest.raises(ConfigError, match=r"is of the frozen base of train.adapter"):
        freeze_parts(model, TrainConfig.of({"parts": {"language": {"frozen": False}}, "adapter": {}}))
    with pytest.raises(ConfigError, match=r"train.stages: train: projector: no parameter that learns .*: language,"):
        freeze_parts(model, TrainConfig.of({"stages": [{"train": ["projector"]}], "adapter": {}}))
