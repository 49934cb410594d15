"""Which setting decided the rate and the weight decay of what learns; one that decided nothing is refused."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wdstream.config.learning import LearningSettings, ModelPart, MuonConfig, PartConfig
from wdstream.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Of a parameter that learns.

    Attributes:
        lr: its own rate; None: that of the run, or of the stage.
        lr_by: the key of `train:` that says so, such as `parts.vision.lr`.
        weight_decay: of each step, times the rate.
        decay_by: likewise; empty where it has none because of what it is.
        is_orthogonal: Muon moves it, and not AdamW.
    """

    lr: float | None
    lr_by: str
    weight_decay: float
    decay_by: str
    is_orthogonal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSetting:
    """A rate or a weight decay that is not the run's.

    Attributes:
        place: key of `train:`, such as `patterns.*.layers.0.*.lr`.
        value: of it.
        parts: in which the parameters are that have it.
    """

    place: str
    value: float
    parts: frozenset[ModelPart]

    @property
    def key(self) -> str:
        """What it sets: `lr` or `weight_decay`."""
        return self.place.rpartition(".")[2]

    @property
    def name(self) -> str:
        """Of the part or the pattern, or `muon`."""
        return self.place.rpartition(".")[0].removeprefix("parts.").removeprefix("patterns.")


def part_entries(config: LearningSettings) -> Iterator[tuple[str, PartConfig]]:
    """Every entry of `parts` and `patterns`, with its place in the configuration."""
    yield from ((f"parts.{part}", entry) for part, entry in config.parts.items())
    yield from ((f"patterns.{pattern}", entry) for pattern, entry in config.patterns.items())


def require_effects(learning: Sequence[tuple[ModelPart, Decided]], config: LearningSettings) -> None:
    """Refuse rates, weight decays and settings of an optimizer that nothing of a model follows.

    Args:
        learning: of each parameter that learns, its part and what was decided.
        config: of the run.

    Raises:
        ConfigError: names the first, and why.
    """
    for place, why in unfollowed_settings(learning, config) if learning else ():
        raise ConfigError(f"train.{place}: has no effect: {why}; leave it out")


def unfollowed_settings(
    learning: Sequence[tuple[ModelPart, Decided]], config: LearningSettings
) -> Iterator[tuple[str, str]]:
    """The keys of `train:` that nothing follows, each with the reason."""
    deciding = {by for _, decided in learning for by in (decided.lr_by, decided.decay_by)}
    if config.lr != type(config).model_fields["lr"].default and not _is_rate_used(learning, config):
        yield "lr", "all that learns has a rate of its own (parts, patterns, muon, stages)"
    if config.weight_decay and "weight_decay" not in deciding:
        yield (
            "weight_decay",
            "nothing that learns takes it: parts, patterns or muon have their own, and biases, norms, embeddings and "
            "tables have none",
        )
    later = "later entries of parts and patterns say otherwise of all that belongs to it, or nothing of it takes it"
    for where, entry in part_entries(config):
        for key in ("lr", "weight_decay"):
            if getattr(entry, key) is not None and f"{where}.{key}" not in deciding:
                yield f"{where}.{key}", later
    for number, stage in enumerate(config.stages):
        rates = {decided.lr_by for part, decided in learning if part in stage.train}
        if stage.lr is not None and "lr" not in rates:
            yield f"stages.{number}.lr", "all that learns in this stage has a rate of its own"
    yield from _idle_of_muon(learning, config, deciding)


def _is_rate_used(learning: Sequence[tuple[ModelPart, Decided]], config: LearningSettings) -> bool:
    parts = {part for part, decided in learning if decided.lr_by == "lr"}
    plain = [stage for stage in config.stages if stage.lr is None]
    return any(parts & {*stage.train} for stage in plain) if config.stages else bool(parts)


def _idle_of_muon(
    learning: Sequence[tuple[ModelPart, Decided]], config: LearningSettings, deciding: set[str]
) -> Iterator[tuple[str, str]]:
    if config.optimizer != "muon":
        return
    kinds = {decided.is_orthogonal for _, decided in learning}
    if True not in kinds:
        yield "optimizer", "muon moves matrices of language model, vision tower and projector, and none of them learns"
    for key in ("betas", "eps") if False not in kinds else ():
        if getattr(config, key) != type(config).model_fields[key].default:
            yield key, "it is of AdamW, and all that learns is moved by muon"
    muon = config.muon or MuonConfig()
    for key in ("lr", "weight_decay"):
        if getattr(muon, key) is not None and f"muon.{key}" not in deciding:
            yield f"muon.{key}", "parts or patterns have their own for all that muon moves"
