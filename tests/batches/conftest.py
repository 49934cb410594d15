"""Families over tiny checkpoints, made once a session."""

from pathlib import Path

import pytest

from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.testing import make_tiny_model

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    folder: Path = tmp_path_factory.mktemp("models")
    return {name: load_family(make_tiny_model(folder / name, family=name, vocab_size=2048)) for name in FAMILIES}
