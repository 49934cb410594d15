"""Tiny models of the Gemma line: Gemma 3, Gemma 4, and both generations of PaliGemma.

Their tokenizers have added tokens that are plain text, without the special flag: runs of newlines and HTML tags. Image
sides are small, and there are layers of both kinds, with a sliding window and without.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wdstream.testing.tiny.recipe import (
    HALF_STATISTICS,
    SMALL_TOWER,
    TinyRecipe,
    Tree,
    chat_template,
    plain_tokens,
    special_tokens,
    text_config,
    tokenizer_config,
)

SIDE, PATCH = 56, 14
LONGEST_NEWLINE_RUN = 31
PLAIN = (
    *plain_tokens(*("\n" * length for length in range(1, LONGEST_NEWLINE_RUN + 1))),
    *plain_tokens("<table>", "</table>", "<tr>", "</tr>", "<td>", "</td>"),
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig
NUM_LOCATIONS, NUM_SHAPES = 1024, 128
"""Added tokens of PaliGemma, `<loc0000>` and `<seg000>`."""
_ENDS: Tree = {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>"}
_SIGLIP: Tree = {
    "model_type": "siglip_vision_model",
    **SMALL_TOWER,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
}


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


def _text(ids: Mapping[str, int], vocab_size: int, **sizes: Any) -> Tree:
    return text_config(ids, vocab_size, **_ENDS, **{"intermediate_size": 128, **sizes})


def _gemma3(ids: Mapping[str, int], vocab_size: int) -> "PretrainedConfig":
    from transformers import Gemma3Config

    text = _text(
        ids,
        vocab_size,
        num_hidden_layers=4,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=32,
        layer_types=["sliding_attention", "full_attention"] * 2,
        max_position_embeddings=32768,
    )
    return Gemma3Config(
        text_config=text,
        vision_config=_SIGLIP,
        mm_tokens_per_image=4,
        boi_token_index=ids["<start_of_image>"],
        eoi_token_index=ids["<end_of_image>"],
        image_token_index=ids["<image_soft_token>"],
    )


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
    build_config=_gemma3,
)


def _gemma4(ids: Mapping[str, int], vocab_size: int) -> "PretrainedConfig":
    from transformers import Gemma4Config

    text = _text(
        ids,
        vocab_size,
        num_hidden_layers=4,
        head_dim=16,
        global_head_dim=32,
        sliding_window=32,
        layer_types=["sliding_attention", "full_attention"] * 2,
        hidden_size_per_layer_input=64,
        vocab_size_per_layer_input=vocab_size,
        use_bidirectional_attention="vision",
        final_logit_softcapping=30.0,
    )
    # The smallest budget an image may have is 630 patches: the tower has to be tiny for tests to be quick.
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "position_embedding_size": 256,
    }
    return Gemma4Config(
        text_config=text,
        vision_config=vision,
        audio_config=None,
        boi_token_id=ids["<|image>"],
        eoi_token_id=ids["<image|>"],
        image_token_id=ids["<|image|>"],
        video_token_id=ids["<|video|>"],
        boa_token_id=ids["<|audio>"],
        eoa_token_index=ids["<audio|>"],
        audio_token_id=ids["<|audio|>"],
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
    build_config=_gemma4,
)


def _paligemma(ids: Mapping[str, int], vocab_size: int, **text: Any) -> "PretrainedConfig":
    from transformers import PaliGemmaConfig

    return PaliGemmaConfig(
        text_config=_text(ids, vocab_size, num_key_value_heads=1, head_dim=32, **text),
        vision_config={**_SIGLIP, "vision_use_head": False},
        image_token_index=ids["<image>"],
        vocab_size=vocab_size,
        projection_dim=64,
        hidden_size=64,
    )


def _paligemma1(ids: Mapping[str, int], vocab_size: int) -> "PretrainedConfig":
    return _paligemma(ids, vocab_size, model_type="gemma")


def _paligemma2(ids: Mapping[str, int], vocab_size: int) -> "PretrainedConfig":
    return _paligemma(ids, vocab_size, model_type="gemma2", query_pre_attn_scalar=16, sliding_window=512)


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
    build_config=_paligemma1,
)
PALIGEMMA2 = replace(PALIGEMMA, build_config=_paligemma2)
