"""Tiny Pixtral and Mistral 3 checkpoints: tokens, BOS and processor settings of the published ones, small layers."""

from collections.abc import Mapping
from typing import Any

from wdstream.testing.tiny.chat import chat_template
from wdstream.testing.tiny.qwen_vl import CLIP_MEAN, CLIP_STD
from wdstream.testing.tiny.recipe import SMALL_TEXT, SMALL_TOWER, TinyRecipe
from wdstream.testing.tiny.tokenizer import AddedToken

_NAMES = ("INST", "/INST", "SYSTEM_PROMPT", "/SYSTEM_PROMPT", "AVAILABLE_TOOLS", "/AVAILABLE_TOOLS", "TOOL_CALLS")
ADDED_TOKENS = (
    *(AddedToken(name) for name in ("<unk>", "<s>", "</s>", "<pad>")),
    *(AddedToken(f"[{name}]") for name in (*_NAMES, "IMG", "IMG_BREAK", "IMG_END")),
)

TOKENIZER_CONFIG = {
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "clean_up_tokenization_spaces": False,
    "model_max_length": 131072,
    "tokenizer_class": "PreTrainedTokenizerFast",
}

CHAT_TEMPLATE = chat_template(
    opening="{{- bos_token -}}",
    before="{'system': '[SYSTEM_PROMPT]', 'user': '[INST]'}.get(message.role, '')",
    image="'[IMG]'",
    after="{'system': '[/SYSTEM_PROMPT]', 'user': '[/INST]'}.get(message.role, eos_token)",
)


def _parts(ids: Mapping[str, int], vocab_size: int, *, patch_size: int, image_size: int) -> dict[str, Any]:
    text = {
        "model_type": "mistral",
        "vocab_size": vocab_size,
        **SMALL_TEXT,
        "intermediate_size": 128,
        "head_dim": 16,
        "sliding_window": None,
        "bos_token_id": ids["<s>"],
        "eos_token_id": ids["</s>"],
        "pad_token_id": ids["<pad>"],
    }
    vision = {
        "model_type": "pixtral",
        **SMALL_TOWER,
        "num_attention_heads": 2,
        "patch_size": patch_size,
        "image_size": image_size,
    }
    return {"text_config": text, "vision_config": vision, "image_token_index": ids["[IMG]"]}


def _config_llava(ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import LlavaConfig

    return LlavaConfig(
        **_parts(ids, vocab_size, patch_size=16, image_size=1024),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=1,
    )


def _config_mistral3(ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import Mistral3Config

    return Mistral3Config(**_parts(ids, vocab_size, patch_size=14, image_size=1540), tie_word_embeddings=False)


def _preprocessor(*, patch_size: int, longest_edge: int) -> dict[str, Any]:
    return {
        "image_processor_type": "PixtralImageProcessor",
        "processor_class": "PixtralProcessor",
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "patch_size": {"height": patch_size, "width": patch_size},
        "resample": 3,
        "size": {"longest_edge": longest_edge},
    }


PIXTRAL = TinyRecipe(
    added_tokens=ADDED_TOKENS,
    tokenizer_config=TOKENIZER_CONFIG,
    chat_template=CHAT_TEMPLATE,
    preprocessor_config=_preprocessor(patch_size=16, longest_edge=1024),
    processor_config={"patch_size": 16, "processor_class": "PixtralProcessor"},
    build_config=_config_llava,
)
MISTRAL3 = TinyRecipe(
    added_tokens=ADDED_TOKENS,
    tokenizer_config=TOKENIZER_CONFIG,
    chat_template=CHAT_TEMPLATE,
    preprocessor_config=_preprocessor(patch_size=14, longest_edge=1540),
    processor_config={"patch_size": 14, "spatial_merge_size": 2, "processor_class": "PixtralProcessor"},
    build_config=_config_mistral3,
)
