"""Settings of `train:` that trade memory for time."""

from collections.abc import Iterator
from typing import Literal, Protocol, Self

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


class Adapter(Protocol):
    """`train.adapter`, as far as it matters here."""

    @property
    def kind(self) -> str:
        """lora or qlora, as `train.adapter.kind` says."""


class Compiled(Protocol):
    """The settings of `train:` that decide whether layers can be compiled."""

    @property
    def compile(self) -> bool:
        """`train.compile`: whether layers are compiled."""

    @property
    def compile_backend(self) -> str:
        """`train.compile_backend`: what compiles them."""

    @property
    def adapter(self) -> Adapter | None:
        """`train.adapter`, if there is one."""


CompileBackend = Literal["inductor", "aot_eager"]
PROVEN_COMPILED = ("sdpa", "eager")
"""Attention implementations whose compiled layers were shown to compute the same."""


def compile_problems(settings: Compiled, *, pad_to: str, attn: str, kernels: str) -> Iterator[str]:
    """A sentence on each setting that `train.compile` cannot be combined with, or that is ignored without it."""
    if not settings.compile:
        if settings.compile_backend != "inductor":
            yield "train.compile_backend means nothing without train.compile: true; leave it out"
        return
    if pad_to != "full":
        yield "train.compile needs rows of one length: set data.pad_to: full; layers are compiled again for every other"
    if attn not in PROVEN_COMPILED:
        yield f"train.compile: with model.attn: {attn} it is not shown that layers compute the same; use sdpa"
    if kernels != "none":
        yield f"train.compile: with model.kernels: {kernels} layers are not shown to compute the same; leave one out"
    if settings.adapter is not None and settings.adapter.kind == "qlora":
        yield "train.compile: 4-bit layers (train.adapter.kind: qlora) are not shown to compute the same; use lora"
