"""Settings of `train:` about checkpoints: when one is written, which are kept, where a run continues."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from wdstream.settings import Settings


class KeepBestConfig(Settings):
    """`train.keep_best:` the checkpoint that is best by an evaluation is never removed."""

    set: str
    """Name of the evaluation set in data.eval."""
    figure: Literal["loss", "cer", "wer"] = "loss"
    """Of this set; lower is better. cer and wer need train.generate."""


class SavingConfig(Settings):
    """The part of `train:` that says when checkpoints are written, and which stay."""

    checkpoint_every: int | None = Field(default=500, gt=0)
    """Steps between checkpoints; the last step is always followed by one. None: only by checkpoint_minutes."""
    checkpoint_minutes: float | None = Field(default=None, gt=0)
    """Minutes from one checkpoint to the next at most, by the clock of the main process, looked at after each step."""
    keep_checkpoints: int = Field(default=3, gt=0)
    """The newest ones that stay; those of keep_every and keep_best are not counted."""
    keep_every: int | None = Field(default=None, gt=0)
    """A checkpoint is written at every multiple of this step, and never removed."""
    keep_best: KeepBestConfig | None = None
    """Keeps the best checkpoint so far, named in best.json; one is written where an evaluation is better than all
    before it."""
    async_checkpoints: bool = False
    """A step waits only until weights and optimizer's state are copied to host memory, where they need their size once
    more; a thread writes the files. Under FSDP1, DeepSpeed, and FSDP2 with whole weights (FULL_STATE_DICT), checkpoints
    are written between steps, as without."""
    resume: Literal["auto", "never"] | Path = "auto"
    """auto: continue from the newest complete checkpoint in `output`. never: refuse an output that has one. A path:
    begin with this checkpoint, of this or another run."""
    collective_minutes: float = Field(default=30, gt=0, le=10_000)
    """The longest that a process waits for the others before it takes them for lost. Saving is not limited by it."""

    @model_validator(mode="after")
    def _saves_at_all(self) -> Self:
        if self.checkpoint_every is None and self.checkpoint_minutes is None:
            raise ValueError(
                "checkpoint_every and checkpoint_minutes are both null, so a killed run would begin again; set one"
            )
        return self
