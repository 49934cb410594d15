"""Checkpoints with the published numbers of patches, without weights: an image has as many tokens as in real models."""

import json
import shutil
from pathlib import Path
from typing import Any

PUBLISHED: dict[str, dict[str, dict[str, Any]]] = {
    "idefics3": {"vision_config": {"patch_size": 14}},
    "smolvlm": {"vision_config": {"patch_size": 16}},
    "llava_onevision": {"vision_config": {"patch_size": 14}},
    "internvl": {"vision_config": {"patch_size": [14, 14]}},
    "got_ocr2": {"vision_config": {"patch_size": 16}},
    "lighton_ocr": {},
}
"""family -> changes to config.json of its tiny model, whose image processor has the published settings already."""


def copy_settings(source: Path, out: Path) -> Path:
    """A checkpoint's settings without its weights, to change."""
    return Path(shutil.copytree(source, out, ignore=shutil.ignore_patterns("*.safetensors")))


def change(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; a mapping is merged into the one that is there."""
    tree = json.loads(path.read_text(encoding="utf-8"))
    for key, value in values.items():
        tree[key] = {**tree[key], **value} if isinstance(value, dict) and key in tree else value
    path.write_text(json.dumps(tree), encoding="utf-8")


def publish(source: Path, out: Path, name: str) -> Path:
    """The settings of a tiny model with the published numbers of patches; GOT-OCR2 is set to split."""
    copy_settings(source, out)
    change(out / "config.json", **PUBLISHED[name])
    if name == "got_ocr2":
        change(out / "preprocessor_config.json", crop_to_patches=True)
    return out


SPLITTING: dict[str, dict[str, Any]] = {
    "aya_vision": {"max_patches": 3},
    "got_ocr2": {"max_patches": 3, "crop_to_patches": True},
    "idefics3": {"size": {"longest_edge": 2 * 364}},
    "internvl": {"max_patches": 3},
    "llava_onevision": {},
    "smolvlm": {"size": {"longest_edge": 2 * 512}},
}
"""Families whose processor splits whole images -> settings of the image processor for a few squares per image."""
