"""What is refused before weights are loaded, since that can take minutes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from torch import nn

from wdstream.config.schema import Config
from wdstream.config.speed import CheckpointedLayers
from wdstream.errors import ConfigError, FamilyError, TrainError
from wdstream.families.base import Family
from wdstream.families.shared.model_folder import read_model_folder
from wdstream.proofs.checkpoint import require_checkpoint
from wdstream.train.memory.fake_run import model_without_numbers
from wdstream.train.model.adapter import refuse_idle_settings
from wdstream.train.model.checkpointing import enable_checkpointing
from wdstream.train.model.load import compute_dtype
from wdstream.train.model.quantize import require_quantised
from wdstream.train.optimizer.groups import learning_groups, learns, refuse_idle_entries

if TYPE_CHECKING:
    from peft import PeftModel


def prove_start(config: Config, family: Family, *, is_new: bool, stage: int | None) -> str:
    """Check all that a model folder can tell before its weights are loaded; a message on its lengths.

    Args:
        config: of the run.
        family: of its model.
        is_new: it continues no checkpoint.
        stage: of ZeRO.

    Raises:
        WdstreamError: see the parts.
    """
    require_trainable_weights(config)
    prove_learning(config, family, is_new=is_new)
    return prove_model(config, family, has_meta_device=stage != 3)


def prove_model(config: Config, family: Family, *, has_meta_device: bool) -> str:
    """Check a model folder before its weights are loaded; a message on its lengths. ZeRO-3 has its own way to load.

    Raises:
        FamilyError: it is not whole, or not exact.
    """
    from wdstream.proofs.lengths import require_exact_lengths  # the only part of a start that needs processors

    if has_meta_device:
        allowed = (config.model.allow_missing, config.model.allow_unexpected)
        require_checkpoint(family, allow_missing=allowed[0], allow_unexpected=allowed[1])
    message = require_exact_lengths(family.for_attention(config.model.attn))
    prove_forced_family(config)
    return message


def prove_learning(config: Config, family: Family, *, is_new: bool = True) -> None:
    """Check on the model without numbers what is to learn, where the adapter is, and which layers compute again.

    Args:
        config: of the run.
        family: of its model.
        is_new: it continues no checkpoint.

    Raises:
        ConfigError: what learns contradicts itself, names what the model does not have, or has no effect.
        TrainError: an adapter fits nowhere, nothing is trainable, or the model has fewer layers.
    """
    family = family.for_attention(config.model.attn)
    adapter = config.train.adapter
    model = model_without_numbers(config, family, dtype=compute_dtype(config.model))
    learning_groups(model, config.train)
    if is_new:
        refuse_idle_entries(model, config.train)
    if adapter is not None and is_new:
        if adapter.kind == "qlora":
            require_quantised(config.model.path, adapter)
        refuse_idle_settings(adapter, cast("PeftModel", model).base_model.targeted_module_names)
    enable_checkpointing(model, config.train.gradient_checkpointing)
    require_kept_activations(model, config.train.gradient_checkpointing)


def require_kept_activations(model: nn.Module, again: bool | str | CheckpointedLayers) -> None:
    """Refuse `vision_layers` of a vision tower that keeps nothing, since nothing of it learns.

    Raises:
        ConfigError: names the key.
    """
    if isinstance(again, CheckpointedLayers) and again.vision_layers and not learns(model, "vision"):
        raise ConfigError(
            "train.gradient_checkpointing.vision_layers: train.freeze_vision, parts, patterns, stages or adapter "
            "leaves nothing of the vision tower to train, so it keeps nothing that could be computed again: leave it "
            "out"
        )


def prove_forced_family(config: Config) -> None:
    """Let `wdstream doctor` look at a model that `model.family` calls by another name than its config.json.

    Raises:
        FamilyError: a check failed; says which, and what was found.
    """
    forced = config.model.family
    if forced is None or forced == read_model_folder(config.model.path).model_type:
        return
    from wdstream.proofs.doctor import run_doctor

    model = config.model
    report = run_doctor(
        model.path,
        family=forced,
        attn="sdpa" if model.attn.startswith("flash") else model.attn,  # flash attention cannot be run here
        allow_missing=model.allow_missing,
        allow_unexpected=model.allow_unexpected,
    )
    if not report.ok:
        failed = [f"  {check.name}: {check.found}" for check in report.checks if not check.ok]
        raise FamilyError(
            "\n".join([f"model.family: {forced}: {model.path} is not of this family; wdstream doctor found:", *failed])
        )


def require_trainable_weights(config: Config) -> None:
    """Refuse to train weights that are stored in a quantised form.

    Raises:
        TrainError: says in which.
    """
    stored = read_model_folder(config.model.path).config.get("quantization_config")
    adapter = config.train.adapter
    if stored is None or (adapter is not None and adapter.kind == "lora"):
        return
    method = stored.get("quant_method", "unknown") if isinstance(stored, Mapping) else stored
    raise TrainError(
        f"model.path: {config.model.path}: its weights are quantised already ({method}, by config.json), so "
        f"{'nothing of them can be trained' if adapter is None else 'they are not quantised again'}; train an adapter "
        "on them (train.adapter: {kind: lora}), or take the model in floating point"
    )
