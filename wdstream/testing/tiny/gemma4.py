"""A tiny Gemma 4 checkpoint: its tokens, the smallest budget of an image, layers of both kinds."""

from collections.abc import Mapping
from typing import Any

from wdstream.testing.tiny.chat import chat_template
from wdstream.testing.tiny.gemma_tokens import NEWLINES, TAGS
from wdstream.testing.tiny.recipe import TinyRecipe
from wdstream.testing.tiny.tokenizer import AddedToken

IMAGE_TOKENS = ("<|image>", "<image|>", "<|image|>", "<|video|>", "<|audio>", "<audio|>", "<|audio|>")
ADDED_TOKENS = (
    *(AddedToken(name) for name in ("<pad>", "<eos>", "<bos>", "<|turn>", "<turn|>", *IMAGE_TOKENS)),
    *NEWLINES,
    *TAGS,
)
MAX_SOFT_TOKENS = 70

TOKENIZER_CONFIG = {
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "pad_token": "<pad>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "image_token": "<|image|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
    "audio_token": "<|audio|>",
    "clean_up_tokenization_spaces": False,
    "model_max_length": 131072,
    "tokenizer_class": "PreTrainedTokenizerFast",
    "unk_token": None,
}

CHAT_TEMPLATE = chat_template(
    opening="{{- bos_token -}}",
    before=r"'<|turn>' + ('model' if message.role == 'assistant' else message.role) + '\n'",
    image="'<|image|>'",
    after=r"'<turn|>\n'",
    generation=r"'<|turn>model\n'",
    is_trimmed=True,
)


def _config(ids: Mapping[str, int], vocab_size: int) -> Any:
    from transformers import Gemma4Config

    text = {
        "vocab_size": vocab_size,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "global_head_dim": 32,
        "sliding_window": 32,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "hidden_size_per_layer_input": 64,
        "vocab_size_per_layer_input": vocab_size,
        "use_bidirectional_attention": "vision",
        "final_logit_softcapping": 30.0,
        "bos_token_id": ids["<bos>"],
        "eos_token_id": ids["<eos>"],
        "pad_token_id": ids["<pad>"],
    }
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
    added_tokens=ADDED_TOKENS,
    tokenizer_config=TOKENIZER_CONFIG,
    chat_template=CHAT_TEMPLATE,
    preprocessor_config={
        "image_processor_type": "Gemma4ImageProcessor",
        "processor_class": "Gemma4Processor",
        "do_normalize": False,
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
        "max_soft_tokens": MAX_SOFT_TOKENS,
        "patch_size": 16,
        "pooling_kernel_size": 3,
        "resample": 3,
    },
    build_config=_config,
)
