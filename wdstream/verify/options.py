"""The options of verify."""

import os
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from wdstream.storage.engines.settings import PartSettings

NEAR_BITS = 12
"""Of 256: pictures of a page that was scaled or compressed again differ in fewer, those of two pages in more. And no
more than a sixth of those that are set: on a page with little on it, few make another page."""


class VerifyOptions(PartSettings):
    """What verify looks at, and how."""

    deep: bool = False
    """Decode every image, and look for near duplicates: several times the work."""
    tokenizer: Path | None = None
    """A model's folder or tokenizer.json: the tokens of every page are counted again and compared."""
    max_pixels: int = Field(default=200_000_000, ge=1, le=1 << 40)
    """Images with more pixels are named rather than decoded."""
    results: str | None = None
    """Folder or URL where --part keeps what it found, for --merge; new, or of parts of the same check."""
    workers: int | None = Field(default=None, ge=1, le=1024)
    """Processes; all cores this process may use when left out."""

    @model_validator(mode="after")
    def _parts_have_a_place(self) -> Self:
        if self.results is None and (self.part is not None or (self.merge and not self.merge_from)):
            raise ValueError("part and merge: results is to say where parts keep what they found")
        return self

    @property
    def num_workers(self) -> int:
        """How many processes to use."""
        return self.workers or len(os.sched_getaffinity(0))
