"""Learning rates as pure functions of the step: there is no scheduler state to lose.

A run without `train.stages` is one stage. Each stage has a schedule of its own, from its first step to its last.
"""

import math
from dataclasses import dataclass

from wdstream.config.learning import LearningSettings, ModelPart
from wdstream.errors import ConfigError

DECAY_RATIO = 0.1
"""Share of a stage in which warmup_stable_decay falls, where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningStage:
    """What holds for the steps from `begin` on.

    Attributes:
        number: of the stage, from 0.
        begin: its first step.
        steps: how many it has; None: up to the end of the run.
        lr: of what has no rate of its own.
        warmup_steps: at its beginning; None: as `train.warmup_ratio` says.
        parts: that learn; None: all that are not frozen.
    """

    number: int
    begin: int
    steps: int | None
    lr: float
    warmup_steps: int | None
    parts: tuple[ModelPart, ...] | None


def stage_at(step: int, settings: LearningSettings) -> LearningStage:
    """The stage that a step is in; steps count from 0."""
    if not settings.stages:
        warmup = settings.warmup_steps if settings.warmup_ratio is None else None
        return LearningStage(number=0, begin=0, steps=None, lr=settings.lr, warmup_steps=warmup, parts=None)
    begin, number = 0, 0
    while (length := settings.stages[number].steps) is not None and step >= begin + length:
        begin, number = begin + length, number + 1
    stage = settings.stages[number]
    return LearningStage(
        number=number,
        begin=begin,
        steps=stage.steps,
        lr=settings.lr if stage.lr is None else stage.lr,
        warmup_steps=stage.warmup_steps,
        parts=stage.train,
    )


def parts_before(step: int, settings: LearningSettings) -> set[ModelPart] | None:
    """The parts that were trained in some step before this one; None without stages: all."""
    if not settings.stages:
        return None
    stages = settings.stages[: stage_at(step - 1, settings).number + 1] if step else ()
    return {part for stage in stages for part in stage.train}


def check_stages(settings: LearningSettings, total_steps: int | None) -> None:
    """Refuse stages of which the last would have no step, or of which nobody knows whether it has.

    Args:
        settings: of the run.
        total_steps: of the run; None while they are being counted.

    Raises:
        ConfigError: says how many steps there are.
    """
    begin = sum(stage.steps or 0 for stage in settings.stages)
    if not begin:
        return
    if total_steps is None:
        raise ConfigError(
            "train.stages: the steps of the run are still being counted, so nobody knows whether the last stage has "
            "one: set train.max_steps, or run `wdstream plan` first, which keeps the number next to the index"
        )
    if begin >= total_steps:
        raise ConfigError(
            f"train.stages: the last one would begin with step {begin}, and the run has {total_steps} steps: give the "
            "others fewer steps, or raise train.max_steps"
        )


def learning_rate(step: int, settings: LearningSettings, *, total_steps: int, peak: float | None = None) -> float:
    """Linear warm-up to the peak, then what `schedule` says, down to `peak * min_lr_ratio` at the last step.

    The first warm-up step has peak / (warm-up steps + 1), so no step is lost at rate 0.

    Args:
        step: from 0.
        settings: of the run.
        total_steps: of the run; any number where `needs_total` is false.
        peak: in place of the lr of the run or the stage.
    """
    stage = stage_at(step, settings)
    peak = stage.lr if peak is None else peak
    step -= stage.begin
    steps = total_steps - stage.begin if stage.steps is None else stage.steps
    warmup = _share(settings.warmup_ratio or 0.0, steps) if stage.warmup_steps is None else stage.warmup_steps
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * (settings.min_lr_ratio + (1.0 - settings.min_lr_ratio) * _height(step, settings, steps, warmup))


def _height(step: int, settings: LearningSettings, steps: int, warmup: int) -> float:
    """From 1 after the warm-up to 0 at the last of `steps`; a constant schedule stays at 1."""
    if settings.schedule == "constant":
        return 1.0
    if settings.schedule == "warmup_stable_decay":
        wanted = settings.decay_steps
        wanted = _share(settings.decay_ratio or DECAY_RATIO, steps) if wanted is None else wanted
        warmup = max(warmup, steps - 1 - wanted)  # from which it falls
    progress = min(1.0, max(0.0, (step - warmup) / max(1, steps - 1 - warmup)))
    return 1.0 - progress if settings.schedule != "cosine" else 0.5 * (1.0 + math.cos(math.pi * progress))


def _share(ratio: float, steps: int) -> int:
    """A share of the steps, rounded up; what is a whole number but for the rounding of floats is that number."""
    return math.ceil(round(ratio * steps, 9))


def needs_total(step: int, settings: LearningSettings) -> bool:
    """Whether the rate of a step depends on how many steps the run has: not before the last stage, not in a warm-up by
    steps, nor without a decay."""
    stage = stage_at(step, settings)
    if stage.steps is not None:
        return False
    if stage.warmup_steps is None:
        return True
    if step - stage.begin < stage.warmup_steps:
        return False
    return settings.schedule != "constant" and settings.min_lr_ratio < 1


def rate_change(
    step: int, before: LearningSettings, after: LearningSettings, *, steps_before: int, steps_after: int
) -> str | None:
    """A sentence where other settings would have given the last step before `step` another rate; else None.

    Args:
        step: that the run continues with.
        before, after: the settings of the last start, and of this one.
        steps_before, steps_after: of the whole run, by them.
    """
    if step == 0:
        return None
    was = learning_rate(step - 1, before, total_steps=steps_before)
    would_be = learning_rate(step - 1, after, total_steps=steps_after)
    if math.isclose(was, would_be, rel_tol=1e-9):
        return None
    now = learning_rate(step, after, total_steps=steps_after)
    length = "" if steps_before == steps_after else f", since the run has {steps_after} steps and not {steps_before}"
    return (
        f"the learning rate jumps: step {step - 1} had {was:.2e}, and step {step} has {now:.2e}; by the settings of "
        f"now, step {step - 1} would have had {would_be:.2e}{length}"
    )
