"""World: which of how many processes this is; made once at the edge, nothing below reads the environment."""

from dataclasses import dataclass

from wdstream.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Rank `rank` of `size` data-parallel processes.

    Raises:
        ConfigError: rank is not in [0, size).
    """

    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise ConfigError(f"World(rank={self.rank}, size={self.size}): rank must lie in [0, {self.size})")
