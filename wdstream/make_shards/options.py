"""The options of make-shards; those about reading pages are in raw/settings.py."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from wdstream.plan.held_out import HoldOut
from wdstream.raw.settings import RawSettings
from wdstream.storage.engines.settings import HOW_ONLY, PartSettings

_HOW_ONLY = {
    *("workers", "time_limit", "memory_limit_mb", "overwrite", "tokenizer", "paragraphs", "allow_tokens"),
    *("retry_quarantined", "retry_reason", "check_content"),
    *("holdout", "holdout_by", "holdout_seed"),
    *HOW_ONLY,
}
_LIMITS = {
    *("max_pixels", "max_unreadable", "keep_empty", "allow_outside_images", "allow_outside_links"),
    *("max_file_bytes", "max_line_bytes", "max_text_bytes", "max_text_chars", "max_frames"),
}
"""Options that quarantine pages, and decide nothing about those they let through."""
_OF_OCR = {"ocr", "ocr_language", "ocr_engine", "min_ocr_confidence"}
_FIRST = {
    *("allow_outside_images", "chat_loss", "check_images", "dpi", "jpeg_quality", "keep_empty", "max_pixels"),
    *("max_unreadable", "pages_per_shard", "placeholder", "shard_bytes"),
}
"""Options that every manifest has."""


class MakeShardsOptions(RawSettings, PartSettings):
    """The options of `make_shards`: how pages are read, how shards are cut, how the job runs."""

    headings: ClassVar[Mapping[str, str]] = {
        "tokenizer": "What is counted and held out",
        "pages_per_shard": "Shards",
        "workers": "The job, and what it does again",
    }

    tokenizer: Path | None = None
    """A model's folder or tokenizer.json; the token column that plans need is written, too."""
    paragraphs: bool = False
    """Count the tokens of each paragraph, too, which `overlength: split` needs. Almost twice the time."""
    allow_tokens: tuple[str, ...] = ()
    """An added token that text may form, such as '<otsl>' or '<loc_*>', as text.allow_tokens of a configuration; its
    counts are then those that such a run needs. May be repeated."""
    holdout: str | None = None
    """Hold pages out for evaluation: a share of the documents, such as 2%, or a number of pages, such as 500. Training
    leaves them out, and `split: held_out` reads them. A hash of the document decides, so that pages that are added move
    none; `wdstream split` does the same later."""
    holdout_by: str | None = None
    """What a document is, of which all pages are held out or none: a raw `file` when left out (of rows, each row), its
    `name` without a number at the end, its `folder`, each `page`, or a metadata field that pages have."""
    holdout_seed: int = Field(default=0, ge=0)
    """Another seed holds other documents out."""
    pages_per_shard: int | None = Field(default=None, ge=1, le=1_000_000)
    """Pages per shard, at most; 16 to 1,024 when left out, so that there are about 64 shards, of about 8 MB or more."""
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
    retry_quarantined: bool = False
    """Try quarantined pages again, as after text files were added, files mended, or a limit raised, and make again the
    shards that change. OUT is then what it would be from RAW as it is now."""
    retry_reason: str | None = Field(default=None, min_length=1)
    """Of quarantined pages, try again those whose reason has this text, such as 'time-limit'."""
    check_content: bool = False
    """Of shards that are complete, read all input again, and make again those whose input changed; without it, only
    files whose size or time changed are read again."""

    @model_validator(mode="after")
    def _paragraphs_need_a_tokenizer(self) -> Self:
        if self.paragraphs and self.tokenizer is None:
            raise ValueError("paragraphs: their tokens are counted with a tokenizer; give --tokenizer, too")
        if self.allow_tokens and self.tokenizer is None:
            raise ValueError("allow_tokens: they are counted with a tokenizer; give --tokenizer, too")
        if self.holdout is None and (self.holdout_by is not None or self.holdout_seed):
            raise ValueError("holdout_by and holdout_seed say which pages are held out; give --holdout, too")
        return self

    @model_validator(mode="after")
    def _parts_change_nothing(self) -> Self:
        if (self.part is not None or self.merges) and (self.overwrite or self.retries):
            raise ValueError(
                "part and merge: --overwrite and --retry-quarantined take away what other parts made; merge first, and "
                "give them then, without --part: only what changes is made again"
            )
        return self

    @property
    def hold_out(self) -> HoldOut | None:
        """What is to be held out; None where nothing was asked for.

        Raises:
            ConfigError: it is neither a share nor a number of pages.
        """
        if self.holdout is None:
            return None
        return HoldOut(asked=self.holdout, by=self.holdout_by or "file", seed=self.holdout_seed)

    @property
    def num_workers(self) -> int:
        """How many processes to start."""
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def retries(self) -> bool:
        """Whether any quarantined page is tried again."""
        return self.retry_quarantined or self.retry_reason is not None

    def is_retried(self, reason: str | None) -> bool:
        """Whether a page that was quarantined for this reason is tried again; None is a page that was not."""
        return self.retries and reason is not None and (self.retry_reason or "").lower() in reason.lower()

    def lets_more_through(self, name: str, before: Mapping[str, object]) -> bool:
        """Whether an option is a limit that was stricter before, so that only quarantined pages can differ by it.

        Pages that --ocr reads were all quarantined before it was asked for.
        """
        if name in _OF_OCR and "ocr" not in before:
            return not self.keep_empty
        if name == "min_ocr_confidence":
            return self.min_ocr_confidence is not None and self.min_ocr_confidence <= _known(name, before)
        if name not in _LIMITS or (self.fit and name == "max_pixels"):
            return False
        return bool(getattr(self, name) >= _known(name, before))

    def content(self) -> dict[str, object]:
        """The options that decide the bytes of the shards, not only how they are made.

        Those that came later are there only where they are set, so that an option more changes no output's manifest.
        """
        chosen = self.model_dump(mode="json", exclude=_HOW_ONLY)
        set_later = self.model_dump(mode="json", exclude=_HOW_ONLY | _FIRST, exclude_defaults=True)
        return {name: value for name, value in chosen.items() if name in _FIRST or name in set_later}


def _known(name: str, before: Mapping[str, object]) -> float:
    """The value of a limit before: the default where it was not set; not a number where it was nonsense."""
    known = before.get(name, MakeShardsOptions.model_fields[name].default)
    return known if isinstance(known, int | float) else float("nan")
