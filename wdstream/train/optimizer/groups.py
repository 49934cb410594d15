"""Which parameters learn, and their groups: what has one rate, one weight decay and the same stages."""

import fnmatch
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from torch import nn

from wdstream.config.learning import IMAGE_PARTS, LearningSettings, ModelPart, MuonConfig, PartConfig
from wdstream.config.training import TrainConfig
from wdstream.errors import ConfigError, TrainError
from wdstream.train.optimizer.effects import Decided, OwnSetting, part_entries, require_effects
from wdstream.train.optimizer.parts import ModelParameter, model_parameters
from wdstream.train.optimizer.rates import learning_rate, stage_at

Rates = Sequence[float | None]
"""Of each group in one step; None: it does not learn in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningGroup:
    """Parameters that are treated alike.

    Attributes:
        parameters: in the model's order.
        part: that they are in; None where it makes no difference.
        lr: their own rate; None: that of the run, or of the stage.
        weight_decay: of each step, times the rate.
        is_orthogonal: Muon moves them, and not AdamW.
        names: of the parameters.
    """

    parameters: tuple[nn.Parameter, ...]
    part: ModelPart | None
    lr: float | None
    weight_decay: float
    is_orthogonal: bool = False
    names: tuple[str, ...] = ()


def freeze_parts(model: nn.Module, config: TrainConfig) -> None:
    """Freeze what `parts`, `patterns` and `stages` say does not learn.

    Args:
        model: as `load_model` gives it, not yet wrapped by Accelerate.
        config: of the run.

    Raises:
        ConfigError: an entry has nothing to act on, or contradicts another setting.
    """
    parameters = model_parameters(model)
    require_matches(parameters, config)
    staged = {part for stage in config.stages for part in stage.train}
    for parameter in parameters:
        where, said = _freezing(parameter, config)
        is_frozen = said or (said is None and not parameter.value.requires_grad)
        if not is_frozen and not parameter.value.requires_grad:
            raise ConfigError(f"train.{where}: frozen: false: {_why_frozen(parameter, config)}")
        if is_frozen or (staged and parameter.part not in staged):
            parameter.value.requires_grad_(False)
    _require_effect(parameters, config)


def _freezing(parameter: ModelParameter, config: LearningSettings) -> tuple[str, bool | None]:
    """The last entry that says of a parameter whether it is frozen, and what it says; None: nothing does."""
    found = [(where, entry.frozen) for where, entry in _entries(parameter, config) if entry.frozen is not None]
    return found[-1] if found else ("", None)


def _require_effect(parameters: Sequence[ModelParameter], config: TrainConfig) -> None:
    """After all is frozen: refuse entries of what does not learn, and stages that train none of it."""
    entries = list(part_entries(config))
    missing = _without_parameters(parameters, config, [where for where, entry in entries if not entry.frozen])
    if missing:
        raise ConfigError(
            f"train.{missing[0]}: has no effect, since train.parts, train.patterns and train.stages together freeze "
            "all that belongs to it: leave it out, or let some of it learn"
        )


def refuse_idle_entries(model: nn.Module, config: LearningSettings) -> None:
    """Refuse freezing that later entries take back, and rates and weight decays that nothing follows; of a new run, for
    one that an earlier wdstream began may have some.

    Args:
        model: after `freeze_parts`, not yet wrapped by Accelerate.
        config: of the run.

    Raises:
        ConfigError: names the first, and why.
    """
    parameters = model_parameters(model)
    deciding = {_freezing(parameter, config)[0] for parameter in parameters}
    if idle := [where for where, entry in part_entries(config) if entry.frozen and where not in deciding]:
        raise ConfigError(
            f"train.{idle[0]}: frozen: true has no effect, since later entries say otherwise of all that belongs to "
            "it: leave it out, or put it after them"
        )
    learning = [parameter for parameter in parameters if parameter.value.requires_grad]
    require_effects([(each.part, decide(each, config)) for each in learning], config)


def require_matches(parameters: Sequence[ModelParameter], config: TrainConfig) -> None:
    """Refuse an entry of `parts`, `patterns` or `stages` that no learning parameter of the model belongs to.

    Raises:
        ConfigError: names the first.
    """
    missing = _without_parameters(parameters, config, [where for where, _ in part_entries(config)])
    if missing:
        learning = [parameter for parameter in parameters if parameter.value.requires_grad]
        parts = {parameter.part for parameter in learning}
        names = [name for parameter in learning for name in parameter.names]
        pattern = missing[0].removeprefix("patterns.")
        near = near_patterns(pattern, names) if missing[0].startswith("patterns.") else names[:1]
        raise ConfigError(
            f"train.{missing[0]}: no parameter that learns belongs to it; parts that learn: "
            f"{', '.join(sorted(parts)) or 'none'}, and names are such as {', '.join(near) or 'none'} (train.adapter "
            "and train.freeze_vision decide first)"
        )


def near_patterns(pattern: str, names: Sequence[str]) -> list[str]:
    """For a pattern that matches no name: the same with its pieces spelt as in names, else the names nearest to it."""
    pieces = sorted({piece for name in names for piece in name.split(".")})
    mended = ".".join(
        next(iter([] if fnmatch.filter(pieces, piece) else get_close_matches(piece, pieces, n=1)), piece)
        for piece in pattern.split(".")
    )
    return [mended] if fnmatch.filter(names, mended) else get_close_matches(pattern, names, n=3, cutoff=0.0)


def _without_parameters(parameters: Sequence[ModelParameter], config: TrainConfig, wanted: Sequence[str]) -> list[str]:
    """The wanted places of `parts` and `patterns`, and those of `stages`, that no learning parameter belongs to."""
    learning = [parameter for parameter in parameters if parameter.value.requires_grad]
    found = {where for parameter in learning for where, _ in _entries(parameter, config)}
    parts = {parameter.part for parameter in learning}
    idle = [f"stages: train: {part}" for stage in config.stages for part in stage.train if part not in parts]
    return [where for where in wanted if where not in found] + idle


def _entries(parameter: ModelParameter, config: LearningSettings) -> Iterator[tuple[str, PartConfig]]:
    """What `parts` and `patterns` say of a parameter, with the place in the configuration; later ones win."""
    if parameter.part in config.parts:
        yield f"parts.{parameter.part}", config.parts[parameter.part]
    for pattern, entry in config.patterns.items():
        if any(fnmatch.fnmatchcase(name, pattern) for name in parameter.names):
            yield f"patterns.{pattern}", entry


def _why_frozen(parameter: ModelParameter, config: TrainConfig) -> str:
    name = parameter.names[0]
    if config.freeze_vision and parameter.part in IMAGE_PARTS:
        return f"freeze_vision: true freezes {name}: leave one out"
    return f"{name} is of the frozen base of train.adapter, which trains its own matrices alone"


def learning_groups(model: nn.Module, config: TrainConfig, *, decays_tables: bool = False) -> tuple[LearningGroup, ...]:
    """Groups of all that learns, those of Muon first, then matrices, each in the model's order.

    Args:
        model: after `freeze_parts`, not yet wrapped by Accelerate.
        config: of the run.
        decays_tables: weight decay is on tables too, as it was in runs that began before they were left out.

    Raises:
        TrainError: nothing is trainable.
    """
    found: dict[tuple[bool, LearningGroup], list[ModelParameter]] = {}
    for parameter in model_parameters(model):
        if parameter.value.requires_grad:
            group = _group_of(parameter, config, decays_tables=decays_tables)
            found.setdefault((parameter.value.ndim < 2, group), []).append(parameter)
    if not found:
        raise TrainError(
            "no parameter is trainable: train.freeze_vision, train.parts and train.adapter leave nothing to train; "
            "check train.adapter.target_modules"
        )
    ordered = sorted(found, key=lambda key: (not key[1].is_orthogonal, key[0]))
    return tuple(
        replace(
            key[1],
            parameters=tuple(each.value for each in found[key]),
            names=tuple(each.names[0] for each in found[key]),
        )
        for key in ordered
    )


def groups_digest(groups: Sequence[LearningGroup]) -> int:
    """A number of the names in each group, in order: PyTorch's optimizers tell groups of one size not apart."""
    digest = hashlib.sha256(repr([group.names for group in groups]).encode()).digest()
    return int.from_bytes(digest[:6])


def _group_of(parameter: ModelParameter, config: TrainConfig, *, decays_tables: bool) -> LearningGroup:
    """The group of a parameter, still empty."""
    found = decide(parameter, config, decays_tables=decays_tables)
    return LearningGroup(
        parameters=(),
        part=parameter.part if config.stages else None,
        lr=found.lr,
        weight_decay=found.weight_decay,
        is_orthogonal=found.is_orthogonal,
    )


def decide(parameter: ModelParameter, config: LearningSettings, *, decays_tables: bool = False) -> Decided:
    """The rate and the weight decay of a parameter that learns, and which settings gave them."""
    is_matrix = parameter.value.ndim >= 2
    decays = is_matrix and (decays_tables or not parameter.is_table)
    is_orthogonal = config.optimizer == "muon" and parameter.value.ndim == 2 and not parameter.is_table
    muon = (config.muon or MuonConfig()) if is_orthogonal else MuonConfig()
    lr, lr_by = muon.lr, "lr" if muon.lr is None else "muon.lr"
    decay, decay_by = (
        (config.weight_decay, "weight_decay") if muon.weight_decay is None else (muon.weight_decay, "muon.weight_decay")
    )
    if not decays:
        decay, decay_by = 0.0, ""
    for where, entry in _entries(parameter, config):
        if entry.lr is not None:
            lr, lr_by = entry.lr, f"{where}.lr"
        if entry.weight_decay is not None and (
            decays or where.startswith("patterns.") or (where == "parts.embeddings" and is_matrix)
        ):
            decay, decay_by = entry.weight_decay, f"{where}.weight_decay"
    return Decided(lr=lr, lr_by=lr_by, weight_decay=decay, decay_by=decay_by, is_orthogonal=is_orthogonal)


def own_settings(model: nn.Module, config: LearningSettings, *, decays_tables: bool = False) -> tuple[OwnSetting, ...]:
    """What `parts`, `patterns` and `muon` decided of what learns, for the metrics; in the order of the parameters."""
    found: dict[str, tuple[float, set[ModelPart]]] = {}
    for parameter in model_parameters(model):
        if parameter.value.requires_grad:
            decided = decide(parameter, config, decays_tables=decays_tables)
            for by, value in ((decided.lr_by, decided.lr), (decided.decay_by, decided.weight_decay)):
                if "." in by and value is not None:
                    found.setdefault(by, (value, set()))[1].add(parameter.part)
    return tuple(OwnSetting(place=by, value=value, parts=frozenset(parts)) for by, (value, parts) in found.items())


def group_rates(
    groups: Sequence[LearningGroup], step: int, config: LearningSettings, *, total_steps: int
) -> tuple[float | None, ...]:
    """The rate of each group in a step."""
    parts = stage_at(step, config).parts
    return tuple(
        None
        if parts is not None and group.part not in parts
        else learning_rate(step, config, total_steps=total_steps, peak=group.lr)
        for group in groups
    )


def learning_figures(
    own: Sequence[OwnSetting], step: int, config: LearningSettings, *, total_steps: int
) -> dict[str, float]:
    """For the metrics: the stage of a step where there are stages; rates and weight decays that are not the run's."""
    stage = stage_at(step, config)
    found = {"stage": float(stage.number)} if config.stages else {}
    for one in own:
        if stage.parts is None or one.parts & {*stage.parts}:
            is_rate = one.key == "lr"
            rate = learning_rate(step, config, total_steps=total_steps, peak=one.value) if is_rate else one.value
            found[f"{one.key}/{one.name}"] = rate
    return found


def learns_from_images(model: nn.Module, config: LearningSettings) -> bool:
    """Whether `parts`, `patterns` and `stages` leave anything of vision tower and projector to learn; true without
    them: what learns was decided before."""
    if not (config.parts or config.patterns or config.stages):
        return True
    return learns(model, *IMAGE_PARTS)


def learns(model: nn.Module, *parts: ModelPart) -> bool:
    """Whether any parameter of these parts asks for a gradient."""
    return any(each.value.requires_grad for each in model_parameters(model) if each.part in parts)
