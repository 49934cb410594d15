"""The section `train.ema:` of a configuration."""

from typing import Literal

from pydantic import Field

from wdstream.settings import Settings


class EmaConfig(Settings):
    """`train.ema:` an exponential moving average of what is trained, in float32, next to the weights."""

    decay: float = Field(default=0.999, gt=0, lt=1)
    """The average becomes decay * average + (1 - decay) * weights."""
    every: int = Field(default=1, gt=0)
    """Steps between updates of the average."""
    from_step: int = Field(default=0, ge=0)
    """The average begins as the weights before this step."""
    eval_with: Literal["weights", "ema"] = "weights"
    """What evaluation computes with, once the average has begun."""
    final_with: Literal["weights", "ema"] = "weights"
    """What `final/` holds."""
