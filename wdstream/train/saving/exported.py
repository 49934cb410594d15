"""wdstream_run.json of a model folder: how pages were read while it was trained, so that others read them alike."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wdstream.config.adapter import AdapterConfig
from wdstream.config.schema import Config
from wdstream.errors import TrainError, load_json
from wdstream.storage.atomic import write_file

NOTES = "wdstream_run.json"
NOTES_VERSION = 1
_DATA = ("sequence_length", "max_patches", "global_batch_size", "pool", "overlength", "max_pixels", "decode", "pixels")
_MODEL = ("family", "attn", "dtype")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What a model folder says of itself.

    Attributes:
        base: the model that training began from: a path, or the name at a hub.
        step: steps that are in the weights.
        is_merged: an adapter was merged into the weights.
        settings: sections of the run's configuration, of each what says how pages are read and computed; with
            `train.adapter` where the run trained one.
    """

    base: str
    step: int
    is_merged: bool
    settings: Mapping[str, Any]

    @property
    def adapter(self) -> AdapterConfig | None:
        """What the run trained; None: all weights."""
        tree = self.settings["train"]["adapter"]
        return None if tree is None else AdapterConfig.of(tree)

    def write(self, folder: Path) -> None:
        """Put it into a model folder."""
        tree = {
            "version": NOTES_VERSION,
            "base": self.base,
            "step": self.step,
            "is_merged": self.is_merged,
            "settings": self.settings,
        }
        write_file(folder / NOTES, json.dumps(tree, indent=2).encode())


def exported_from(config: Config, *, base: str, step: int, is_merged: bool) -> Exported:
    """What a folder says that comes from a run of this configuration."""
    tree = config.model_dump(mode="json")
    settings = {
        "model": {name: tree["model"][name] for name in _MODEL},
        "data": {name: tree["data"][name] for name in _DATA},
        "text": tree["text"],
        "tiling": tree["tiling"],
        "train": {"adapter": tree["train"]["adapter"]},
    }
    return Exported(base=base, step=step, is_merged=is_merged, settings=settings)


def read_exported(folder: Path) -> Exported | None:
    """What a model folder says of itself; None where it was not written by wdstream.

    Raises:
        TrainError: the file is damaged, or of another version.
    """
    path = folder / NOTES
    if not path.is_file():
        return None
    try:
        tree = load_json(path.read_bytes())
        version = tree.pop("version")
        if version != NOTES_VERSION:
            raise TrainError(f"{path}: version {NOTES_VERSION} expected, found {version!r}; export the model again")
        found = Exported(**tree)
        found.settings["train"]["adapter"], found.settings["tiling"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainError(f"{path}: cannot be read ({error!r}); export the model again") from error
    return found
