"""CacheSettings: what cannot be held is refused."""

from pathlib import Path

import pytest

from wdstream.errors import ConfigError
from wdstream.storage.cache.settings import CacheSettings


def test_room_for_a_few_blocks() -> None:
    CacheSettings(path=Path("x"), max_bytes=8 << 20)
    with pytest.raises(ConfigError, match=r"data\.cache: max_bytes: 8,388,607 is room for less than 8 blocks"):
        CacheSettings(path=Path("x"), max_bytes=(8 << 20) - 1)
    with pytest.raises(ConfigError, match=r"data\.cache\.block_bytes"):
        CacheSettings(path=Path("x"), max_bytes=8 << 20, block_bytes=100)
