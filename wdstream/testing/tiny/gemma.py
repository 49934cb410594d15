"""Tiny models of the Gemma line: Gemma 3, Gemma 4, and both generations of PaliGemma.

Their tokenizers have added tokens that are plain text, without the special flag: runs of newlines and HTML tags. Image
sides are small, and there are layers of both kinds, with a sliding window and without.
"""

from dataclasses import replace
from typing import Any

from wdstream.testing.tiny.recipe import (
    HALF_STATISTICS,
    TinyRecipe,
    Tree,
    chat_template,
    plain_tokens,
    special_tokens,
    text_config,
    tokenizer_config,
    vision_config,
)

SIDE, PATCH = 56, 14
LONGEST_NEWLINE_RUN = 31
PLAIN = (
    *plain_tokens(*("\n" * length for length in range(1, LONGEST_NEWLINE_RUN + 1))),
    *plain_tokens("<table>", "</table>", "<tr>", "</tr>", "<td>", "</td>"),
)
NUM_LOCATIONS, NUM_SHAPES = 1024, 128
"""Added tokens of PaliGemma, `<loc0000>` and `<seg000>`."""
_ENDS: Tree = {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>"}
_SIGLIP = vision_config(SIDE, PATCH, heads=2, model_type="siglip_vision_model")


def _tokenizer(**tokens: Any) -> Tree:
    return tokenizer_config(**_ENDS, add_bos_token=True, add_eos_token=False, **tokens)


def _chat(start: str, end: str, image: str) -> str:
    role = "('model' if message.role == 'assistant' else message.role)"
    return chat_template(
        opening="{{- bos_token -}}",
        before=rf"'{start}' + {role} + '\n'",
        image=f"'{image}'",
        after=rf"'{end}\n'",
        generation=rf"'{start}model\n'",
        is_trimmed=True,
    )


def _text(**sizes: Any) -> Tree:
    return text_config(**_ENDS, **{"intermediate_size": 128, **sizes})


_LAYERS: Tree = {
    "num_hidden_layers": 4,
    "head_dim": 16,
    "sliding_window": 32,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}
GEMMA3 = TinyRecipe(
    added_tokens=(
        *special_tokens("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        *special_tokens("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
        *PLAIN,
    ),
    tokenizer_config=_tokenizer(
        boi_token="<start_of_image>", eoi_token="<end_of_image>", image_token="<image_soft_token>"
    ),
    chat_template=_chat("<start_of_turn>", "<end_of_turn>", "<start_of_image>"),
    preprocessor_config={
        "image_processor_type": "Gemma3ImageProcessor",
        "processor_class": "Gemma3Processor",
        "do_pan_and_scan": None,
        **HALF_STATISTICS,
        "image_seq_length": 4,
        "resample": 2,
        "size": {"height": SIDE, "width": SIDE},
    },
    processor_config={"image_seq_length": 4, "processor_class": "Gemma3Processor"},
    config={
        "model_type": "gemma3",
        "text_config": _text(**_LAYERS, query_pre_attn_scalar=16, max_position_embeddings=32768),
        "vision_config": _SIGLIP,
        "mm_tokens_per_image": 4,
        "boi_token_index": "<start_of_image>",
        "eoi_token_index": "<end_of_image>",
        "image_token_index": "<image_soft_token>",
    },
)

GEMMA4 = TinyRecipe(
    added_tokens=(
        *special_tokens("<pad>", "<eos>", "<bos>", "<|turn>", "<turn|>"),
        *special_tokens("<|image>", "<image|>", "<|image|>", "<|video|>", "<|audio>", "<audio|>", "<|audio|>"),
        *PLAIN,
    ),
    tokenizer_config=_tokenizer(
        boi_token="<|image>",
        eoi_token="<image|>",
        image_token="<|image|>",
        boa_token="<|audio>",
        eoa_token="<audio|>",
        audio_token="<|audio|>",
    ),
    chat_template=_chat("<|turn>", "<turn|>", "<|image|>"),
    preprocessor_config={
        "image_processor_type": "Gemma4ImageProcessor",
        "processor_class": "Gemma4Processor",
        "do_normalize": False,
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
        "max_soft_tokens": 70,
        "patch_size": 16,
        "pooling_kernel_size": 3,
        "resample": 3,
    },
    config={
        "model_type": "gemma4",
        "text_config": _text(
            **_LAYERS,
            global_head_dim=32,
            hidden_size_per_layer_input=64,
            vocab_size_per_layer_input=None,
            use_bidirectional_attention="vision",
            final_logit_softcapping=30.0,
        ),
        # The smallest budget an image may have is 630 patches: the tower has to be tiny for tests to be quick.
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "position_embedding_size": 256,
        },
        "audio_config": None,
        "boi_token_id": "<|image>",
        "eoi_token_id": "<image|>",
        "image_token_id": "<|image|>",
        "video_token_id": "<|video|>",
        "boa_token_id": "<|audio>",
        "eoa_token_index": "<audio|>",
        "audio_token_id": "<|audio|>",
    },
)


def _paligemma(**text: Any) -> Tree:
    return {
        "model_type": "paligemma",
        "text_config": _text(num_key_value_heads=1, head_dim=32, **text),
        "vision_config": {**_SIGLIP, "vision_use_head": False},
        "image_token_index": "<image>",
        "vocab_size": None,
        "projection_dim": 64,
        "hidden_size": 64,
    }


PALIGEMMA = TinyRecipe(
    added_tokens=(
        *special_tokens("<pad>", "<eos>", "<bos>", "<image>"),
        *PLAIN,
        # The processor adds these where they are missing; then they would be outside the model's vocabulary.
        *plain_tokens(*(f"<loc{number:04}>" for number in range(NUM_LOCATIONS))),
        *plain_tokens(*(f"<seg{number:03}>" for number in range(NUM_SHAPES))),
    ),
    tokenizer_config=_tokenizer(image_token="<image>"),
    chat_template="",  # there are no turns: a prompt and what follows it
    preprocessor_config={
        "image_processor_type": "SiglipImageProcessor",
        "processor_class": "PaliGemmaProcessor",
        **HALF_STATISTICS,
        "image_seq_length": (SIDE // PATCH) ** 2,
        "resample": 3,
        "size": {"height": SIDE, "width": SIDE},
    },
    config=_paligemma(model_type="gemma"),
)
PALIGEMMA2 = replace(PALIGEMMA, config=_paligemma(model_type="gemma2", query_pre_attn_scalar=16, sliding_window=512))
