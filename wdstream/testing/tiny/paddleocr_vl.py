"""A tiny PaddleOCR-VL checkpoint: the tokens, template and processor settings of the published one, small layers."""

from collections.abc import Mapping
from typing import Any

from wdstream.testing.tiny.chat import chat_template
from wdstream.testing.tiny.recipe import SMALL_TEXT, SMALL_TOWER, TinyRecipe
from wdstream.testing.tiny.tokenizer import AddedToken

ADDED_TOKENS = (
    *(AddedToken(name) for name in ("<unk>", "<s>", "</s>", "<|begin_of_sentence|>", "<|end_of_sentence|>")),
    *(AddedToken(f"<|{name}|>") for name in ("IMAGE_PLACEHOLDER", "IMAGE_START", "IMAGE_END")),
    *(AddedToken(f"<|{name}|>", is_special=False) for name in ("CROP_COL_SEP", "CROP_ROW_SEP", "IMAGE_SEP")),
)

TOKENIZER_CONFIG = {
    "add_bos_token": False,
    "bos_token": "<s>",
    "clean_up_tokenization_spaces": False,
    "cls_token": "<|begin_of_sentence|>",
    "eos_token": "</s>",
    "image_token": "<|IMAGE_PLACEHOLDER|>",
    "pad_token": "<unk>",
    "unk_token": "<unk>",
    "model_max_length": 131072,
    "tokenizer_class": "PreTrainedTokenizerFast",
}

CHAT_TEMPLATE = chat_template(
    opening="{{- '<|begin_of_sentence|>' -}}",
    before="'User: ' if message.role == 'user' else 'Assistant: '",
    image="'<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>'",
    after=r"'</s>' if message.role == 'assistant' else '\n'",
    generation="'Assistant: '",
)


def _config(ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import PaddleOCRVLConfig

    text = {
        "vocab_size": vocab_size,
        **SMALL_TEXT,
        "intermediate_size": 128,
        "head_dim": 16,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0, "mrope_section": [2, 3, 3]},
        "bos_token_id": ids["<s>"],
        "eos_token_id": ids["</s>"],
        "pad_token_id": ids["<unk>"],
    }
    vision = {
        **SMALL_TOWER,
        "num_attention_heads": 2,
        "image_size": 112,
    }
    return PaddleOCRVLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|IMAGE_PLACEHOLDER|>"],
        vision_start_token_id=ids["<|IMAGE_START|>"],
        vision_end_token_id=ids["<|IMAGE_END|>"],
    )


PADDLEOCR_VL = TinyRecipe(
    added_tokens=ADDED_TOKENS,
    tokenizer_config=TOKENIZER_CONFIG,
    chat_template=CHAT_TEMPLATE,
    preprocessor_config={
        "image_processor_type": "PaddleOCRVLImageProcessor",
        "processor_class": "PaddleOCRVLProcessor",
        "size": {"shortest_edge": 147456, "longest_edge": 2822400},
        "patch_size": 14,
        "temporal_patch_size": 1,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    },
    build_config=_config,
)
