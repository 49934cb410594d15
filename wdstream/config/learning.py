"""What of the model learns, how fast, and by which optimizer: the settings of `train:` that say so."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from wdstream.settings import Settings

ModelPart = Literal["language", "vision", "projector", "embeddings"]
"""Every parameter of a model is in one of them (train/model/parts.py): the language model's layers and norms; the
vision tower with its position tables; what joins the two; the tables of tokens, in and out."""

IMAGE_PARTS: tuple[ModelPart, ...] = ("vision", "projector")
"""What `freeze_vision` freezes."""

Rate = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0)]
Average = Annotated[float, Field(ge=0, lt=1)]
"""How much of an average stays in a step."""


class PartConfig(Settings):
    """An entry of `train.parts:` or `train.patterns:`; what it leaves out stays as it was."""

    frozen: bool | None = None
    """true: these parameters do not learn, and no gradient is computed for them. false takes back what froze them
    before, of `parts` and `patterns`."""
    lr: Rate | None = None
    """Their learning rate in place of `train.lr`; it follows the same schedule."""
    weight_decay: Decay | None = None
    """In place of `train.weight_decay`. Of a part: on its matrices, and of `embeddings` on its tables. Of a pattern: on
    all that matches, vectors too."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.frozen is None and self.lr is None and self.weight_decay is None:
            raise ValueError("says nothing: give frozen, lr or weight_decay")
        if self.frozen and (self.lr is not None or self.weight_decay is not None):
            raise ValueError("what is frozen has no lr and no weight_decay: leave them out, or leave out frozen")
        return self


class StageConfig(Settings):
    """An entry of `train.stages:`, with a schedule of its own from its first step to its last."""

    train: tuple[ModelPart, ...] = Field(min_length=1)
    """The parts that learn in it; what `parts` or `patterns` freeze stays frozen."""
    steps: int | None = Field(default=None, gt=0)
    """How many steps it has; the last stage has none, it lasts to the end of the run."""
    lr: Rate | None = None
    """In place of `train.lr`, for what has no rate of its own."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps at its beginning in which the learning rate rises linearly."""

    @model_validator(mode="after")
    def _is_longer_than_its_warmup(self) -> Self:
        if self.steps is not None and self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps: expected fewer than the {self.steps} steps, found {self.warmup_steps}")
        if len({*self.train}) < len(self.train):
            raise ValueError(f"train: {', '.join(self.train)}: names a part twice")
        return self


class MuonConfig(Settings):
    """`train.muon:` of the matrices that `optimizer: muon` moves; AdamW moves all else by the settings above."""

    lr: Rate | None = None
    """In place of `train.lr`, for matrices without a rate of their own. Updates are scaled to the size of AdamW's, so
    that the same rate fits both."""
    weight_decay: Decay | None = None
    """In place of `train.weight_decay`."""
    momentum: Average = 0.95
    """Of the average of gradients (Nesterov's)."""


Optimizers = Literal["adamw", "adamw_fused", "adamw_8bit", "paged_adamw_8bit", "adafactor", "muon", "schedule_free"]


class LearningSettings(Settings):
    """The settings of `train:` that say what learns, and how fast."""

    lr: Rate = 1e-4
    """Learning rate after the warm-up; what follows is up to `schedule`."""
    schedule: Literal["cosine", "linear", "constant", "warmup_stable_decay"] = "cosine"
    """After the warm-up: down to lr * min_lr_ratio at the last step by a cosine or a line; lr to the end; or lr, and
    then a line down over the last steps (`decay_steps`, `decay_ratio`)."""
    min_lr_ratio: float = Field(default=0.1, ge=0, le=1)
    """Of the last step."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps in which the learning rate rises linearly to lr."""
    warmup_ratio: float | None = Field(default=None, gt=0, lt=1)
    """In place of warmup_steps, as a share of all steps of the run, rounded up."""
    decay_steps: int | None = Field(default=None, gt=0)
    """Of warmup_stable_decay: how many steps the rate falls at the end."""
    decay_ratio: float | None = Field(default=None, gt=0, le=1)
    """In place of decay_steps, as a share of all steps of the run, rounded up; with neither it is 0.1."""
    weight_decay: Decay = 0.0
    """Of matrices; biases, norms, embeddings, position tables and class tokens have none (`parts`, `patterns`)."""
    betas: tuple[Average, Average] = (0.9, 0.95)
    """Of Adam's two averages."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator of Adam's update."""
    max_grad_norm: float | None = Field(default=1.0, gt=0)
    """Gradients are clipped to this norm, over all ranks; null clips nothing, and the norm is still logged."""
    z_loss: float = Field(default=0.0, ge=0)
    """Adds this times the squared log of the softmax's denominator, over the same tokens as the loss, such as 1e-4: it
    keeps logits from drifting. Logged apart from the loss."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """This share of each target is spread over all words. The logged loss of training is then with it, that of
    evaluation without."""
    optimizer: Optimizers = "adamw"
    """adamw and adamw_fused are PyTorch's, the second with one kernel for a whole group. The 8-bit ones are
    bitsandbytes'; paged: the state moves to host memory when the GPU is full. adafactor keeps the state of a matrix as
    its rows and columns, and its rate is relative to the size of a weight. muon moves the matrices of language model,
    vision tower and projector, AdamW all else. schedule_free averages weights in place of a schedule."""
    muon: MuonConfig | None = None
    """Settings of `optimizer: muon` alone; None: the defaults."""
    freeze_vision: bool = False
    """Train the language model alone: short for `parts: {vision: {frozen: true}, projector: {frozen: true}}`. Refused
    with an adapter that reaches further."""
    parts: Mapping[ModelPart, PartConfig] = Field(default_factory=dict)
    """By part of the model: frozen or not, rate, weight decay."""
    patterns: Mapping[str, PartConfig] = Field(default_factory=dict)
    """The same by name of a parameter, with * and ? as in a shell: `*.layers.0.*`. Later ones win, over `parts` too."""
    stages: tuple[StageConfig, ...] = ()
    """What learns from when to when, such as `[{steps: 500, train: [projector]}, {train: [language, projector]}]`."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = [*self._of_schedule(), *self._of_optimizer(), *self._of_freezing(), *self._of_stages()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _of_schedule(self) -> Iterator[str]:
        is_stable = self.schedule == "warmup_stable_decay"
        if self.warmup_steps and self.warmup_ratio is not None:
            yield "warmup_steps and warmup_ratio both say how long the warm-up is: leave one out"
        if self.decay_steps is not None and self.decay_ratio is not None:
            yield "decay_steps and decay_ratio both say how long the rate falls: leave one out"
        for name in ("decay_steps", "decay_ratio"):
            if getattr(self, name) is not None and not is_stable:
                yield f"{name} is of schedule: warmup_stable_decay, and schedule is {self.schedule}: leave it out"
        if self.schedule == "constant" and self.min_lr_ratio != type(self).model_fields["min_lr_ratio"].default:
            yield "min_lr_ratio has no effect on schedule: constant: leave it out"

    def _of_optimizer(self) -> Iterator[str]:
        if self.muon is not None and self.optimizer != "muon":
            yield f"muon is of optimizer: muon, and optimizer is {self.optimizer}: leave it out"
        for name in ("betas", "eps") if self.optimizer == "adafactor" else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                yield f"{name} has no effect on optimizer: adafactor: leave it out"
        if self.optimizer == "schedule_free" and self.schedule != "constant":
            yield f"optimizer: schedule_free is in place of a schedule, and schedule is {self.schedule}: set constant"
        if self.optimizer == "schedule_free" and self.stages:
            yield "optimizer: schedule_free averages over all steps, so it has no stages: leave them out"

    def _of_freezing(self) -> Iterator[str]:
        for part in IMAGE_PARTS if self.freeze_vision else ():
            entry = self.parts.get(part)
            if entry is not None and not entry.frozen:
                yield f"freeze_vision: true freezes {part}, and parts.{part} says otherwise: leave one out"
            if any(part in stage.train for stage in self.stages):
                yield f"freeze_vision: true freezes {part}, and a stage trains it: leave one out"

    def _of_stages(self) -> Iterator[str]:
        if not self.stages:
            return
        *before, last = self.stages
        if any(stage.steps is None for stage in before):
            yield "stages: each but the last one needs steps"
        if last.steps is not None:
            yield "stages: the last one lasts to the end of the run: leave out its steps"
        if self.warmup_steps or self.warmup_ratio is not None:
            yield "stages: each has a warm-up of its own: give warmup_steps to the stages, and leave it out above them"
        trained = {part for stage in self.stages for part in stage.train}
        for part, entry in self.parts.items():
            if entry.frozen and part in trained:
                yield f"stages: one trains {part}, and parts.{part} freezes it: leave one out"
            if not entry.frozen and part not in trained:
                yield f"stages: none trains {part}, so parts.{part} has no effect: leave it out"
