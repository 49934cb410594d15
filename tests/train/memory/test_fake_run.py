"""What a forward pass keeps, counted without numbers, is what a real one keeps."""

import shutil
from pathlib import Path

import pytest
import torch

from tests.helpers.checkpoints import edit, text_config
from wdstream.config.schema import Config
from wdstream.errors import FamilyError
from wdstream.families.registry import FAMILIES, load_family
from wdstream.train.memory.fake_run import fake_model, kept_by
from wdstream.train.memory.full_pack import full_pack
from wdstream.train.model.image_padding import drop_image_padding
from wdstream.train.model.load import load_model
from wdstream.train.step.blank import batch_form

QUICK = ("qwen2_5_vl",)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name not in QUICK)]
)
def test_as_much_is_kept(name: str, tiny_models: dict[str, Path]) -> None:
    path = tiny_models[name]
    family = load_family(path)
    attention = "sdpa" if "sdpa" in family.attention else "eager"
    family = family.for_attention(attention)
    batch = full_pack(family, sequence_length=1200, max_patches=2048)
    kept = []
    for wanted, dtype in ((False, torch.float32), (True, torch.float32), (False, torch.bfloat16)):
        tree = {"model": {"path": str(path), "attn": attention}, "data": {"train": [{"path": "none"}]}}
        config = Config.model_validate({**tree, "train": {"gradient_checkpointing": wanted}})
        real = load_model(config, CPU, attention=family.attention_setting(attention))
        found = kept_by(real, family, batch, dtype=dtype)
        counted = kept_by(fake_model(config, family, dtype=dtype, wanted=wanted), family, batch, dtype=dtype)
        assert counted.activations == pytest.approx(found.activations, rel=0.02)
        assert counted.casts == pytest.approx(found.casts, rel=0.2)
        kept.append(counted)
    plain, again, half = kept
    assert again.activations < plain.activations
    assert half.activations < plain.activations
    assert half.casts > plain.casts


def test_selective_keeps_nothing_of_a_frozen_part(tiny_model: Path) -> None:
    family = load_family(tiny_model).for_attention("sdpa")
    tree = {"model": {"path": str(tiny_model)}, "data": {"train": [{"path": "none"}]}, "train": {"freeze_vision": True}}
    config = Config.model_validate(tree)
    kept = []
    for max_patches in (1, 1024):
        batch = full_pack(family, sequence_length=600, max_patches=max_patches)
        model = fake_model(config, family, dtype=torch.float32, wanted="selective")
        one, all_of_it = (
            kept_by(model, family, batch, dtype=torch.float32, keeps_products=keeps).activations
            for keeps in (False, True)
        )
        kept.append(all_of_it - one)
    assert kept[0] == kept[1] > 0


def test_padding_is_kept_too(tiny_model: Path) -> None:
    """`data.pad_to: full`: rows have room for the blank document, batches for images of padding."""
    family, kept = load_family(tiny_model).for_attention("sdpa"), []
    for pad_to in ("longest", "full"):
        data = {"train": [{"path": "none"}], "pad_to": pad_to, "sequence_length": 600, "max_patches": 448}
        config = Config.model_validate({"model": {"path": str(tiny_model)}, "data": data})
        batch = full_pack(family, sequence_length=600, max_patches=448, form=batch_form(config, family))
        real = load_model(config, CPU)
        if pad_to == "full":
            drop_image_padding(real)
        found = kept_by(real, family, batch, dtype=torch.float32)
        model = fake_model(config, family, dtype=torch.float32, wanted=False)
        counted = kept_by(model, family, batch, dtype=torch.float32)
        assert counted.activations == pytest.approx(found.activations, rel=0.02)
        kept.append((batch.input_ids.shape[1], len(batch["pixel_values"]), counted.activations))
    assert [shape for *shape, _ in kept] == [[600, 400], [640, 584]]
    assert kept[1][2] > 1.05 * kept[0][2]


def test_a_config_that_contradicts_itself_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    edit(folder / "config.json", text_config=text_config(folder) | {"num_attention_heads": 7})
    config = Config.model_validate({"model": {"path": str(folder)}, "data": {"train": [{"path": "none"}]}})
    with pytest.raises(FamilyError, match=r"model: the model cannot be loaded \(ValueError: .*num_heads") as caught:
        fake_model(config, load_family(folder), dtype=torch.float32, wanted=False)
    assert "\n" not in str(caught.value)
