"""The options of make-shards; those about reading pages are in raw/settings.py."""

import os
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from wdstream.raw.settings import RawSettings

_HOW_ONLY = {"workers", "time_limit", "memory_limit_mb", "overwrite", "tokenizer", "paragraphs"}
_FIRST = {
    *("allow_outside_images", "chat_loss", "check_images", "dpi", "jpeg_quality", "keep_empty", "max_pixels"),
    *("max_unreadable", "pages_per_shard", "placeholder", "shard_bytes"),
}
"""Options that every manifest has."""


class MakeShardsOptions(RawSettings):
    """The options of `make_shards`: how pages are read, how shards are cut, how the job runs."""

    pages_per_shard: int | None = Field(default=None, ge=1, le=1_000_000)
    """Pages per shard, at most; 16 to 1,024 when left out, so that there are about 64 shards."""
    shard_bytes: int = Field(default=1 << 30, ge=1, le=1 << 40)
    """Bytes of a shard; it is ended early when its pages are expected to exceed this."""
    workers: int | None = Field(default=None, ge=1, le=1024)
    """Processes; one per core when left out."""
    time_limit: float = Field(default=120.0, ge=0.1, le=1e6)
    """Seconds that one page may take; a pause of this program does not count. A page that takes longer is tried again
    by itself, and quarantined if it takes longer again."""
    memory_limit_mb: int = Field(default=6144, ge=256, le=1 << 30)
    """Memory of one process (its address space), in MiB. A page that needs more is tried again by itself, and
    quarantined if it needs more again."""
    overwrite: bool = False
    """Remove what an earlier make-shards wrote to OUT, of other input or options, say, and start again."""
    tokenizer: Path | None = None
    """A model's folder or tokenizer.json; the token column that plans need is written, too."""
    paragraphs: bool = False
    """Count the tokens of each paragraph, too, which `overlength: split` needs. Almost twice the time."""

    @model_validator(mode="after")
    def _paragraphs_need_a_tokenizer(self) -> Self:
        if self.paragraphs and self.tokenizer is None:
            raise ValueError("paragraphs: their tokens are counted with a tokenizer; give --tokenizer, too")
        return self

    @property
    def num_workers(self) -> int:
        """How many processes to start."""
        return self.workers or len(os.sched_getaffinity(0))

    def content(self) -> dict[str, object]:
        """The options that decide the bytes of the shards, not only how they are made.

        Those that came later are there only where they are set, so that an option more changes no output's manifest.
        """
        chosen = self.model_dump(mode="json", exclude=_HOW_ONLY)
        set_later = self.model_dump(mode="json", exclude=_HOW_ONLY | _FIRST, exclude_defaults=True)
        return {name: value for name, value in chosen.items() if name in _FIRST or name in set_later}
