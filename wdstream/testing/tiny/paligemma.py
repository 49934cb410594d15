"""Tiny PaliGemma checkpoints of both generations: places and shapes as added tokens, a BOS, a small canvas."""

from collections.abc import Mapping
from typing import Any

from wdstream.testing.tiny.gemma_tokens import NEWLINES, TAGS
from wdstream.testing.tiny.recipe import SMALL_TOWER, TinyRecipe
from wdstream.testing.tiny.tokenizer import AddedToken

IMAGE_SIDE = 56
NUM_PATCHES = 16
NUM_PLACES, NUM_SHAPES = 1024, 128

ADDED_TOKENS = (
    *(AddedToken(name) for name in ("<pad>", "<eos>", "<bos>", "<image>")),
    *NEWLINES,
    *TAGS,
    # The processor adds these where they are missing; then they would lie outside the model's vocabulary.
    *(AddedToken(f"<loc{number:04}>", is_special=False) for number in range(NUM_PLACES)),
    *(AddedToken(f"<seg{number:03}>", is_special=False) for number in range(NUM_SHAPES)),
)

TOKENIZER_CONFIG = {
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "pad_token": "<pad>",
    "image_token": "<image>",
    "clean_up_tokenization_spaces": False,
    "model_max_length": 131072,
    "tokenizer_class": "PreTrainedTokenizerFast",
    "unk_token": None,
}

VISION = {
    "model_type": "siglip_vision_model",
    **SMALL_TOWER,
    "num_attention_heads": 2,
    "image_size": IMAGE_SIDE,
    "patch_size": 14,
    "vision_use_head": False,
}


def _text_config(ids: Mapping[str, int], vocab_size: int, **settings: Any) -> dict[str, Any]:
    return {
        "vocab_size": vocab_size,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "bos_token_id": ids["<bos>"],
        "eos_token_id": ids["<eos>"],
        "pad_token_id": ids["<pad>"],
        **settings,
    }


def _config(text: dict[str, Any], ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import PaliGemmaConfig

    return PaliGemmaConfig(
        text_config=text,
        vision_config=VISION,
        image_token_index=ids["<image>"],
        vocab_size=vocab_size,
        projection_dim=64,
        hidden_size=64,
    )


def _config_1(ids: Mapping[str, int], vocab_size: int) -> Any:
    return _config(_text_config(ids, vocab_size, model_type="gemma"), ids, vocab_size)


def _config_2(ids: Mapping[str, int], vocab_size: int) -> Any:
    text = _text_config(ids, vocab_size, model_type="gemma2", query_pre_attn_scalar=16, sliding_window=512)
    return _config(text, ids, vocab_size)


PREPROCESSOR = {
    "image_processor_type": "SiglipImageProcessor",
    "processor_class": "PaliGemmaProcessor",
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "image_seq_length": NUM_PATCHES,
    "resample": 3,
    "size": {"height": IMAGE_SIDE, "width": IMAGE_SIDE},
}

PALIGEMMA = TinyRecipe(
    added_tokens=ADDED_TOKENS,
    tokenizer_config=TOKENIZER_CONFIG,
    chat_template="",  # there are no turns: a prompt and what follows it
    preprocessor_config=PREPROCESSOR,
    build_config=_config_1,
)
PALIGEMMA2 = TinyRecipe(
    added_tokens=ADDED_TOKENS,
    tokenizer_config=TOKENIZER_CONFIG,
    chat_template="",  # there are no turns: a prompt and what follows it
    preprocessor_config=PREPROCESSOR,
    build_config=_config_2,
)
