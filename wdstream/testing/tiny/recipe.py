"""What a tiny checkpoint of a family is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wdstream.testing.tiny.tokenizer import AddedToken

SMALL_TEXT = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
"""Sizes of a tiny language model: inputs of linear layers are multiples of 64, outputs of 32, as 4-bit kernels want."""
SMALL_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
"""Sizes of a tiny vision tower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyRecipe:
    """The parts of a tiny checkpoint.

    Attributes:
        added_tokens: the family's tokens behind the BPE vocabulary, in order of their ids.
        tokenizer_config: contents of tokenizer_config.json.
        chat_template: contents of chat_template.jinja; empty for families that are no chat models.
        preprocessor_config: contents of preprocessor_config.json, the real checkpoint's settings.
        build_config: `(token ids by content, vocabulary size) -> transformers config`; imports transformers itself.
        opening: tokens that the tokenizer's own template puts before every text, for families without a BOS.
        processor_config: contents of processor_config.json; empty for families whose processor needs no settings.
    """

    added_tokens: tuple[AddedToken, ...]
    tokenizer_config: Mapping[str, Any]
    chat_template: str
    preprocessor_config: Mapping[str, Any]
    build_config: Callable[[Mapping[str, int], int], Any]
    opening: tuple[str, ...] = ()
    processor_config: Mapping[str, Any] = field(default_factory=dict)
