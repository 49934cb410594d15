"""A tiny Aya Vision checkpoint: tokens, BOS and processor settings of the published one, layers of both kinds."""

from collections.abc import Mapping
from typing import Any

from wdstream.testing.tiny.chat import chat_template
from wdstream.testing.tiny.recipe import SMALL_TEXT, SMALL_TOWER, TinyRecipe
from wdstream.testing.tiny.tokenizer import AddedToken

SIDE, PATCH = 364, 91
_HALF = [0.5, 0.5, 0.5]

ADDED_TOKENS = (
    *(AddedToken(name) for name in ("<PAD>", "<UNK>", "<EOS_TOKEN>", "<BOS_TOKEN>", "<image>", "TILE_GLOBAL")),
    *(AddedToken(f"TILE_{number}") for number in range(1, 13)),
    *(AddedToken(f"<|{name}|>") for name in ("START_OF_IMG", "IMG_PATCH", "IMG_LINE_BREAK", "END_OF_IMG")),
    *(AddedToken(f"<|{name}_TOKEN|>") for name in ("START_OF_TURN", "END_OF_TURN", "USER", "CHATBOT", "SYSTEM")),
)

TOKENIZER_CONFIG = {
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<BOS_TOKEN>",
    "eos_token": "<|END_OF_TURN_TOKEN|>",
    "pad_token": "<PAD>",
    "unk_token": "<UNK>",
    "clean_up_tokenization_spaces": False,
    "model_max_length": 131072,
    "tokenizer_class": "PreTrainedTokenizerFast",
}

CHAT_TEMPLATE = chat_template(
    opening="{{- bos_token -}}",
    before="'<|START_OF_TURN_TOKEN|>' + "
    "('<|CHATBOT_TOKEN|>' if message.role == 'assistant' else '<|' + message.role | upper + '_TOKEN|>')",
    image="'<image>'",
    after="'<|END_OF_TURN_TOKEN|>'",
    generation="'<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>'",
)


def _config(ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import AyaVisionConfig

    text = {
        "model_type": "cohere2",
        "vocab_size": vocab_size,
        **SMALL_TEXT,
        "intermediate_size": 128,
        "sliding_window": 32,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "bos_token_id": ids["<BOS_TOKEN>"],
        "eos_token_id": ids["<|END_OF_TURN_TOKEN|>"],
        "pad_token_id": ids["<PAD>"],
    }
    vision = {
        "model_type": "siglip_vision_model",
        **SMALL_TOWER,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": PATCH,
        "vision_use_head": False,
    }
    return AyaVisionConfig(text_config=text, vision_config=vision, image_token_index=ids["<|IMG_PATCH|>"])


AYA_VISION = TinyRecipe(
    added_tokens=ADDED_TOKENS,
    tokenizer_config=TOKENIZER_CONFIG,
    chat_template=CHAT_TEMPLATE,
    preprocessor_config={
        "image_processor_type": "GotOcr2ImageProcessor",
        "processor_class": "AyaVisionProcessor",
        "crop_to_patches": True,
        "image_mean": _HALF,
        "image_std": _HALF,
        "min_patches": 1,
        "max_patches": 12,
        "resample": 3,
        "size": {"height": SIDE, "width": SIDE},
    },
    processor_config={
        "patch_size": PATCH,
        "img_size": SIDE,
        "downsample_factor": 2,
        "processor_class": "AyaVisionProcessor",
    },
    build_config=_config,
)
