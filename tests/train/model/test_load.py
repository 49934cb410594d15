"""What is loaded, frozen, quantised and given adapters."""

from pathlib import Path

import pytest
import torch

from tests.helpers.training import make_config, trainable
from wdstream.errors import ConfigError, FamilyError
from wdstream.train.model.load import (
    compute_dtype,
    load_model,
    trains_vision,
)

CPU = torch.device("cpu")


def test_full_training_trains_everything(tiny_model: Path) -> None:
    config = make_config(tiny_model)
    model = load_model(config, CPU)
    assert trainable(model) == {name for name, _ in model.named_parameters()}
    assert model.training
    assert model.config.use_cache is False
    assert trains_vision(config)


def test_freeze_vision_leaves_the_language_model(tiny_model: Path) -> None:
    config = make_config(tiny_model, freeze_vision=True)
    names = trainable(load_model(config, CPU))
    assert names
    assert not [name for name in names if "visual" in name]
    assert "model.language_model.embed_tokens.weight" in names
    assert not trains_vision(config)


def test_dtypes() -> None:
    config = make_config(Path("m"))
    assert compute_dtype(config.model) == torch.float32
    slow = config.model.model_copy(update={"dtype": "bfloat16"})
    assert compute_dtype(slow) == torch.bfloat16


def test_no_checkpoint_and_wrong_attention_are_named(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.path: .* holds no config.json"):
        load_model(make_config(tmp_path), CPU)
    config = make_config(tiny_model)
    wrong = config.model_copy(update={"model": config.model.model_copy(update={"attn": "flash_attention_2"})})
    with pytest.raises(FamilyError, match=r"the model cannot be loaded \(ImportError: .*[Ff]lash"):
        load_model(wrong, CPU)
