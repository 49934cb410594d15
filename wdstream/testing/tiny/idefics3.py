"""Tiny Idefics3 and SmolVLM checkpoints: their tokens, templates and image processors; towers of few, large patches."""

from collections.abc import Mapping
from typing import Any

from wdstream.testing.tiny.recipe import SMALL_TEXT, SMALL_TOWER, TinyRecipe
from wdstream.testing.tiny.tokenizer import AddedToken

_TILES = tuple(AddedToken(f"<row_{row}_col_{column}>") for row in range(1, 7) for column in range(1, 7))
_IMAGE = tuple(
    AddedToken(name) for name in ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>")
)
_LLAMA = ("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|start_header_id|>", "<|eot_id|>")
_SMOL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>", "<file_sep>", "<filename>")

_COMMON = {
    "clean_up_tokenization_spaces": False,
    "end_of_utterance_token": "<end_of_utterance>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "image_token": "<image>",
    "model_max_length": 16384,
    "tokenizer_class": "PreTrainedTokenizerFast",
    "unk_token": None,
}


def _template(start: str) -> str:
    return (
        f"{start}{{%- for message in messages -%}}"
        "{{- message.role | capitalize -}}"
        "{%- if message.content is string -%}{{- ': ' + message.content -}}{%- else -%}"
        "{{- ':' if message.content[0].type == 'image' else ': ' -}}"
        "{%- for part in message.content -%}"
        "{%- if part.type == 'image' -%}{{- '<image>' -}}{%- elif part.type == 'text' -%}{{- part.text -}}{%- endif -%}"
        "{%- endfor -%}{%- endif -%}"
        "{{- '<end_of_utterance>\\n' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}\n"
    )


def _preprocessor(name: str, square: int, longest: int) -> dict[str, Any]:
    return {
        "image_processor_type": f"{name}ImageProcessor",
        "processor_class": f"{name}Processor",
        "do_convert_rgb": True,
        "do_image_splitting": True,
        "do_normalize": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "max_image_size": {"longest_edge": square},
        "resample": 1,
        "rescale_factor": 1 / 255,
        "size": {"longest_edge": longest},
    }


def _config(ids: Mapping[str, int], vocab_size: int, *, is_smol: bool) -> Any:
    from transformers import Idefics3Config, SmolVLMConfig

    text = {
        "model_type": "llama",
        "vocab_size": vocab_size,
        **SMALL_TEXT,
        "intermediate_size": 192,
        "max_position_embeddings": 16384,
        "bos_token_id": ids["<|im_start|>" if is_smol else "<|begin_of_text|>"],
        "eos_token_id": ids["<end_of_utterance>"],
        "pad_token_id": ids["<|im_end|>" if is_smol else "<|reserved_special_token_0|>"],
    }
    vision = {
        **SMALL_TOWER,
        "num_attention_heads": 4,
        "image_size": 512 if is_smol else 364,
        "patch_size": 64 if is_smol else 91,  # 8 x 8 and 4 x 4 patches: 4 features a square
    }
    return (SmolVLMConfig if is_smol else Idefics3Config)(
        text_config=text,
        vision_config=vision,
        scale_factor=4 if is_smol else 2,
        image_token_id=ids["<image>"],
        pad_token_id=text["pad_token_id"],
        tie_word_embeddings=is_smol,
    )


def _config_idefics3(ids: Mapping[str, int], vocab_size: int) -> Any:
    return _config(ids, vocab_size, is_smol=False)


def _config_smolvlm(ids: Mapping[str, int], vocab_size: int) -> Any:
    return _config(ids, vocab_size, is_smol=True)


IDEFICS3 = TinyRecipe(
    added_tokens=(*(AddedToken(name) for name in _LLAMA), *_IMAGE, *_TILES),
    tokenizer_config={
        **_COMMON,
        "add_bos_token": True,
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<end_of_utterance>",
        "pad_token": "<|reserved_special_token_0|>",
    },
    chat_template=_template("{{- '<|begin_of_text|>' -}}"),
    preprocessor_config=_preprocessor("Idefics3", 364, 1456),
    processor_config={"image_seq_len": 4, "processor_class": "Idefics3Processor"},
    build_config=_config_idefics3,
)
SMOLVLM = TinyRecipe(
    added_tokens=(*(AddedToken(name) for name in _SMOL), *_IMAGE, *_TILES),
    tokenizer_config={
        **_COMMON,
        "add_bos_token": False,
        "bos_token": "<|im_start|>",
        "eos_token": "<end_of_utterance>",
        "pad_token": "<|im_end|>",
    },
    chat_template=_template("{{- '<|im_start|>' -}}"),
    preprocessor_config=_preprocessor("SmolVLM", 512, 2048),
    processor_config={"image_seq_len": 4, "processor_class": "SmolVLMProcessor"},
    build_config=_config_smolvlm,
)
