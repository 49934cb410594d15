"""Tiny Qwen-VL checkpoints: the tokens, templates and processor settings of the published ones, three small layers."""

from collections.abc import Mapping
from typing import Any

from wdstream.testing.tiny.recipe import SMALL_TEXT, TinyRecipe
from wdstream.testing.tiny.tokenizer import AddedToken

_NAMES = (
    *("endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start", "box_end", "quad_start"),
    *("quad_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad"),
)
_CODE_NAMES = ("fim_prefix", "fim_middle", "fim_suffix", "fim_pad", "repo_name", "file_sep")
ADDED_TOKENS = (
    *(AddedToken(f"<|{name}|>") for name in _NAMES),
    # Added tokens that are not flagged special, as in the published tokenizers: a tokenizer matches them in plain text.
    AddedToken("<tool_call>", is_special=False),
    AddedToken("</tool_call>", is_special=False),
    *(AddedToken(f"<|{name}|>", is_special=False) for name in _CODE_NAMES),
)

TOKENIZER_CONFIG = {
    "add_bos_token": False,
    "bos_token": None,
    "clean_up_tokenization_spaces": False,
    "eos_token": "<|im_end|>",
    "errors": "replace",
    "model_max_length": 131072,
    "pad_token": "<|endoftext|>",
    "split_special_tokens": False,
    "tokenizer_class": "PreTrainedTokenizerFast",  # takes tokenizer.json as it is; Qwen2Tokenizer rebuilds it
    "unk_token": None,
}

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if loop.first and message.role != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part.type == 'text' -%}
{{- part.text -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


def _preprocessor(processor: str, patch_size: int, **settings: Any) -> dict[str, Any]:
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": processor,
        "patch_size": patch_size,
        "temporal_patch_size": 2,
        "merge_size": 2,
        **settings,
    }


def _text_config(vocab_size: int, ids: Mapping[str, int], **settings: Any) -> dict[str, Any]:
    return {
        "vocab_size": vocab_size,
        **SMALL_TEXT,
        "intermediate_size": 192,
        "max_position_embeddings": 32768,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        **settings,
    }


def _token_settings(ids: Mapping[str, int]) -> dict[str, Any]:
    return {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": True,
    }


def _config_2_vl(ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import Qwen2VLConfig

    rope = {"rope_type": "default", "type": "mrope", "mrope_section": [2, 3, 3], "rope_theta": 1000000.0}
    return Qwen2VLConfig(
        text_config=_text_config(vocab_size, ids, rope_parameters=rope),
        vision_config={"depth": 2, "embed_dim": 64, "hidden_size": 64, "mlp_ratio": 2, "num_heads": 4},
        **_token_settings(ids),
    )


def _config_2_5_vl(ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import Qwen2_5_VLConfig

    rope = {"rope_type": "default", "type": "mrope", "mrope_section": [2, 3, 3], "rope_theta": 1000000.0}
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "out_hidden_size": 64,
        "window_size": 112,
        "fullatt_block_indexes": [1],
    }
    return Qwen2_5_VLConfig(
        text_config=_text_config(vocab_size, ids, rope_parameters=rope), vision_config=vision, **_token_settings(ids)
    )


def _config_3_vl(ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import Qwen3VLConfig

    rope = {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [6, 5, 5], "rope_theta": 5000000.0}
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "out_hidden_size": 64,
        "patch_size": 16,
        "num_position_embeddings": 576,
        "deepstack_visual_indexes": [0, 1],
    }
    return Qwen3VLConfig(
        text_config=_text_config(vocab_size, ids, head_dim=32, rope_parameters=rope),
        vision_config=vision,
        **_token_settings(ids),
    )


QWEN2_VL = TinyRecipe(
    added_tokens=ADDED_TOKENS,
    tokenizer_config=TOKENIZER_CONFIG,
    chat_template=CHAT_TEMPLATE,
    preprocessor_config=_preprocessor(
        "Qwen2VLProcessor", 14, min_pixels=3136, max_pixels=12845056, image_mean=CLIP_MEAN, image_std=CLIP_STD
    ),
    build_config=_config_2_vl,
)
QWEN2_5_VL = TinyRecipe(
    added_tokens=ADDED_TOKENS,
    tokenizer_config=TOKENIZER_CONFIG,
    chat_template=CHAT_TEMPLATE,
    preprocessor_config=_preprocessor(
        "Qwen2_5_VLProcessor", 14, min_pixels=3136, max_pixels=12845056, image_mean=CLIP_MEAN, image_std=CLIP_STD
    ),
    build_config=_config_2_5_vl,
)
QWEN3_VL = TinyRecipe(
    added_tokens=ADDED_TOKENS,
    tokenizer_config=TOKENIZER_CONFIG,
    chat_template=CHAT_TEMPLATE,
    preprocessor_config=_preprocessor(
        "Qwen3VLProcessor",
        16,
        size={"shortest_edge": 65536, "longest_edge": 16777216},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    ),
    build_config=_config_3_vl,
)
