"""World: a rank is inside its size."""

import pytest

from wdstream.errors import ConfigError
from wdstream.records import World


def test_alone_by_default() -> None:
    assert (World().rank, World().size) == (0, 1)


@pytest.mark.parametrize(("rank", "size"), [(1, 1), (-1, 2), (0, 0)])
def test_rank_outside(rank: int, size: int) -> None:
    with pytest.raises(ConfigError, match="rank must be in"):
        World(rank=rank, size=size)


def test_no_whole_number() -> None:
    with pytest.raises(ConfigError, match="World: rank: expected a whole number, found '1'"):
        World(rank="1", size=2)  # type: ignore[arg-type]
