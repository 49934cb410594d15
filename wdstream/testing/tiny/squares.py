"""Tiny LLaVA-OneVision, InternVL and GOT-OCR2 checkpoints: real image processors; towers of few, large patches."""

from collections.abc import Mapping
from typing import Any

from wdstream.testing.tiny.chat import chat_template
from wdstream.testing.tiny.recipe import SMALL_TEXT, SMALL_TOWER, TinyRecipe
from wdstream.testing.tiny.tokenizer import AddedToken

_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_HALF = [0.5, 0.5, 0.5]
_IMAGENET_MEAN, _IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_PINPOINTS = [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)]


def _tokens(*names: str) -> tuple[AddedToken, ...]:
    return tuple(AddedToken(name) for name in (*_QWEN, *names))


def _tokenizer_config(eos: str, **tokens: str) -> dict[str, Any]:
    return {
        "add_bos_token": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": eos,
        "model_max_length": 32768,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None,
        **tokens,
    }


def _template(image: str) -> str:
    return chat_template(
        opening="",
        before=r"'<|im_start|>' + message.role + '\n'",
        image=rf"'{image}\n'",
        after=r"'<|im_end|>\n'",
        generation=r"'<|im_start|>assistant\n'",
    )


def _text(ids: Mapping[str, int], vocab_size: int, eos: str) -> dict[str, Any]:
    return {
        "model_type": "qwen2",
        "vocab_size": vocab_size,
        **SMALL_TEXT,
        "intermediate_size": 192,
        "max_position_embeddings": 32768,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids[eos],
        "pad_token_id": ids["<|endoftext|>"],
        "tie_word_embeddings": True,
    }


def _vision(image_size: int, patch_size: int, **settings: Any) -> dict[str, Any]:
    return {
        **SMALL_TOWER,
        "num_attention_heads": 4,
        "image_size": image_size,
        "patch_size": patch_size,
        **settings,
    }


def _config_llava_onevision(ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import LlavaOnevisionConfig

    return LlavaOnevisionConfig(
        text_config=_text(ids, vocab_size, "<|im_end|>"),
        vision_config=_vision(384, 96, model_type="siglip_vision_model", vision_use_head=False),
        image_token_index=ids["<image>"],
        video_token_index=ids["<video>"],
        image_grid_pinpoints=_PINPOINTS,
        tie_word_embeddings=True,
    )


def _config_internvl(ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import InternVLConfig

    return InternVLConfig(
        text_config=_text(ids, vocab_size, "<|im_end|>"),
        vision_config=_vision(448, 56),
        image_token_id=ids["<IMG_CONTEXT>"],
        image_seq_length=16,
    )


def _config_got_ocr2(ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import GotOcr2Config

    vision = {key: value for key, value in _vision(1024, 64).items() if key != "intermediate_size"}
    return GotOcr2Config(
        text_config=_text(ids, vocab_size, "<|endoftext|>"),
        vision_config={**vision, "mlp_dim": 64, "output_channels": 32, "window_size": 5, "global_attn_indexes": [1]},
        image_token_index=ids["<imgpad>"],
        image_seq_length=16,
    )


LLAVA_ONEVISION = TinyRecipe(
    added_tokens=_tokens("<image>", "<video>"),
    tokenizer_config=_tokenizer_config("<|im_end|>", image_token="<image>", video_token="<video>"),
    chat_template=_template("<image>"),
    preprocessor_config={
        "image_processor_type": "LlavaOnevisionImageProcessor",
        "processor_class": "LlavaOnevisionProcessor",
        "image_grid_pinpoints": _PINPOINTS,
        "image_mean": _HALF,
        "image_std": _HALF,
        "resample": 3,
        "size": {"height": 384, "width": 384},
    },
    processor_config={
        "num_image_tokens": 16,
        "processor_class": "LlavaOnevisionProcessor",
        "vision_aspect_ratio": "anyres_max_9",
        "vision_feature_select_strategy": "full",
    },
    build_config=_config_llava_onevision,
)
INTERNVL = TinyRecipe(
    added_tokens=_tokens(
        "<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>", "<video>"
    ),
    tokenizer_config=_tokenizer_config(
        "<|im_end|>",
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    ),
    chat_template=_template("<IMG_CONTEXT>"),
    preprocessor_config={
        "image_processor_type": "GotOcr2ImageProcessor",
        "processor_class": "InternVLProcessor",
        "crop_to_patches": False,
        "image_mean": _IMAGENET_MEAN,
        "image_std": _IMAGENET_STD,
        "max_patches": 12,
        "min_patches": 1,
        "resample": 3,
        "size": {"height": 448, "width": 448},
    },
    processor_config={"image_seq_length": 16, "processor_class": "InternVLProcessor"},
    build_config=_config_internvl,
)
GOT_OCR2 = TinyRecipe(
    added_tokens=_tokens("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<img>", "</img>", "<imgpad>"),
    tokenizer_config=_tokenizer_config("<|endoftext|>"),
    chat_template=_template("<img><imgpad></img>"),
    preprocessor_config={
        "image_processor_type": "GotOcr2ImageProcessor",
        "processor_class": "GotOcr2Processor",
        "crop_to_patches": False,
        "image_mean": _CLIP_MEAN,
        "image_std": _CLIP_STD,
        "max_patches": 12,
        "min_patches": 1,
        "resample": 3,
        "size": {"height": 1024, "width": 1024},
    },
    build_config=_config_got_ocr2,
)
