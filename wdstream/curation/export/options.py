"""The options of exports."""

import os
from typing import Literal

from pydantic import Field, field_validator

from wdstream.curation.resharding.reshard_options import bytes_of
from wdstream.plan.held_out import Split
from wdstream.settings import Settings

TableFormat = Literal["parquet", "datasets"]


class ExportOptions(Settings):
    """Which pages are written, and how large a file is."""

    shard_size: str = "512MB"
    """Bytes of a file, about, before compression."""
    where: str | None = None
    """Take only pages for which this is true, as `wdstream reshard` does."""
    split: Split = "all"
    """Take only pages that are held out, or only others. With all, held-out ones are the split `test`."""
    workers: int | None = Field(default=None, ge=1, le=1024)
    """Processes; all cores this process may use when left out."""

    @field_validator("shard_size")
    @classmethod
    def _is_size(cls, text: str) -> str:
        bytes_of(text)
        return text

    @property
    def num_workers(self) -> int:
        """How many processes to use."""
        return self.workers or len(os.sched_getaffinity(0))
