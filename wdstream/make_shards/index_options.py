"""The options of `wdstream index`."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from wdstream.storage.engines.settings import ShareSettings

_OF_THE_WHOLE = ("tokenizer", "paragraphs", "rebuild", "accept-changed")


class IndexOptions(ShareSettings):
    """How tars that are there are described, and where their index goes."""

    out: str | None = None
    """Folder or URL for the index, of tars that are only read; they stay there."""
    tokenizer: Path | None = None
    """Directory with tokenizer.json; writes the token column that plans need."""
    paragraphs: bool = False
    """Count the tokens of each paragraph, too, which `overlength: split` needs. Almost twice the time."""
    allow_tokens: tuple[str, ...] = ()
    """An added token that text may form, as text.allow_tokens of a configuration. May be repeated."""
    workers: int | None = Field(default=None, ge=1)
    """Processes; all cores when left out."""
    rebuild: bool = False
    """Read every tar again, also those that are indexed already."""
    skip_bad: bool = False
    """Leave out bad tars, and samples with bad or repeated keys; list them."""
    prefix_keys: bool = False
    """Put the tar's name before each key, where tars have equal keys."""
    map: tuple[str, ...] = ()
    """Which part or field is what: text=json:caption,image=jp2. May be repeated."""
    preset: str | None = None
    """The layout of samples by name, such as img2dataset."""
    accept_changed: bool = False
    """Take shards that are not as they were indexed or made, which is damage unless somebody meant it."""

    @model_validator(mode="after")
    def _parts_describe_alone(self) -> Self:
        given = [f"--{name}" for name in _OF_THE_WHOLE if getattr(self, name.replace("-", "_"))]
        if self.part is not None and given:
            raise ValueError(f"--part and {', '.join(given)}: that is for the whole: give it without --part")
        return self
