"""Families over tiny checkpoints, each made when it is first asked for, once a session."""

from pathlib import Path

import pytest

from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.testing import make_tiny_model


class TinyFamilies(dict[str, Family]):
    """Family name -> the family over its tiny checkpoint, 2,048 tokens; made at the first look-up."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> Family:
        self[name] = load_family(make_tiny_model(self._folder / name, family=name, vocab_size=2048))
        return self[name]


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    """Every family."""
    return TinyFamilies(tmp_path_factory.mktemp("models"))
