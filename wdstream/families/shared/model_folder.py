"""A local model folder: its settings, read as plain JSON, and the sizes of the model in them.

No transformers, no weights. `language_shape` and one of the tower functions are the two halves of
`plan.deal.training_flops`. The narrow copies are configurations with two layers and two heads, for random weights
(`wdstream doctor`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wdstream.errors import FamilyError
from wdstream.records import CHANNELS

Json = Mapping[str, Any]
"""A JSON object."""


class WatchedJson(dict[str, Any]):
    """A JSON object of a settings file that notes which key was asked for last, so that an error can name it.

    Args:
        values: the object.
        note: where the last key and its file are kept, one place for all objects of a folder.
        file: name of the file.
    """

    def __init__(self, values: Json, note: dict[str, str], file: str) -> None:
        super().__init__(values)
        self._note = note
        self._file = file

    def __getitem__(self, key: str) -> Any:
        self._note.update(key=key, file=self._file)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As of any dict."""
        self._note.update(key=key, file=self._file)
        return super().get(key, default)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """Settings of a model folder: a local directory in the form of Hugging Face.

    Attributes:
        path: the directory.
        config: config.json.
        image_settings: settings of the image processor, whichever file holds them.
        processor_settings: processor_config.json; {} for families whose processor needs none.
        last_read: the `key` that was read last, and its `file`.
        allow_tokens: added tokens that page text may form (text/allowed_tokens.py); the folder does not say them.
    """

    path: Path
    config: Json
    image_settings: Json
    processor_settings: Json
    last_read: Mapping[str, str]
    allow_tokens: tuple[str, ...] = ()

    @property
    def model_type(self) -> str:
        """`model_type` of config.json, or ""."""
        return str(self.config.get("model_type", ""))

    @property
    def text_config(self) -> Json:
        """Settings of the language model; older models have them at the top of config.json."""
        inner = self.config.get("text_config")
        return inner if isinstance(inner, Mapping) else self.config

    @property
    def vision_config(self) -> Json:
        """Settings of the vision tower."""
        inner = self.config.get("vision_config")
        return inner if isinstance(inner, Mapping) else {}


def how_to_get(path: Path) -> str:
    """What to do about a model folder that is not there, for messages."""
    said = "give the local folder of a Hugging Face model"
    if path.is_absolute() or len(path.parts) != 2 or path.parent.exists():  # not OWNER/NAME
        return f"{said} (or make one with `wdstream make-tiny-model`)"
    get = f"hf download {path} --local-dir models/{path.name}"
    return f"{said} (nothing is downloaded here; `{get}` gets a model of this name from a hub)"


def read_model_folder(path: Path) -> ModelFolder:
    """Read the settings of a model folder.

    Raises:
        FamilyError: `path` is not a model folder, a file in it is not JSON, or none describes the image processor.
    """
    if not (path / "config.json").is_file():
        raise FamilyError(f"{path}: no config.json there; {how_to_get(path)}")
    note: dict[str, str] = {}
    config, processor = _read(path / "config.json", note), _read(path / "processor_config.json", note)
    # Newer models keep the settings of all processors in one file.
    settings = _read(path / "preprocessor_config.json", note) or processor.get("image_processor") or {}
    if not isinstance(settings, dict):
        raise FamilyError(
            f"{path / 'processor_config.json'}: image_processor: expected a JSON object, found "
            f"{type(settings).__name__}; the file is damaged"
        )
    if not settings:
        raise FamilyError(
            f"{path}: no settings of an image processor there (preprocessor_config.json, or image_processor in "
            "processor_config.json), so nobody knows to which sizes the model's images are resized; copy the file from "
            "the published model"
        )
    return ModelFolder(path=path, config=config, image_settings=settings, processor_settings=processor, last_read=note)


def _read(path: Path, note: dict[str, str]) -> Json:
    """The JSON object in a file; {} when there is no such file."""
    if not path.is_file():
        return {}
    try:
        tree = json.loads(
            path.read_text(encoding="utf-8"), object_hook=lambda values: WatchedJson(values, note, path.name)
        )
    except (ValueError, RecursionError) as error:
        raise FamilyError(f"{path}: not valid JSON ({error}); the file is damaged") from error
    if not isinstance(tree, dict):
        raise FamilyError(f"{path}: expected a JSON object, found {type(tree).__name__}; the file is damaged")
    return tree


def first_number(value: int | Sequence[int]) -> int:
    """A size that settings give as a number or as a pair of equal numbers."""
    return int(value[0] if isinstance(value, Sequence) else value)


NEEDED = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size")


def text_defaults(
    *, vocab_size: int, width: int, mlp: int, layers: int, heads: int, key_heads: int | None = None, head_size: int = 0
) -> Json:
    """A text_config as its transformers class fills it where config.json says nothing."""
    return {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "head_dim": head_size,
    }


def tower_defaults(*, width: int, mlp: int, layers: int, image_size: int, patch_size: int) -> Json:
    """A vision_config as its transformers class fills it where config.json says nothing."""
    return {
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "image_size": image_size,
        "patch_size": patch_size,
    }


def language_shape(folder: ModelFolder, defaults: Json | None = None) -> dict[str, int]:
    """The language model of a decoder with gated MLPs, grouped queries and an output layer.

    Args:
        folder: whose text_config is read.
        defaults: sizes for what text_config leaves to the defaults of its transformers class.

    Raises:
        FamilyError: config.json lacks a size.
    """
    text = {**(defaults or {}), **folder.text_config}
    for key in NEEDED:
        if not isinstance(text.get(key), int):
            raise FamilyError(
                f"{folder.path}: config.json lacks '{key}' of the language model; save the model again with its full "
                "configuration"
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


def _whole_layers(text: Json) -> int:
    """Layers that see the whole document; the cost of those with a sliding window does not grow with its square."""
    if kinds := text.get("layer_types"):
        return sum(kind != "sliding_attention" for kind in kinds)
    layers = int(text["num_hidden_layers"])
    pattern = text.get("sliding_window_pattern")  # one layer of every `pattern` sees all, in older configurations
    return layers // int(pattern) if pattern else layers


def tower_shape(vision: Json) -> dict[str, int]:
    """A plain vision transformer: two linear layers in each MLP."""
    width, layers, patch = vision["hidden_size"], vision["num_hidden_layers"], first_number(vision["patch_size"])
    block = 4 * width * width + 2 * width * vision["intermediate_size"]
    return {
        "vision_parameters": CHANNELS * patch * patch * width + layers * block,
        "vision_layers": layers,
        "vision_width": width,
    }


def merging_tower_shape(
    vision: Json, *, width: int, mlp: int, out: int, whole_layers: int | None = None
) -> dict[str, int]:
    """A vision transformer of the Qwen-VL line, whose patches are merged at its end.

    Args:
        vision: vision_config, filled: `depth`, `patch_size`.
        width: of the tower.
        mlp: parameters of one block's MLP.
        out: width of the language model.
        whole_layers: layers of attention over the whole image; None: all.
    """
    merge = vision.get("spatial_merge_size", 2) ** 2
    merged = width * merge
    embed = CHANNELS * vision.get("temporal_patch_size", 2) * vision["patch_size"] ** 2 * width
    mergers = 1 + len(vision.get("deepstack_visual_indexes", ()))
    share = mergers * (merged * merged + merged * out) // merge
    return {
        "vision_parameters": int(embed + vision["depth"] * (4 * width * width + mlp) + share),
        "vision_layers": vision["depth"] if whole_layers is None else whole_layers,
        "vision_width": width,
    }


def narrowed_tower(vision: Json, *, heads: str = "num_heads", **sizes: object) -> dict[str, Any]:
    """vision_config with two heads of the same size, and these other `sizes`.

    Args:
        vision: vision_config.
        heads: its key of the number of heads.
        sizes: keys of one family, the number of layers among them.
    """
    width = 2 * vision["hidden_size"] // vision[heads]
    return {**vision, "hidden_size": width, heads: 2, "intermediate_size": 2 * width, **sizes}


def narrowed_text(text: Json) -> dict[str, Any]:
    """text_config with two layers, two query heads and one key head of the same size; the vocabulary stays."""
    head_size = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
    # One layer of each kind that the model has: sliding and full attention have different masks.
    kinds = (list(dict.fromkeys(text.get("layer_types") or [])) * 2)[:2]
    return {
        **text,
        **({"layer_types": kinds} if kinds else {}),
        **_narrowed_overrides(text, kinds),
        "num_hidden_layers": 2,
        "hidden_size": 2 * head_size,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 4 * head_size,
    }


def _narrowed_overrides(text: Json, kinds: Sequence[str]) -> Mapping[str, object]:
    """Settings of single layers and sizes of what layers share, for layers of these kinds."""
    narrow: dict[str, object] = {}
    if by_layer := {int(number): settings for number, settings in (text.get("per_layer_config") or {}).items()}:
        of_kind = {text["layer_types"][number]: settings for number, settings in sorted(by_layer.items(), reverse=True)}
        layers = {number: dict(of_kind[kind]) for number, kind in enumerate(kinds) if kind in of_kind}
        for settings in layers.values():
            if "num_key_value_heads" in settings:
                settings["num_key_value_heads"] = 1
        narrow["per_layer_config"] = layers
    if text.get("num_kv_shared_layers"):
        narrow["num_kv_shared_layers"] = 0  # there are too few layers left to share with
    if text.get("hidden_size_per_layer_input"):
        narrow["hidden_size_per_layer_input"] = 8  # a table as long as the vocabulary
    return narrow
