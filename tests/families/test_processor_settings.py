"""Settings of the image processor: each is what the model sees, or an error that names it; never another pixel.

Spans: families.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.reference.pixels import ReferenceLayout
from wdstream.families.registry import load_family

FAMILIES = ("qwen2_5_vl", "glm4v", "gemma4", "idefics3", "llava", "paligemma", "internvl")
"""One of each way in which pixels are laid out."""


def with_settings(model: Path, out: Path, **changes: Any) -> Family:
    """The family of a copy of a model folder with these settings of its image processor."""
    shutil.copytree(model, out, ignore=shutil.ignore_patterns("*.safetensors"))
    settings = json.loads((out / "preprocessor_config.json").read_text())
    (out / "preprocessor_config.json").write_text(json.dumps({**settings, **changes}))
    return load_family(out)


def both_pixels(family: Family) -> tuple[Any, Any]:
    """What the model is given of a smooth image: ours, and by the model's own image processor."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    tile = np.array(Image.fromarray(noise).resize((311, 223), Image.Resampling.BICUBIC))
    layouts = family.layout([tile]), ReferenceLayout(family)([tile])
    batches = [{name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in x.items()} for x in layouts]
    ours, theirs = (
        family.images.inputs(batch, device="cpu", dtype=torch.float32)["pixel_values"].numpy() for batch in batches
    )
    return ours, theirs


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("factor", [1 / 127.5, 0.01])
def test_pixels_have_the_range_that_the_settings_say(
    tiny_models: dict[str, Path], tmp_path: Path, name: str, factor: float
) -> None:
    ours, theirs = both_pixels(with_settings(tiny_models[name], tmp_path / "m", rescale_factor=factor))
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 0.13 * factor * 255
    assert np.abs(ours - theirs).mean() < 0.0005 * factor * 255
    assert np.ptp(theirs) > 0.9 * factor * 255


@pytest.mark.parametrize("name", FAMILIES)
def test_steps_that_are_not_ours_are_named(tiny_models: dict[str, Path], tmp_path: Path, name: str) -> None:
    changes: list[dict[str, Any]] = [
        {"do_rescale": False},
        {"do_resize": False},
        {"do_center_crop": True},
        {"do_normalize": name == "gemma4"},
        {"rescale_factor": 0},
        {"resample": 4},
    ]
    for number, change in enumerate(changes):
        (key,) = change
        with pytest.raises(FamilyError, match=key):
            with_settings(tiny_models[name], tmp_path / str(number), **change)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "glm4v", "llava"])
def test_a_size_of_another_kind_is_named(tiny_models: dict[str, Path], tmp_path: Path, name: str) -> None:
    with pytest.raises(FamilyError, match=r"settings have size \{'height': 100, 'width': 120\}"):
        with_settings(tiny_models[name], tmp_path / "m", size={"height": 100, "width": 120})


@pytest.mark.parametrize(
    "change",
    [
        {"rescale_factor": None},
        {"rescale_factor": "1/255"},
        {"rescale_factor": True},
        {"resample": 0},
        {"resample": "nearest"},
        {"resample": True},
    ],
)
def test_numbers_that_are_none_of_ours_are_named(
    tiny_models: dict[str, Path], tmp_path: Path, change: dict[str, Any]
) -> None:
    (key,) = change
    with pytest.raises(FamilyError, match=f"{key} is "):
        with_settings(tiny_models["paligemma"], tmp_path / "m", **change)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "paddleocr_vl"])
def test_bounds_that_older_versions_saved_twice(tiny_models: dict[str, Path], tmp_path: Path, name: str) -> None:
    """As `size`, too, in whose place the other names count."""
    bounds = {"min_pixels": 28 * 28 * 4, "max_pixels": 28 * 28 * 30}
    family = with_settings(tiny_models[name], tmp_path / "m", size=bounds, **bounds)
    ours, theirs = both_pixels(family)
    assert ours.shape == theirs.shape
    assert ours.shape == both_pixels(with_settings(tiny_models[name], tmp_path / "once", size=None, **bounds))[0].shape
    assert ours.shape != both_pixels(load_family(tiny_models[name]))[0].shape
    with pytest.raises(FamilyError, match=r"settings have size \{'min_pixels': 3136, 'max_pixels': 23520\}"):
        with_settings(tiny_models[name], tmp_path / "alone", size=bounds, min_pixels=None, max_pixels=None)


def test_no_size_is_left(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(FamilyError, match="at least 90000 pixels, and at most 10000"):
        with_settings(tiny_models["qwen2_5_vl"], tmp_path / "m", min_pixels=90000, max_pixels=10000)
    kept = with_settings(tiny_models["qwen2_5_vl"], tmp_path / "same", rescale_factor=0.00392156862745098, resample=3)
    assert kept.images.pixels == load_family(tiny_models["qwen2_5_vl"]).images.pixels
