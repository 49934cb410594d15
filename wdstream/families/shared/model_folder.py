"""A local model folder's settings, read as plain JSON: no transformers, no weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wdstream.errors import FamilyError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """Settings of a checkpoint directory.

    Attributes:
        path: the directory.
        config: config.json.
        image_settings: settings of the image processor, whichever file holds them.
        processor_settings: processor_config.json; {} for families whose processor needs none.
    """

    path: Path
    config: Mapping[str, Any]
    image_settings: Mapping[str, Any]
    processor_settings: Mapping[str, Any]

    @property
    def model_type(self) -> str:
        """`model_type` of config.json, or ""."""
        return str(self.config.get("model_type", ""))

    @property
    def text_config(self) -> Mapping[str, Any]:
        """Settings of the language model; older checkpoints hold them at the top of config.json."""
        inner = self.config.get("text_config")
        return inner if isinstance(inner, Mapping) else self.config

    @property
    def vision_config(self) -> Mapping[str, Any]:
        """Settings of the vision tower."""
        inner = self.config.get("vision_config")
        return inner if isinstance(inner, Mapping) else {}


def read_model_folder(path: Path) -> ModelFolder:
    """Read the settings in a checkpoint directory.

    Raises:
        FamilyError: `path` is no checkpoint directory, or a file in it is not JSON.
    """
    if not (path / "config.json").is_file():
        raise FamilyError(
            f"{path}: no config.json there; give the local directory of a Hugging Face checkpoint "
            "(or make one with `wdstream make-tiny-model`)"
        )
    processor = _read(path / "processor_config.json")
    # Newer checkpoints keep the settings of all processors in one file.
    settings = _read(path / "preprocessor_config.json") or processor.get("image_processor", {})
    return ModelFolder(
        path=path, config=_read(path / "config.json"), image_settings=settings, processor_settings=processor
    )


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a file; {} when there is no such file."""
    if not path.is_file():
        return {}
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FamilyError(f"{path}: not valid JSON ({error}); the checkpoint is damaged") from error
    if not isinstance(tree, dict):
        raise FamilyError(f"{path}: expected a JSON object, found {type(tree).__name__}; the checkpoint is damaged")
    return tree
