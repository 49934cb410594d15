"""Tiny checkpoints, each made when it is first asked for, once a session."""

from pathlib import Path

import pytest

from wdstream.testing import make_tiny_model


class TinyModels(dict[str, Path]):
    """Family name -> directory of its tiny checkpoint, 4,096 tokens; made at the first look-up."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> Path:
        self[name] = make_tiny_model(self._folder / name, family=name, vocab_size=4096)
        return self[name]


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny checkpoint of every family."""
    return TinyModels(tmp_path_factory.mktemp("models"))
