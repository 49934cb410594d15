"""Write docs/families.md: what each model family does with a page, computed by the code that plans and builds.

python tools/families_table.py            write the table
python tools/families_table.py --check    exit status 1 when docs/families.md is not what the code says
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wdstream.families.base import Family
from wdstream.families.registry import FAMILIES, REFUSED_FAMILIES, load_family
from wdstream.plan.sample_lengths import ImageCostTable
from wdstream.storage.atomic import atomic_write
from wdstream.testing.tiny.build import RECIPES, write_settings
from wdstream.testing.tiny.tokenizer import build_tokenizer
from wdstream.tiling.policy import TilingPolicy

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "families.md"
A4 = (1240, 1754)
"""Pixels of an A4 page at 150 dpi."""
POLICIES = {
    "none": TilingPolicy(kind="none"),
    "grid": TilingPolicy(kind="grid", grid=(2, 3), tile_labels=False),
    "shape_buckets": TilingPolicy(kind="shape_buckets", tile_labels=False),
    "native": TilingPolicy(kind="native", tile_labels=False),
    "adaptive": TilingPolicy(kind="adaptive", tile_labels=False),
}
VOCAB_SIZE = 2048

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Which published models a row speaks of, and where their image sizes differ from the tiny model's."""

    models: str
    config: Settings = field(default_factory=dict)
    image: Settings = field(default_factory=dict)


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


PUBLISHED: Mapping[str, Published] = {
    "aya_vision": Published(models="Aya Vision 8B, 32B", config={"vision_config": {"patch_size": 14}}),
    "gemma3": Published(
        models="Gemma 3 4B, 12B, 27B",
        config={"vision_config": {"image_size": 896, "patch_size": 14}, "mm_tokens_per_image": 256},
        image={"size": _square(896), "image_seq_length": 256},
    ),
    "gemma4": Published(models="Gemma 4", image={"max_soft_tokens": 280}),
    "glm4v": Published(models="GLM-4.1V 9B"),
    "got_ocr2": Published(models="GOT-OCR 2.0", config={"vision_config": {"patch_size": 16}}),
    "idefics3": Published(models="Idefics3 8B", config={"vision_config": {"patch_size": 14}}),
    "internvl": Published(models="InternVL 2.5, 3, 3.5 (-hf)", config={"vision_config": {"patch_size": [14, 14]}}),
    "lighton_ocr": Published(models="LightOnOCR 1B"),
    "llava": Published(models="Pixtral 12B (-hf)"),
    "llava_onevision": Published(models="LLaVA-OneVision 0.5B, 7B, 72B", config={"vision_config": {"patch_size": 14}}),
    "mistral3": Published(models="Mistral Small 3.1, 3.2"),
    "paddleocr_vl": Published(models="PaddleOCR-VL 0.9B"),
    "paligemma": Published(
        models="PaliGemma 3B at 448",
        config={"vision_config": {"image_size": 448}},
        image={"size": _square(448), "image_seq_length": 1024},
    ),
    "paligemma2": Published(
        models="PaliGemma 2 at 448",
        config={"vision_config": {"image_size": 448}},
        image={"size": _square(448), "image_seq_length": 1024},
    ),
    "qwen2_vl": Published(models="Qwen2-VL 2B, 7B, 72B"),
    "qwen2_5_vl": Published(models="Qwen2.5-VL 3B, 7B, 32B, 72B"),
    "qwen3_vl": Published(models="Qwen3-VL 2B, 4B, 8B, 32B"),
    "smolvlm": Published(models="SmolVLM 256M, 500M", config={"vision_config": {"patch_size": 16}}),
}

INTRO = """\
# Model families

Written by `tools/families_table.py` from the code that plans and builds; `make check` compares. Tried with transformers
{version}. Cells are tokens / vision patches (before any merge) of an A4 page at 150 dpi, {width}x{height} pixels, under
each tiling policy with its defaults, fitted to the family, without labels. `none` is the page as the family's own
processor treats it, its own splitting included. `-` means that the family takes no tile of such a size.

Every row is proven in the tests, and for your model by `wdstream doctor MODEL`: planned lengths equal those built
and those of the model's own processor; packed documents compute what they compute alone, and none sees another.

Attention, as far as it is proven without a GPU: `sdpa` and `eager` in logits and gradients; `flex` (flex_attention) in
logits alone, because PyTorch has no backward of it on CPU; `flash 2`, `flash 3` (flash_attention_2, flash_attention_3)
by the limits of documents that reach the kernel, computed with a kernel written in PyTorch. The first step of every
training run checks the isolation again, on your device with your weights.
"""
LABELS = """\
Tile labels: `text` is `<row0_col1>` before a tile, `family` the model's own token inside the block of a tile. No other
family has tokens that could name the tiles of wdstream: Aya Vision's `TILE_1` to `TILE_12` count the squares of one
block with its overview last, and say nothing of rows and columns; with tiling kind `none` they are written as its
processor writes them. Gemma 3 describes the crops of pan and scan in words, and only if a call asks for them. InternVL,
LLaVA-OneVision, GOT-OCR2 and the others have no name for a tile.
"""


def _published(name: str) -> Published:
    """What is noted of a family; one without a note has the sizes of its tiny model."""
    return PUBLISHED.get(name, Published(models=FAMILIES[name].partition(":")[2]))


def load_published(name: str, folder: Path) -> Family:
    """A family with the image sizes of its published models, over a tiny one's settings; no weights."""
    recipe, published = RECIPES[name], _published(name)
    tokenizer = build_tokenizer(None, vocab_size=VOCAB_SIZE, added=recipe.added_tokens)
    config = write_settings(folder, recipe, tokenizer).to_dict()
    _write(folder / "config.json", _merged(config, published.config))
    _write(folder / "preprocessor_config.json", _merged(recipe.preprocessor_config, published.image))
    return load_family(folder, name=name if name in FAMILIES else None)


def cost_of(family: Family, policy: TilingPolicy) -> str:
    """Tokens and patches of the page under a policy, as a cell."""
    whole = family.for_whole_images() if policy.kind == "none" else family
    width, height = (np.array([side], dtype=np.int64) for side in A4)
    costs = ImageCostTable(whole, policy.for_family(whole)).look_up(width, height)
    return "-" if costs.tokens[0] < 0 else f"{costs.tokens[0]:,} / {costs.patches[0]:,}"


def row_of(name: str) -> list[str]:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        family = load_published(name, Path(folder))
        multiple, longest = family.size_multiple, family.max_tile_side
        sizes = f"up to {longest} px" if longest else f"multiples of {multiple} px"
        costs = [cost_of(family, policy) for policy in POLICIES.values()]
        labels = "text, family, none" if family.has_own_labels else "text, none"
        return [f"`{name}`", _published(name).models, sizes, *costs, labels, ", ".join(map(_short, family.attention))]


def _short(attention: str) -> str:
    """`flash_attention_2` is `flash 2`."""
    return attention.replace("_attention", "").replace("_", " ")


def table() -> str:
    """The whole document."""
    head = ["family", "published models", "tiles", *(f"`{name}`" for name in POLICIES), "labels", "attention"]
    rows = [head, ["---"] * len(head), *(row_of(name) for name in sorted(FAMILIES))]
    intro = INTRO.format(version=_transformers_version(), width=A4[0], height=A4[1])
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    refused = "\n".join(f"* `{name}`: {reason}." for name, reason in sorted(REFUSED_FAMILIES.items()))
    return f"{intro}\n{lines}\n\n{LABELS}\nRefused, with the reason:\n\n{refused}\n"


def _transformers_version() -> str:
    """The version that the constraints install, which is the one the tests run with."""
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("transformers=="):
            return line.removeprefix("transformers==").strip()
    raise SystemExit("constraints.txt names no version of transformers")


def _merged(tree: Settings, changes: Settings) -> dict[str, Any]:
    nested = {key: _merged(tree[key], value) for key, value in changes.items() if isinstance(tree.get(key), Mapping)}
    return {**tree, **changes, **nested}


def _write(path: Path, tree: Settings) -> None:
    path.write_text(json.dumps(tree, default=str), encoding="utf-8")


def main() -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    written = table()
    if parser.parse_args().check:
        is_same = OUT.is_file() and OUT.read_text(encoding="utf-8") == written
        state = "as the code says" if is_same else "stale: run tools/families_table.py"
        print(f"{OUT.relative_to(ROOT)} is {state}")
        return 0 if is_same else 1
    OUT.parent.mkdir(exist_ok=True)
    with atomic_write(OUT) as file:
        file.write(written.encode())
    print(f"{OUT.relative_to(ROOT)}: {len(FAMILIES)} families")
    return 0


if __name__ == "__main__":
    sys.exit(main())
