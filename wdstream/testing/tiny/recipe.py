"""What a tiny model is made of, and what most of them share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wdstream.testing.tiny.tokenizer import AddedToken

Tree = dict[str, Any]
"""The contents of a JSON file."""

SMALL_TEXT: Tree = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
"""Sizes of a tiny language model: inputs of linear layers are multiples of 64, outputs of 32, as 4-bit kernels want."""
HALF_STATISTICS: Tree = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
CLIP_STATISTICS: Tree = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
IMAGENET_STATISTICS: Tree = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
"""Normalisations of image processors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyRecipe:
    """The contents of a tiny model folder.

    Attributes:
        added_tokens: the family's tokens after the BPE vocabulary, in order of their ids.
        tokenizer_config: contents of tokenizer_config.json.
        chat_template: contents of chat_template.jinja; empty for families that are not chat models.
        preprocessor_config: contents of preprocessor_config.json, the published model's settings.
        config: contents of config.json as far as they differ from transformers' defaults, and without ids: keys that
            end in token_id or token_index hold the token itself, keys that start with vocab_size hold None.
        opening: tokens that the tokenizer's own template puts before every text, for families without a BOS.
        processor_config: contents of processor_config.json; empty for families whose processor needs no settings.
    """

    added_tokens: tuple[AddedToken, ...]
    tokenizer_config: Mapping[str, Any]
    chat_template: str
    preprocessor_config: Mapping[str, Any]
    config: Mapping[str, Any]
    opening: tuple[str, ...] = ()
    processor_config: Mapping[str, Any] = field(default_factory=dict)


def special_tokens(*names: str) -> tuple[AddedToken, ...]:
    """Added tokens with the special flag."""
    return tuple(AddedToken(name) for name in names)


def plain_tokens(*names: str) -> tuple[AddedToken, ...]:
    """Added tokens without the special flag: a tokenizer matches them in plain text."""
    return tuple(AddedToken(name, is_special=False) for name in names)


def tokenizer_config(*, eos: str, pad: str, bos: str | None = None, length: int = 131072, **settings: Any) -> Tree:
    """Contents of tokenizer_config.json; `length` is `model_max_length`."""
    return {
        "add_bos_token": False,
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": pad,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": length,
        "tokenizer_class": "PreTrainedTokenizerFast",  # takes tokenizer.json as it is; others rebuild it
        **settings,
    }


def text_config(*, eos: str, pad: str, bos: str | None, **sizes: Any) -> Tree:
    """text_config of a tiny model."""
    opening = {} if bos is None else {"bos_token_id": bos}
    return {"vocab_size": None, **SMALL_TEXT, **opening, "eos_token_id": eos, "pad_token_id": pad, **sizes}


def vision_config(image_size: int, patch_size: int, *, heads: int = 4, **settings: Any) -> Tree:
    """vision_config of a tiny model; sizes are pixels."""
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": heads}
    return {**layers, "image_size": image_size, "patch_size": patch_size, **settings}


QWEN_ENDS: Tree = {"bos": "<|endoftext|>", "eos": "<|im_end|>", "pad": "<|endoftext|>"}
CHATML: Tree = {
    "before": r"'<|im_start|>' + message.role + '\n'",
    "after": r"'<|im_end|>\n'",
    "generation": r"'<|im_start|>assistant\n'",
}
"""Arguments of `text_config` and `chat_template` for Qwen's models and the many that are built on them."""


def chat_template(
    *,
    opening: str | None = None,
    default_system: str | None = None,
    before: str,
    image: str,
    after: str = "",
    generation: str = "",
    is_trimmed: bool = False,
    newline: str = "\n",
) -> str:
    """Contents of chat_template.jinja: Jinja expressions, but for `opening`, which is template text.

    The bytes of a family's template are part of its fingerprint, so they stay as they are.

    Args:
        opening: before all turns.
        default_system: what takes the place of a system message where the first turn is another.
        before: of a turn, from `message.role`.
        image: what comes in place of an image.
        after: of a turn; empty for families that mark its end by the next one.
        generation: what asks for an answer; empty for families that need nothing.
        is_trimmed: blanks around texts are left out.
        newline: between the template's statements; it writes nothing.
    """
    trim = " | trim" if is_trimmed else ""
    lines = [
        *([] if opening is None else [opening]),
        "{%- for message in messages -%}",
        *([] if default_system is None else _if("loop.first and message.role != 'system'", default_system)),
        f"{{{{- {before} -}}}}",
        "{%- if message.content is string -%}",
        f"{{{{- message.content{trim} -}}}}",
        "{%- else -%}",
        "{%- for part in message.content -%}",
        "{%- if part.type == 'image' -%}",
        f"{{{{- {image} -}}}}",
        "{%- elif part.type == 'text' -%}",
        f"{{{{- part.text{trim} -}}}}",
        "{%- endif -%}",
        "{%- endfor -%}",
        "{%- endif -%}",
    ]
    if after:
        lines.append(f"{{{{- {after} -}}}}")
    lines.append("{%- endfor -%}")
    if generation:
        lines += _if("add_generation_prompt", generation)
    return newline.join(lines) + "\n"


def _if(condition: str, expression: str) -> list[str]:
    return [f"{{%- if {condition} -%}}", f"{{{{- {expression} -}}}}", "{%- endif -%}"]
