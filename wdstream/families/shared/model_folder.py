"""A local model folder's settings, read as plain JSON: no transformers, no weights."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wdstream.errors import FamilyError

Json = Mapping[str, Any]
"""A JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """Settings of a model folder: a local directory in the form of Hugging Face.

    Attributes:
        path: the directory.
        config: config.json.
        image_settings: settings of the image processor, whichever file holds them.
        processor_settings: processor_config.json; {} for families whose processor needs none.
    """

    path: Path
    config: Json
    image_settings: Json
    processor_settings: Json

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


def read_model_folder(path: Path) -> ModelFolder:
    """Read the settings of a model folder.

    Raises:
        FamilyError: `path` is not a model folder, or a file in it is not JSON.
    """
    if not (path / "config.json").is_file():
        raise FamilyError(
            f"{path}: no config.json there; give the local folder of a Hugging Face model "
            "(or make one with `wdstream make-tiny-model`)"
        )
    processor = _read(path / "processor_config.json")
    # Newer models keep the settings of all processors in one file.
    settings = _read(path / "preprocessor_config.json") or processor.get("image_processor", {})
    return ModelFolder(
        path=path, config=_read(path / "config.json"), image_settings=settings, processor_settings=processor
    )


def _read(path: Path) -> Json:
    """The JSON object in a file; {} when there is no such file."""
    if not path.is_file():
        return {}
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FamilyError(f"{path}: not valid JSON ({error}); the file is damaged") from error
    if not isinstance(tree, dict):
        raise FamilyError(f"{path}: expected a JSON object, found {type(tree).__name__}; the file is damaged")
    return tree


def first_number(value: int | Sequence[int]) -> int:
    """A size that settings give as a number or as a pair of equal numbers."""
    return int(value[0] if isinstance(value, Sequence) else value)
