"""Tiny models of the Qwen-VL line and its kin: Qwen2-VL, Qwen2.5-VL, Qwen3-VL, GLM-4V, PaddleOCR-VL.

Tokens, templates and processor settings are the published ones; two or three small layers.
"""

from dataclasses import replace
from typing import Any

from wdstream.testing.tiny.recipe import (
    CHATML,
    CLIP_STATISTICS,
    HALF_STATISTICS,
    QWEN_ENDS,
    TinyRecipe,
    Tree,
    chat_template,
    plain_tokens,
    special_tokens,
    text_config,
    tokenizer_config,
    vision_config,
)


def _preprocessor(processor: str, *, patch_size: int = 14, image_processor: str = "Qwen2VL", **settings: Any) -> Tree:
    return {
        "image_processor_type": f"{image_processor}ImageProcessor",
        "processor_class": processor,
        "patch_size": patch_size,
        "temporal_patch_size": 2,
        "merge_size": 2,
        **settings,
    }


def _qwen(model_type: str, rope: Tree, vision: Tree, **text: Any) -> Tree:
    """Contents of config.json; `vision` adds to what the towers of all three have."""
    return {
        "model_type": model_type,
        "text_config": text_config(
            **QWEN_ENDS,
            intermediate_size=192,
            max_position_embeddings=32768,
            rope_parameters={"rope_type": "default", **rope},
            **text,
        ),
        "vision_config": {"depth": 2, "hidden_size": 64, "num_heads": 4, **vision},
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
        "tie_word_embeddings": True,
    }


_MROPE: Tree = {"type": "mrope", "mrope_section": [2, 3, 3], "rope_theta": 1000000.0}
QWEN2_VL = TinyRecipe(
    added_tokens=(
        *special_tokens("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
        *special_tokens("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>"),
        *special_tokens("<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
        *plain_tokens("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
        *plain_tokens("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
    ),
    tokenizer_config=tokenizer_config(
        eos="<|im_end|>", pad="<|endoftext|>", errors="replace", split_special_tokens=False
    ),
    chat_template=chat_template(
        **CHATML,
        default_system=r"'<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n'",
        image="'<|vision_start|><|image_pad|><|vision_end|>'",
    ),
    preprocessor_config=_preprocessor("Qwen2VLProcessor", min_pixels=3136, max_pixels=12845056, **CLIP_STATISTICS),
    config=_qwen("qwen2_vl", _MROPE, {"embed_dim": 64, "mlp_ratio": 2}),
)
QWEN2_5_VL = replace(
    QWEN2_VL,
    preprocessor_config=_preprocessor("Qwen2_5_VLProcessor", min_pixels=3136, max_pixels=12845056, **CLIP_STATISTICS),
    config=_qwen(
        "qwen2_5_vl",
        _MROPE,
        {"intermediate_size": 128, "out_hidden_size": 64, "window_size": 112, "fullatt_block_indexes": [1]},
    ),
)
QWEN3_VL = replace(
    QWEN2_VL,
    preprocessor_config=_preprocessor(
        "Qwen3VLProcessor", patch_size=16, size={"shortest_edge": 65536, "longest_edge": 16777216}, **HALF_STATISTICS
    ),
    config=_qwen(
        "qwen3_vl",
        {"mrope_interleaved": True, "mrope_section": [6, 5, 5], "rope_theta": 5000000.0},
        {
            "intermediate_size": 128,
            "out_hidden_size": 64,
            "patch_size": 16,
            "num_position_embeddings": 576,
            "deepstack_visual_indexes": [0, 1],
        },
        head_dim=32,
    ),
)


def _without_bos(config: Tree) -> Tree:
    """As published: with a say about BOS, transformers would take the opening tokens out of the tokenizer."""
    return {key: value for key, value in config.items() if "bos" not in key}


GLM4V = TinyRecipe(
    added_tokens=(
        *special_tokens("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"),
        *special_tokens("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
        *special_tokens("<|begin_of_image|>", "<|end_of_image|>", "<|image|>"),
        *special_tokens("<|begin_of_video|>", "<|end_of_video|>", "<|video|>"),
        *plain_tokens("<think>", "</think>", "<answer>", "</answer>"),
    ),
    tokenizer_config=_without_bos(tokenizer_config(eos="<|endoftext|>", pad="<|endoftext|>", length=128000)),
    chat_template=chat_template(
        opening="[gMASK]<sop>",
        before=r"'<|' + message.role + '|>\n'",
        image="'<|begin_of_image|><|image|><|end_of_image|>'",
        generation=r"'<|assistant|>\n'",
    ),
    preprocessor_config=_preprocessor(
        "Glm4vProcessor",
        image_processor="Glm4v",
        size={"shortest_edge": 12544, "longest_edge": 9633792},
        **CLIP_STATISTICS,
    ),
    config={
        "model_type": "glm4v",
        "text_config": text_config(
            bos=None,
            eos="<|endoftext|>",
            pad="<|endoftext|>",
            intermediate_size=128,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.5,
                "mrope_section": [1, 2, 1],
            },
        ),
        "vision_config": {
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "image_size": 112,
        },
        "image_token_id": "<|image|>",
        "video_token_id": "<|video|>",
        "image_start_token_id": "<|begin_of_image|>",
        "image_end_token_id": "<|end_of_image|>",
        "video_start_token_id": "<|begin_of_video|>",
        "video_end_token_id": "<|end_of_video|>",
    },
    opening=("[gMASK]", "<sop>"),
)

_PADDLE_ENDS: Tree = {"bos": "<s>", "eos": "</s>", "pad": "<unk>"}
PADDLEOCR_VL = TinyRecipe(
    added_tokens=(
        *special_tokens("<unk>", "<s>", "</s>", "<|begin_of_sentence|>", "<|end_of_sentence|>"),
        *special_tokens("<|IMAGE_PLACEHOLDER|>", "<|IMAGE_START|>", "<|IMAGE_END|>"),
        *plain_tokens("<|CROP_COL_SEP|>", "<|CROP_ROW_SEP|>", "<|IMAGE_SEP|>"),
    ),
    tokenizer_config=tokenizer_config(
        **_PADDLE_ENDS,
        unk_token="<unk>",
        cls_token="<|begin_of_sentence|>",
        image_token="<|IMAGE_PLACEHOLDER|>",
    ),
    chat_template=chat_template(
        opening="{{- '<|begin_of_sentence|>' -}}",
        before="'User: ' if message.role == 'user' else 'Assistant: '",
        image="'<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>'",
        after=r"'</s>' if message.role == 'assistant' else '\n'",
        generation="'Assistant: '",
    ),
    preprocessor_config=_preprocessor(
        "PaddleOCRVLProcessor",
        image_processor="PaddleOCRVL",
        size={"shortest_edge": 147456, "longest_edge": 2822400},
        **{"temporal_patch_size": 1, **HALF_STATISTICS},
    ),
    config={
        "model_type": "paddleocr_vl",
        "text_config": text_config(
            **_PADDLE_ENDS,
            intermediate_size=128,
            head_dim=16,
            rope_parameters={"rope_type": "default", "rope_theta": 500000.0, "mrope_section": [2, 3, 3]},
        ),
        "vision_config": vision_config(112, 14, heads=2),
        "image_token_id": "<|IMAGE_PLACEHOLDER|>",
        "vision_start_token_id": "<|IMAGE_START|>",
        "vision_end_token_id": "<|IMAGE_END|>",
    },
)
