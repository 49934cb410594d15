"""Settings of `train:` that trade memory for time."""

from typing import Self

from pydantic import Field, model_validator

from wdstream.settings import Settings


class CheckpointedLayers(Settings):
    """`train.gradient_checkpointing: {layers: 8}`: the first layers of each part, the others keep what they computed.

    What is not named here is not computed again: `{layers: 8}` leaves the vision tower alone.
    """

    layers: int = Field(default=0, ge=0)
    """Of the language model, this many from the input on."""
    vision_layers: int = Field(default=0, ge=0)
    """Of the vision tower, this many from the input on."""

    @model_validator(mode="after")
    def _has_some(self) -> Self:
        if not self.layers and not self.vision_layers:
            raise ValueError("give layers or vision_layers, at least 1; for none, set gradient_checkpointing: false")
        return self
