"""What a step needs, put together: the model as it is trained, its optimizer, and their places among the processes."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from accelerate import Accelerator

from wdstream.config.schema import Config
from wdstream.families.base import Family
from wdstream.proofs.checkpoint import require_finite, require_token_rows
from wdstream.train.launch.accelerator import is_sharded
from wdstream.train.launch.zero import zero_stage
from wdstream.train.model.adapter import describe_trained
from wdstream.train.model.compiling import compile_layers
from wdstream.train.model.image_padding import drop_image_padding
from wdstream.train.model.init import WarmStart, require_kept
from wdstream.train.model.kernels import describe_kernels
from wdstream.train.model.load import compute_dtype, load_model, trains_vision
from wdstream.train.model.sharded import found_by_main, load_spread, prepare_spread
from wdstream.train.model.unreached import find_unreached, freeze_named
from wdstream.train.optimizer.groups import freeze_parts, learning_groups, learns_from_images, own_settings
from wdstream.train.optimizer.optimizer import make_optimizer
from wdstream.train.step.blank import batch_form
from wdstream.train.step.failing_step import named_loading
from wdstream.train.step.loss import LossHead
from wdstream.train.step.objective import Objective
from wdstream.train.step.step import PLAIN_LOSS, TrainEngine

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


@named_loading("the model was loaded")
def open_engine(
    config: Config,
    accelerator: Accelerator,
    family: Family,
    *,
    decays_tables: bool = False,
    objective: Objective = PLAIN_LOSS,
    init: WarmStart | None = None,
) -> TrainEngine:
    """The model to train on its device, and its optimizer.

    Args:
        config: of the run.
        accelerator: as `start_accelerator` gives it.
        family: of the model.
        decays_tables: see `learning_groups`.
        objective: what is minimised.
        init: whose weights it begins with; None: those of `model.path`.

    Raises:
        ConfigError: `train.parts`, `patterns` or `stages` name what this model does not have.
        TrainError: the model cannot be loaded, or nothing of it is trainable.
    """
    family = family.for_attention(config.model.attn)
    attention = family.attention_setting(config.model.attn)
    is_main, takes_padding = accelerator.is_main_process, family.padding_side is not None

    def load(has_numbers: bool) -> "PreTrainedModel | PeftModel":
        model = load_model(config, accelerator.device, attention=attention, init=init, has_numbers=has_numbers)
        if takes_padding and config.data.pad_to == "full":
            drop_image_padding(model)
        require_kept(model, init, zero_stage(accelerator))
        if is_main:  # what one process finds of a model folder holds for all
            require_token_rows(model, family)
            require_finite(config.model.path, model.named_parameters())
        return model

    bare = load_spread(accelerator, load)
    freeze_parts(bare, config.train)
    head, has_vision = LossHead(bare), trains_vision(config) and learns_from_images(bare, config.train)
    unreached = found_by_main(accelerator, partial(find_unreached, bare, head, family)) if has_vision else ()
    freeze_named(bare, unreached)
    groups = learning_groups(bare, config.train, decays_tables=decays_tables)
    own = own_settings(bare, config.train, decays_tables=decays_tables)
    compile_layers(bare, config, has_fixed_images=takes_padding)
    optimizer = make_optimizer(bare, config.train, groups)
    # Without their parameters, which are whole, and would be kept by them under FSDP.
    groups = tuple(replace(group, parameters=()) for group in groups)
    model, optimizer = prepare_spread(accelerator, bare, optimizer)
    return TrainEngine(
        accelerator=accelerator,
        model=model,
        optimizer=optimizer,
        head=head,
        family=family,
        dtype=compute_dtype(config.model),
        max_grad_norm=config.train.max_grad_norm,
        row_length=batch_form(config, family).row_length,
        syncs_each=config.train.sync_each_micro_batch is True,  # a run has settled `auto` by now
        seed=config.train.seed,
        needs_images=has_vision or is_sharded(accelerator),
        unreached=unreached,
        groups=groups,
        own=own,
        objective=objective,
    )


def engine_notes(config: Config, engine: TrainEngine, *, decays_tables: bool) -> list[str]:
    """What a user should know of what is trained."""
    notes = [] if config.train.adapter is None else [describe_trained(engine.model)]
    if decays_tables and any(group.weight_decay for group in engine.groups if not group.is_orthogonal):
        notes.append(
            "weight decay is on embeddings and position tables too: this run began with them among all matrices"
        )
    notes += filter(None, [describe_kernels(engine.model)])
    if engine.unreached:
        notes.append(f"frozen, as no gradient reaches them: {', '.join(engine.unreached)}")
    return notes
