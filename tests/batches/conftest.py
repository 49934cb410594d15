"""Families over tiny checkpoints, each made when it is first asked for, once a session."""

from pathlib import Path

import pytest

from tests.families.published import SPLITTING, change, copy_settings
from wdstream.families.base import Family
from wdstream.families.registry import load_family


class TinyFamilies(dict[str, Family]):
    """Family name -> the family over its tiny checkpoint; loaded at the first look-up."""

    def __init__(self, models: dict[str, Path]) -> None:
        super().__init__()
        self._models = models

    def __missing__(self, name: str) -> Family:
        self[name] = load_family(self._models[name])
        return self[name]


class WholeFamilies(dict[str, Family]):
    """Those of `SPLITTING` for images that are left whole; their checkpoints have no weights of their own."""

    def __init__(self, folder: Path, families: dict[str, Family]) -> None:
        super().__init__()
        self._folder, self._families = folder, families

    def __missing__(self, name: str) -> Family:
        path = copy_settings(self._families[name].model_dir, self._folder / name)
        change(path / "preprocessor_config.json", **SPLITTING[name])
        self[name] = load_family(path).for_whole_images()
        return self[name]


@pytest.fixture(scope="session")
def families(tiny_models: dict[str, Path]) -> dict[str, Family]:
    """Every family."""
    return TinyFamilies(tiny_models)


@pytest.fixture(scope="session")
def whole_families(tmp_path_factory: pytest.TempPathFactory, families: dict[str, Family]) -> dict[str, Family]:
    """Families whose processor splits images, for images that wdstream leaves whole."""
    return WholeFamilies(tmp_path_factory.mktemp("whole"), families)
