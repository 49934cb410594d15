"""Tiny models with a Pixtral tower: Pixtral, Mistral 3, LightOnOCR; published patches and processors, small layers."""

from dataclasses import replace
from typing import Any

from wdstream.testing.tiny.recipe import (
    CHATML,
    CLIP_STATISTICS,
    QWEN_ENDS,
    TinyRecipe,
    Tree,
    chat_template,
    special_tokens,
    text_config,
    tokenizer_config,
    vision_config,
)


def _preprocessor(processor: str, patch_size: int, longest_edge: int) -> Tree:
    return {
        "image_processor_type": "PixtralImageProcessor",
        "processor_class": processor,
        **CLIP_STATISTICS,
        "patch_size": {"height": patch_size, "width": patch_size},
        "resample": 3,
        "size": {"longest_edge": longest_edge},
    }


def _config(model_type: str, *, patch_size: int, image_size: int, **settings: Any) -> Tree:
    text: Tree = {"model_type": "mistral", "intermediate_size": 128, "head_dim": 16, "sliding_window": None}
    return {
        "model_type": model_type,
        "text_config": text_config(**_ENDS, **text),
        "vision_config": vision_config(image_size, patch_size, heads=2, model_type="pixtral"),
        "image_token_index": "[IMG]",
        **settings,
    }


_ENDS: Tree = {"bos": "<s>", "eos": "</s>", "pad": "<pad>"}
PIXTRAL = TinyRecipe(
    added_tokens=special_tokens(
        *("<unk>", "<s>", "</s>", "<pad>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        *("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"),
    ),
    tokenizer_config=tokenizer_config(**_ENDS, unk_token="<unk>", add_bos_token=True, add_eos_token=False),
    chat_template=chat_template(
        opening="{{- bos_token -}}",
        before="{'system': '[SYSTEM_PROMPT]', 'user': '[INST]'}.get(message.role, '')",
        image="'[IMG]'",
        after="{'system': '[/SYSTEM_PROMPT]', 'user': '[/INST]'}.get(message.role, eos_token)",
    ),
    preprocessor_config=_preprocessor("PixtralProcessor", 16, 1024),
    processor_config={"patch_size": 16, "processor_class": "PixtralProcessor"},
    config=_config(
        "llava",
        patch_size=16,
        image_size=1024,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=1,
    ),
)
MISTRAL3 = replace(
    PIXTRAL,
    preprocessor_config=_preprocessor("PixtralProcessor", 14, 1540),
    processor_config={"patch_size": 14, "spatial_merge_size": 2, "processor_class": "PixtralProcessor"},
    config=_config("mistral3", patch_size=14, image_size=1540, tie_word_embeddings=False),
)

LIGHTON_OCR = TinyRecipe(
    added_tokens=special_tokens(
        *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
        *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
    ),
    tokenizer_config=tokenizer_config(
        eos="<|im_end|>",
        pad="<|endoftext|>",
        length=40960,
        image_break_token="<|vision_pad|>",
        image_end_token="<|vision_end|>",
        image_token="<|image_pad|>",
    ),
    chat_template=chat_template(**CHATML, image="'<|image_pad|>'", newline=""),
    preprocessor_config=_preprocessor("LightOnOcrProcessor", 28, 1540),
    processor_config={"patch_size": 14, "processor_class": "LightOnOcrProcessor", "spatial_merge_size": 2},
    config={
        "model_type": "lighton_ocr",
        "text_config": text_config(
            **QWEN_ENDS,
            model_type="qwen3",
            intermediate_size=192,
            head_dim=16,
            max_position_embeddings=40960,
        ),
        "vision_config": vision_config(
            1540, 14, model_type="pixtral", hidden_size=64, intermediate_size=128, head_dim=16
        ),
        "spatial_merge_size": 2,
        "image_token_id": "<|image_pad|>",
    },
)
