"""Tiny checkpoints, made once a session."""

from pathlib import Path

import pytest

from wdstream.testing import make_tiny_model


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny checkpoint of each family, 4,096 tokens."""
    folder = tmp_path_factory.mktemp("models")
    return {
        name: make_tiny_model(folder / name, family=name, vocab_size=4096)
        for name in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
    }
