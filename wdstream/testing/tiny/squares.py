"""Tiny models whose towers take squares: LLaVA-OneVision, InternVL, GOT-OCR2, Aya Vision, Idefics3, SmolVLM.

Tokens, templates and image processors are the published ones; towers of few, large patches.
"""

from typing import Any

from wdstream.testing.tiny.recipe import (
    CHATML,
    CLIP_STATISTICS,
    HALF_STATISTICS,
    IMAGENET_STATISTICS,
    TinyRecipe,
    Tree,
    chat_template,
    special_tokens,
    text_config,
    tokenizer_config,
    vision_config,
)

_PINPOINTS = [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)]
_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def _square(side: int) -> Tree:
    return {"resample": 3, "size": {"height": side, "width": side}}


def _qwen_tokenizer(eos: str, **tokens: Any) -> Tree:
    return tokenizer_config(eos=eos, pad="<|endoftext|>", length=32768, **tokens)


def _qwen_template(image: str) -> str:
    return chat_template(**CHATML, opening="", image=rf"'{image}\n'")


def _qwen_text(eos: str) -> Tree:
    return text_config(
        bos="<|endoftext|>",
        eos=eos,
        pad="<|endoftext|>",
        model_type="qwen2",
        intermediate_size=192,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
    )


LLAVA_ONEVISION = TinyRecipe(
    added_tokens=special_tokens(*_QWEN, "<image>", "<video>"),
    tokenizer_config=_qwen_tokenizer("<|im_end|>", image_token="<image>", video_token="<video>"),
    chat_template=_qwen_template("<image>"),
    preprocessor_config={
        "image_processor_type": "LlavaOnevisionImageProcessor",
        "processor_class": "LlavaOnevisionProcessor",
        "image_grid_pinpoints": _PINPOINTS,
        **HALF_STATISTICS,
        **_square(384),
    },
    processor_config={
        "num_image_tokens": 16,
        "processor_class": "LlavaOnevisionProcessor",
        "vision_aspect_ratio": "anyres_max_9",
        "vision_feature_select_strategy": "full",
    },
    config={
        "model_type": "llava_onevision",
        "text_config": _qwen_text("<|im_end|>"),
        "vision_config": vision_config(384, 96, model_type="siglip_vision_model", vision_use_head=False),
        "image_token_index": "<image>",
        "video_token_index": "<video>",
        "image_grid_pinpoints": _PINPOINTS,
        "tie_word_embeddings": True,
    },
)


def _cropping(processor: str, side: int, **settings: Any) -> Tree:
    """Tree of GOT-OCR2's image processor, which others use too."""
    return {
        "image_processor_type": "GotOcr2ImageProcessor",
        "processor_class": processor,
        "crop_to_patches": False,
        "max_patches": 12,
        "min_patches": 1,
        **_square(side),
        **settings,
    }


INTERNVL = TinyRecipe(
    added_tokens=special_tokens(
        *(*_QWEN, "<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"),
        "<video>",
    ),
    tokenizer_config=_qwen_tokenizer(
        "<|im_end|>",
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    ),
    chat_template=_qwen_template("<IMG_CONTEXT>"),
    preprocessor_config=_cropping("InternVLProcessor", 448, **IMAGENET_STATISTICS),
    processor_config={"image_seq_length": 16, "processor_class": "InternVLProcessor"},
    config={
        "model_type": "internvl",
        "text_config": _qwen_text("<|im_end|>"),
        "vision_config": vision_config(448, 56),
        "image_token_id": "<IMG_CONTEXT>",
        "image_seq_length": 16,
    },
)

GOT_OCR2 = TinyRecipe(
    added_tokens=special_tokens(
        *(*_QWEN, "<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<img>", "</img>", "<imgpad>")
    ),
    tokenizer_config=_qwen_tokenizer("<|endoftext|>"),
    chat_template=_qwen_template("<img><imgpad></img>"),
    preprocessor_config=_cropping("GotOcr2Processor", 1024, **CLIP_STATISTICS),
    config={
        "model_type": "got_ocr2",
        "text_config": _qwen_text("<|endoftext|>"),
        "vision_config": {
            "hidden_size": 32,
            "mlp_dim": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 1024,
            "patch_size": 64,
            "output_channels": 32,
            "window_size": 5,
            "global_attn_indexes": [1],
        },
        "image_token_index": "<imgpad>",
        "image_seq_length": 16,
    },
)

_AYA_ENDS: Tree = {"bos": "<BOS_TOKEN>", "eos": "<|END_OF_TURN_TOKEN|>", "pad": "<PAD>"}
AYA_VISION = TinyRecipe(
    added_tokens=special_tokens(
        *("<PAD>", "<UNK>", "<EOS_TOKEN>", "<BOS_TOKEN>", "<image>", "TILE_GLOBAL"),
        *(f"TILE_{number}" for number in range(1, 13)),
        *("<|START_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "<|END_OF_IMG|>", "<|START_OF_TURN_TOKEN|>"),
        *("<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"),
    ),
    tokenizer_config=tokenizer_config(**_AYA_ENDS, unk_token="<UNK>", add_bos_token=True, add_eos_token=False),
    chat_template=chat_template(
        opening="{{- bos_token -}}",
        before="'<|START_OF_TURN_TOKEN|>' + "
        "('<|CHATBOT_TOKEN|>' if message.role == 'assistant' else '<|' + message.role | upper + '_TOKEN|>')",
        image="'<image>'",
        after="'<|END_OF_TURN_TOKEN|>'",
        generation="'<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>'",
    ),
    preprocessor_config=_cropping("AyaVisionProcessor", 364, **{"crop_to_patches": True, **HALF_STATISTICS}),
    processor_config={
        "patch_size": 91,
        "img_size": 364,
        "downsample_factor": 2,
        "processor_class": "AyaVisionProcessor",
    },
    config={
        "model_type": "aya_vision",
        "text_config": text_config(
            **_AYA_ENDS,
            model_type="cohere2",
            intermediate_size=128,
            sliding_window=32,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
        "vision_config": vision_config(364, 91, heads=2, model_type="siglip_vision_model", vision_use_head=False),
        "image_token_index": "<|IMG_PATCH|>",
    },
)


def _idefics_template(start: str) -> str:
    """A colon after the role, and a blank too unless an image comes first."""
    return (
        "{{- '" + start + "' -}}{%- for message in messages -%}{{- message.role | capitalize -}}"
        "{%- if message.content is string -%}{{- ': ' + message.content -}}{%- else -%}"
        "{{- ':' if message.content[0].type == 'image' else ': ' -}}{%- for part in message.content -%}"
        "{%- if part.type == 'image' -%}{{- '<image>' -}}{%- elif part.type == 'text' -%}{{- part.text -}}"
        "{%- endif -%}{%- endfor -%}{%- endif -%}{{- '<end_of_utterance>\\n' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}\n"
    )


def _idefics_preprocessor(name: str, square: int, longest: int) -> Tree:
    return {
        "image_processor_type": f"{name}ImageProcessor",
        "processor_class": f"{name}Processor",
        "do_convert_rgb": True,
        "do_image_splitting": True,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        **HALF_STATISTICS,
        "max_image_size": {"longest_edge": square},
        "resample": 1,
        "rescale_factor": 1 / 255,
        "size": {"longest_edge": longest},
    }


def _idefics(
    name: str,
    tokens: tuple[str, ...],
    *,
    bos: str,
    pad: str,
    add_bos_token: bool,
    square: int,
    patch: int,
    longest: int,
    **config: Any,
) -> TinyRecipe:
    """Idefics3 and what is built on it: `tokens` come before those that all have; `square` and `longest` are pixels."""
    ends: Tree = {"bos": bos, "eos": "<end_of_utterance>", "pad": pad}
    sizes: Tree = {"intermediate_size": 192, "max_position_embeddings": 16384}
    return TinyRecipe(
        added_tokens=special_tokens(
            *(*tokens, "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"),
            *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
        ),
        tokenizer_config=tokenizer_config(
            **ends,
            length=16384,
            add_bos_token=add_bos_token,
            end_of_utterance_token="<end_of_utterance>",
            fake_image_token="<fake_token_around_image>",
            global_image_token="<global-img>",
            image_token="<image>",
        ),
        chat_template=_idefics_template(bos),
        preprocessor_config=_idefics_preprocessor(name, square, longest),
        processor_config={"image_seq_len": 4, "processor_class": f"{name}Processor"},
        config={
            "model_type": name.lower(),
            "text_config": text_config(**ends, model_type="llama", **sizes),
            "vision_config": vision_config(square, patch),
            "image_token_id": "<image>",
            "pad_token_id": pad,
            **config,
        },
    )


IDEFICS3 = _idefics(
    "Idefics3",
    ("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|start_header_id|>", "<|eot_id|>"),
    bos="<|begin_of_text|>",
    pad="<|reserved_special_token_0|>",
    add_bos_token=True,
    square=364,  # 4 x 4 patches: 4 features a square
    patch=91,
    longest=1456,
    scale_factor=2,
    tie_word_embeddings=False,
)
SMOLVLM = _idefics(
    "SmolVLM",
    (*_QWEN, "<repo_name>", "<reponame>", "<file_sep>", "<filename>"),
    bos="<|im_start|>",
    pad="<|im_end|>",
    add_bos_token=False,
    square=512,  # 8 x 8 patches: 4 features a square
    patch=64,
    longest=2048,
    scale_factor=4,
    tie_word_embeddings=True,
)
