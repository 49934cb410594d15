"""The options of verify."""

import os
from pathlib import Path

from pydantic import Field

from wdstream.storage.engines.settings import EngineSettings

NEAR_BITS = 12
"""Of 256: pictures of a page that was scaled or compressed again differ in fewer, those of two pages in more. And no
more than a sixth of those that are set: on a page with little on it, few make another page."""


class VerifyOptions(EngineSettings):
    """What verify looks at, and how."""

    deep: bool = False
    """Decode every image, and look for near duplicates: several times the work."""
    tokenizer: Path | None = None
    """A model's folder or tokenizer.json: the tokens of every page are counted again and compared."""
    max_pixels: int = Field(default=200_000_000, ge=1, le=1 << 40)
    """Images with more pixels are named rather than decoded."""
    workers: int | None = Field(default=None, ge=1, le=1024)
    """Processes; all cores this process may use when left out."""

    @property
    def num_workers(self) -> int:
        """How many processes to use."""
        return self.workers or len(os.sched_getaffinity(0))
