"""A tiny GLM-4V checkpoint: the tokens, template and processor settings of GLM-4.1V, three small layers."""

from collections.abc import Mapping
from typing import Any

from wdstream.testing.tiny.chat import chat_template
from wdstream.testing.tiny.qwen_vl import CLIP_MEAN, CLIP_STD
from wdstream.testing.tiny.recipe import SMALL_TEXT, TinyRecipe
from wdstream.testing.tiny.tokenizer import AddedToken

ADDED_TOKENS = (
    *(AddedToken(name) for name in ("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>")),
    *(AddedToken(f"<|{name}|>") for name in ("system", "user", "assistant", "observation")),
    *(AddedToken(f"<|{name}|>") for name in ("begin_of_image", "end_of_image", "image")),
    *(AddedToken(f"<|{name}|>") for name in ("begin_of_video", "end_of_video", "video")),
    *(AddedToken(tag, is_special=False) for tag in ("<think>", "</think>", "<answer>", "</answer>")),
)

TOKENIZER_CONFIG = {
    "clean_up_tokenization_spaces": False,
    "eos_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
    "model_max_length": 128000,
    "tokenizer_class": "PreTrainedTokenizerFast",
    "unk_token": None,
}

CHAT_TEMPLATE = chat_template(
    opening="[gMASK]<sop>",
    before=r"'<|' + message.role + '|>\n'",
    image="'<|begin_of_image|><|image|><|end_of_image|>'",
    generation=r"'<|assistant|>\n'",
)


def _config(ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import Glm4vConfig

    text = {
        "vocab_size": vocab_size,
        **SMALL_TEXT,
        "intermediate_size": 128,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
            "mrope_section": [1, 2, 1],
        },
        "eos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 64,
        "out_hidden_size": 64,
        "image_size": 112,
    }
    return Glm4vConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image|>"],
        video_token_id=ids["<|video|>"],
        image_start_token_id=ids["<|begin_of_image|>"],
        image_end_token_id=ids["<|end_of_image|>"],
        video_start_token_id=ids["<|begin_of_video|>"],
        video_end_token_id=ids["<|end_of_video|>"],
    )


GLM4V = TinyRecipe(
    added_tokens=ADDED_TOKENS,
    tokenizer_config=TOKENIZER_CONFIG,
    chat_template=CHAT_TEMPLATE,
    preprocessor_config={
        "image_processor_type": "Glm4vImageProcessor",
        "processor_class": "Glm4vProcessor",
        "size": {"shortest_edge": 12544, "longest_edge": 9633792},
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
    },
    build_config=_config,
    opening=("[gMASK]", "<sop>"),
)
