"""Settings of a configuration that another one leaves without effect: refused, so that nobody trusts in them.

Of configurations as people write them alone: `run.json` of an earlier wdstream may have some, and is read as it is.
What only the model can tell is looked for when a run starts (train/optimizer/effects.py).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from wdstream.config.adapter import AdapterConfig
from wdstream.config.learning import IMAGE_PARTS, ModelPart

if TYPE_CHECKING:
    from wdstream.config.schema import Config

_PARTS: tuple[ModelPart, ...] = ("language", "embeddings", *IMAGE_PARTS)


def idle_settings(config: "Config", *, is_new: bool = True) -> Iterator[str]:
    """A sentence on each setting without effect; of a run that has begun, on those that no wdstream ever took."""
    yield from _of_best(config)
    if not is_new:
        return
    yield from _of_evaluation(config)
    yield from _of_data(config)
    if config.train.adapter is not None:
        yield from _of_adapter(config, config.train.adapter)


def _of_evaluation(config: "Config") -> Iterator[str]:
    train = config.train
    if config.data.eval:
        return
    why = "has no effect: data.eval names no set; add one, or leave it out"
    for key in ("eval_every", "generate"):
        if getattr(train, key) is not None:
            yield f"train.{key}: {why}"
    if train.ema is not None and train.ema.eval_with == "ema":
        yield f"train.ema.eval_with: {why}"


def _of_best(config: "Config") -> Iterator[str]:
    """A best checkpoint that no evaluation could find."""
    train, names = config.train, sorted(config.data.eval_names)
    best = train.keep_best
    if best is None:
        return
    if best.set not in names:
        yield f"train.keep_best.set: data.eval has no set {best.set!r}; known: {', '.join(names) or 'none'}"
    if train.eval_every is None:
        yield (
            "train.keep_best: the only evaluation is that after the last step, whose checkpoint is the newest one "
            "anyway; set train.eval_every"
        )
    if best.figure != "loss" and train.generate is None:
        yield (
            f"train.keep_best.figure: {best.figure} is of pages that the model writes, and it writes none; set "
            "train.generate, or figure: loss"
        )


def _of_data(config: "Config") -> Iterator[str]:
    weights = {*config.data.loss_weights}
    if len(weights) == 1 and weights != {1.0}:
        yield (
            f"data.train: loss_weight: {weights.pop()} of every dataset has no effect: the loss is divided by the "
            "weights of a step, too; leave it out, or scale train.lr"
        )
    if config.data.streaming is not None and config.data.planning != "auto":
        yield "data.planning: has no effect with data.streaming, which has no plan; leave it out"
    if config.data.streaming is not None and any(entry.name for entry in config.data.train):
        yield "data.train: name: has no effect with data.streaming, whose tars are one dataset; leave it out"


def _of_adapter(config: "Config", adapter: AdapterConfig) -> Iterator[str]:
    """Parts of the frozen base, of which an adapter trains nothing."""
    trained = adapter_parts(adapter)
    if trained is None:
        return
    train = config.train
    for number, stage in enumerate(train.stages):
        for part in stage.train:
            if part not in trained:
                yield f"train.stages.{number}.train: {part}: {_frozen_base(trained)}"
    for part in train.parts:
        if part not in trained:
            yield f"train.parts.{part}: {_frozen_base(trained)}"


def adapter_parts(adapter: AdapterConfig) -> set[ModelPart] | None:
    """The parts of which an adapter trains something; None where that depends on the names that a model has."""
    tables = {"embed_tokens", "lm_head"}
    if adapter.target_modules is not None or not {*adapter.modules_to_save} <= {*tables, "projector"}:
        return None
    found: set[ModelPart] = {*adapter.parts} or {"language"}
    if adapter.train_tokens or tables & {*adapter.modules_to_save}:
        found.add("embeddings")
    if "projector" in adapter.modules_to_save:
        found.add("projector")
    return found


def _frozen_base(trained: set[ModelPart]) -> str:
    named = ", ".join(part for part in _PARTS if part in trained)
    return (
        f"has no effect: train.adapter trains its own matrices alone, here of {named}; leave it out, or name the part "
        "in train.adapter.parts or modules_to_save"
    )
