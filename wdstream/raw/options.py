"""What can be chosen about make-shards; which choices change the bytes, and which only how they are made."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wdstream.errors import ConfigError
from wdstream.text.messages import ChatLoss

_HOW_ONLY = ("workers", "time_limit", "memory_limit_mb", "overwrite", "tokenizer", "paragraphs")


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeShardsOptions:
    """Options of `make_shards`.

    Attributes:
        dpi: resolution at which PDF pages are drawn.
        jpeg_quality: of drawn pages and of images that must be coded anew, 1 to 100.
        pages_per_shard: None chooses 16 to 1,024, so that there are about 64 shards.
        shard_bytes: a shard is ended early when its pages are expected to exceed this.
        max_pixels: larger pages and images are quarantined, before they are drawn or decoded.
        max_unreadable: a PDF page is quarantined when more than this share of its text has no meaning in Unicode.
        keep_empty: keep pages without text, which are quarantined otherwise.
        allow_outside_images: let rows name images outside the folder of their JSONL file.
        placeholder: the only text that stands for an image in rows; None takes `<image>` and models' own forms.
        chat_loss: which turns of the assistant are supervised in chat rows that do not say so: "all", or the "last"
        one. check_images: decode every image once, so that a page that is accepted can be trained on.
        workers: processes; None takes every core this process may use.
        time_limit: seconds that one page may take.
        memory_limit_mb: address space of one process, in MiB.
        overwrite: remove what an earlier make-shards wrote to the output, and begin anew.
        tokenizer: a checkpoint folder or tokenizer.json; its token column is written too.
        paragraphs: count the tokens of each paragraph, too, which `overlength: split` needs.

    Raises:
        ConfigError: a value is out of range, or paragraphs are to be counted without a tokenizer.
    """

    dpi: int = 150
    jpeg_quality: int = 90
    pages_per_shard: int | None = None
    shard_bytes: int = 1 << 30
    max_pixels: int = 200_000_000
    max_unreadable: float = 0.01
    keep_empty: bool = False
    allow_outside_images: bool = False
    placeholder: str | None = None
    chat_loss: ChatLoss = "all"
    check_images: bool = True
    workers: int | None = None
    time_limit: float = 120.0
    memory_limit_mb: int = 6144
    overwrite: bool = False
    tokenizer: Path | None = None
    paragraphs: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (
            ("dpi", 1, 2400),
            ("jpeg_quality", 1, 100),
            ("pages_per_shard", 1, 1_000_000),
            ("shard_bytes", 1, 1 << 40),
            ("max_pixels", 1, 1 << 40),
            ("max_unreadable", 0, 1),
            ("workers", 1, 1024),
            ("time_limit", 0.1, 1e6),
            ("memory_limit_mb", 256, 1 << 30),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name}={value}: expected {low} to {high}")
        if self.chat_loss not in ("all", "last"):
            raise ConfigError(f"chat_loss={self.chat_loss!r}: expected all or last")
        if self.placeholder == "":
            raise ConfigError("placeholder: expected a text such as <image>, found an empty one")
        if self.paragraphs and self.tokenizer is None:
            raise ConfigError("paragraphs: their tokens are counted with a tokenizer; give --tokenizer, too")

    @property
    def num_workers(self) -> int:
        """Processes to start."""
        if self.workers is not None:
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def content(self) -> dict[str, Any]:
        """The options that decide the bytes of the shards."""
        return {name: value for name, value in asdict(self).items() if name not in _HOW_ONLY}

    def to_json(self) -> dict[str, Any]:
        """All options as plain JSON, for a worker."""
        return asdict(self) | {"tokenizer": None if self.tokenizer is None else str(self.tokenizer)}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> "MakeShardsOptions":
        """The inverse of `to_json`."""
        return cls(**tree | {"tokenizer": None if tree["tokenizer"] is None else Path(tree["tokenizer"])})
