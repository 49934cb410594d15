"""The language model behind a family, from config.json: its size for the cost model, and a narrow copy to try it."""

from collections.abc import Mapping
from typing import Any

from wdstream.errors import FamilyError
from wdstream.families.shared.model_folder import ModelFolder

NEEDED = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size")


def language_shape(folder: ModelFolder, defaults: Mapping[str, Any] | None = None) -> dict[str, int]:
    """The language part of `plan.cost.training_flops` of a decoder with gated MLPs, grouped queries, an output layer.

    Args:
        folder: whose text_config is read.
        defaults: sizes for what text_config leaves out.

    Raises:
        FamilyError: config.json lacks a size.
    """
    text = {**(defaults or {}), **folder.text_config}
    for key in NEEDED:
        if not isinstance(text.get(key), int):
            raise FamilyError(
                f"{folder.path}: config.json lacks '{key}' of the language model; save the checkpoint anew with "
                "its full configuration"
            )
    width, heads, layers = text["hidden_size"], text["num_attention_heads"], text["num_hidden_layers"]
    head_size = text.get("head_dim") or width // heads
    key_heads = text.get("num_key_value_heads") or heads
    attention = 2 * width * head_size * (heads + key_heads)
    mlp = 3 * width * text["intermediate_size"]
    return {
        "language_parameters": layers * (attention + mlp) + width * text["vocab_size"],
        "language_layers": _whole_layers(text),
        "language_width": heads * head_size,
    }


def _whole_layers(text: Mapping[str, Any]) -> int:
    """Layers that see the whole document; the cost of those with a sliding window does not grow with its square."""
    if kinds := text.get("layer_types"):
        return sum(kind != "sliding_attention" for kind in kinds)
    layers = int(text["num_hidden_layers"])
    pattern = text.get("sliding_window_pattern")  # every so many layers one sees all, in configurations without a list
    return layers // int(pattern) if pattern else layers


def narrowed_text(text: Mapping[str, Any]) -> dict[str, Any]:
    """text_config with two layers, two query heads and one key head of the same size; the vocabulary stays."""
    head_size = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
    # One layer of each kind that the model has: sliding and full attention have different masks.
    kinds = list(dict.fromkeys(text.get("layer_types") or []))
    layer_types = {"layer_types": (kinds * 2)[:2]} if kinds else {}
    return {
        **text,
        **layer_types,
        **_narrowed_overrides(text, (kinds * 2)[:2]),
        "num_hidden_layers": 2,
        "hidden_size": 2 * head_size,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 4 * head_size,
    }


def _narrowed_overrides(text: Mapping[str, Any], kinds: list[str]) -> dict[str, Any]:
    """Settings of single layers and sizes of what layers share, for layers of these kinds."""
    narrow: dict[str, Any] = {}
    if given := {int(place): settings for place, settings in (text.get("per_layer_config") or {}).items()}:
        of_kind = {text["layer_types"][place]: settings for place, settings in sorted(given.items(), reverse=True)}
        layers = {place: dict(of_kind[kind]) for place, kind in enumerate(kinds) if kind in of_kind}
        for settings in layers.values():
            if "num_key_value_heads" in settings:
                settings["num_key_value_heads"] = 1
        narrow["per_layer_config"] = layers
    if text.get("num_kv_shared_layers"):
        narrow["num_kv_shared_layers"] = 0  # there are too few layers left to share with
    if text.get("hidden_size_per_layer_input"):
        narrow["hidden_size_per_layer_input"] = 8  # a table as long as the vocabulary
    return narrow
