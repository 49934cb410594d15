"""A tiny family for the nodes that need one."""

import pytest

from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.testing import make_tiny_model


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return load_family(make_tiny_model(tmp_path_factory.mktemp("nodes-model") / "tiny", vocab_size=1024))
