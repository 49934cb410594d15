"""The options of dedup."""

import os
from typing import Literal

from pydantic import Field

from wdstream.records import MAX_PIXELS
from wdstream.storage.engines.settings import PartSettings
from wdstream.verify.options import NEAR_BITS

Part = Literal["image", "text", "both"]
Keep = Literal["first", "longest-text"]


class DedupOptions(PartSettings):
    """Which pages count as copies, and which of them stays."""

    near: bool = False
    """Find near copies, too: every image is decoded, several times the work. Without it, copies are byte for byte."""
    distance: int = Field(default=NEAR_BITS, ge=0, le=64)
    """Of near pictures: in how many of 256 areas they may differ, and in no more than a sixth of those with ink."""
    by: Part = "both"
    """What must be the same: the image, whatever the text, the text, whatever the image, or both."""
    keep: Keep = "first"
    """Which copy stays: the first in the order of the input, or the one with the longest text."""
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, le=1 << 40)
    """Images with more pixels are not decoded: their near copies are not found."""
    workers: int | None = Field(default=None, ge=1, le=1024)
    """Processes; all cores this process may use when left out."""

    @property
    def num_workers(self) -> int:
        """How many processes to use."""
        return self.workers or len(os.sched_getaffinity(0))
