"""A tiny LightOnOCR checkpoint: real patches and image processor, two small layers in its tower."""

from collections.abc import Mapping
from typing import Any

from wdstream.testing.tiny.recipe import SMALL_TEXT, TinyRecipe
from wdstream.testing.tiny.tokenizer import AddedToken

_NAMES = ("endoftext", "im_start", "im_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad")


def _config(ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import LightOnOcrConfig

    text = {
        "model_type": "qwen3",
        "vocab_size": vocab_size,
        **SMALL_TEXT,
        "intermediate_size": 192,
        "head_dim": 16,
        "max_position_embeddings": 40960,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "model_type": "pixtral",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "head_dim": 16,
        "image_size": 1540,
        "patch_size": 14,
    }
    return LightOnOcrConfig(
        text_config=text, vision_config=vision, spatial_merge_size=2, image_token_id=ids["<|image_pad|>"]
    )


LIGHTON_OCR = TinyRecipe(
    added_tokens=tuple(AddedToken(f"<|{name}|>") for name in _NAMES),
    tokenizer_config={
        "add_bos_token": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "image_break_token": "<|vision_pad|>",
        "image_end_token": "<|vision_end|>",
        "image_token": "<|image_pad|>",
        "model_max_length": 40960,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None,
    },
    chat_template=(
        "{%- for message in messages -%}"
        "{{- '<|im_start|>' + message.role + '\\n' -}}"
        "{%- if message.content is string -%}{{- message.content -}}{%- else -%}"
        "{%- for part in message.content -%}"
        "{%- if part.type == 'image' -%}{{- '<|image_pad|>' -}}"
        "{%- elif part.type == 'text' -%}{{- part.text -}}{%- endif -%}"
        "{%- endfor -%}{%- endif -%}"
        "{{- '<|im_end|>\\n' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}\n"
    ),
    preprocessor_config={
        "image_processor_type": "PixtralImageProcessor",
        "processor_class": "LightOnOcrProcessor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "patch_size": {"height": 28, "width": 28},
        "resample": 3,
        "size": {"longest_edge": 1540},
    },
    processor_config={"patch_size": 14, "processor_class": "LightOnOcrProcessor", "spatial_merge_size": 2},
    build_config=_config,
)
