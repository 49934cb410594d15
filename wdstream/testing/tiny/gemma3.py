"""A tiny Gemma 3 checkpoint: its tokens, newline runs among them, a BOS, a small canvas, one layer of each kind."""

from collections.abc import Mapping
from typing import Any

from wdstream.testing.tiny.chat import chat_template
from wdstream.testing.tiny.gemma_tokens import NEWLINES, TAGS
from wdstream.testing.tiny.recipe import SMALL_TOWER, TinyRecipe
from wdstream.testing.tiny.tokenizer import AddedToken

IMAGE_SIDE = 56

ADDED_TOKENS = (
    *(AddedToken(name) for name in ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")),
    *(AddedToken(name) for name in ("<start_of_image>", "<end_of_image>", "<image_soft_token>")),
    *NEWLINES,
    *TAGS,
)

TOKENIZER_CONFIG = {
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "pad_token": "<pad>",
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
    "clean_up_tokenization_spaces": False,
    "model_max_length": 131072,
    "tokenizer_class": "PreTrainedTokenizerFast",
    "unk_token": None,
}

CHAT_TEMPLATE = chat_template(
    opening="{{- bos_token -}}",
    before=r"'<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\n'",
    image="'<start_of_image>'",
    after=r"'<end_of_turn>\n'",
    generation=r"'<start_of_turn>model\n'",
    is_trimmed=True,
)


def _config(ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import Gemma3Config

    text = {
        "vocab_size": vocab_size,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 32,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "max_position_embeddings": 32768,
        "bos_token_id": ids["<bos>"],
        "eos_token_id": ids["<eos>"],
        "pad_token_id": ids["<pad>"],
    }
    vision = {
        "model_type": "siglip_vision_model",
        **SMALL_TOWER,
        "num_attention_heads": 2,
        "image_size": IMAGE_SIDE,
        "patch_size": 14,
    }
    return Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=4,
        boi_token_index=ids["<start_of_image>"],
        eoi_token_index=ids["<end_of_image>"],
        image_token_index=ids["<image_soft_token>"],
    )


GEMMA3 = TinyRecipe(
    added_tokens=ADDED_TOKENS,
    tokenizer_config=TOKENIZER_CONFIG,
    chat_template=CHAT_TEMPLATE,
    preprocessor_config={
        "image_processor_type": "Gemma3ImageProcessor",
        "processor_class": "Gemma3Processor",
        "do_pan_and_scan": None,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_seq_length": 4,
        "resample": 2,
        "size": {"height": IMAGE_SIDE, "width": IMAGE_SIDE},
    },
    processor_config={"image_seq_length": 4, "processor_class": "Gemma3Processor"},
    build_config=_config,
)
