"""A tiny family for the nodes that need one."""

from pathlib import Path

import pytest

from wdstream.families.base import Family
from wdstream.families.registry import load_family


@pytest.fixture(scope="session")
def family(tiny_model: Path) -> Family:
    return load_family(tiny_model)
