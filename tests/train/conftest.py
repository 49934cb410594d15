"""Tiny checkpoints and hand-made batches for the training tests."""

from pathlib import Path

import pytest

from wdstream.testing import make_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2.5-VL with 1,024 tokens; weights as they come from initialisation."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", vocab_size=1024)
