"""Evaluation by itself: a finished model on its evaluation sets, without optimizer, checkpoint or training data.

RUN  a training run's folder: the configuration of its run.json, the weights (or adapter) of its `final`, or those of
     its checkpoints
CFG  a YAML file: `model.path` as it is; an adapter that it would train is left out, for none is trained yet
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from accelerate import Accelerator
from accelerate.utils import DistributedType

from wdstream.config.schema import Config, config_from_tree, load_config
from wdstream.config.training import GenerateConfig, TrainConfig
from wdstream.errors import ConfigError, TrainError
from wdstream.families.base import Family
from wdstream.pipeline.planned import Plan
from wdstream.records import World
from wdstream.report.console import PrintableConsole
from wdstream.report.progress import ProgressBar
from wdstream.runs.best import resolve_checkpoint
from wdstream.runs.checkpoint import Checkpoint, list_checkpoints, read_checkpoint, step_of
from wdstream.runs.layout import RunLayout, name_as_file
from wdstream.runs.record import read_run
from wdstream.train.evaluate.generated_pages import check_generation, save_pages
from wdstream.train.evaluate.held_out_since import warn_of_other_split
from wdstream.train.evaluate.sets import SetReport, measure_set, plan_sets
from wdstream.train.launch.accelerator import start_accelerator, world_of
from wdstream.train.model.ema import EMA_FILE
from wdstream.train.model.image_padding import drop_image_padding
from wdstream.train.model.load import compute_dtype, load_model
from wdstream.train.saving.averaged import averaged, require_model_weights
from wdstream.train.saving.weights import ADAPTER_FILE, load_adapter, put_state, read_adapter, read_state
from wdstream.train.step.blank import batch_form
from wdstream.train.step.failing_step import named_loading
from wdstream.train.step.loss import LossHead
from wdstream.train.step.step import Engine

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What is needed to measure a model on every set.

    Attributes:
        config: as resolved.
        world: this process among all.
        plans: name and plan of each set.
        engine: the model.
    """

    config: Config
    world: World
    plans: tuple[tuple[str, Plan], ...]
    engine: Engine

    def measure(self, out: Path | None) -> dict[str, SetReport]:
        """Every set by name; all processes call it together.

        Args:
            out: folder for what the model wrote, one file per set.

        Raises:
            TrainError: no page of a set can be read.
        """
        reports = {}
        for name, plan in self.plans:
            with ProgressBar(PrintableConsole(stderr=True, quiet=self.world.rank > 0)) as bar:
                on_progress = bar.task(f"evaluating {name}", "pages")
                report = measure_set(self.engine, plan, config=self.config, world=self.world, on_progress=on_progress)
            if report.is_empty:
                raise TrainError("\n".join([f"data.eval: {name}: no page of it could be evaluated", *report.lines()]))
            if report.written is not None and out is not None and self.world.rank == 0:
                save_pages(out / f"{name_as_file(name)}.jsonl", report.written)
            reports[name] = report
        return reports


def evaluate_finished(
    path: Path,
    overrides: tuple[str, ...] = (),
    *,
    generate: int | None = None,
    max_new_tokens: int | None = None,
    out: Path | None = None,
) -> dict[str, SetReport] | None:
    """Load a model and measure every set by name; all processes call it together.

    Args:
        path: a run's folder, or a YAML file.
        overrides: `section.key=value`.
        generate: pages of each set to write, 0 for none; None as configured.
        max_new_tokens: of each; None as configured.
        out: folder for what the model wrote, one file per set.

    Returns:
        The reports, on the main process; None on the others.

    Raises:
        ConfigError: there is no evaluation set, or settings contradict each other.
        TrainError: the run is not finished, the model cannot be loaded, or no page of a set can be read.
    """
    config, final = read_settings(path, overrides)
    evaluation = _opened(path, with_generation(config, generate, max_new_tokens), final, out)
    reports = evaluation.measure(out)
    evaluation.engine.accelerator.end_training()
    return reports if evaluation.world.rank == 0 else None


def evaluate_checkpoints(
    path: Path,
    overrides: tuple[str, ...] = (),
    *,
    step: str,
    generate: int | None = None,
    max_new_tokens: int | None = None,
    out: Path | None = None,
) -> dict[int, dict[str, SetReport]] | None:
    """Measure checkpoints of a run, whose model is loaded once; all processes call it together.

    Args:
        path: the run's folder.
        overrides, generate, max_new_tokens: as in `evaluate_finished`.
        step: a number, `newest`, `best`, or `all` that are kept.
        out: folder for what the model wrote: a folder per step where there are several, one file per set.

    Returns:
        The reports by step, on the main process; None on the others.

    Raises:
        ConfigError: there is no evaluation set, or `path` is of another kind.
        TrainError: there is no such checkpoint, or it cannot be put together here; or no page of a set can be read.
    """
    if not path.is_dir():
        raise ConfigError(f"--step {step}: {path} is not the folder of a run; a configuration has no checkpoints")
    config = as_evaluated(config_from_tree(read_run(path).config.model_dump(mode="json"), overrides, path))
    paths = list_checkpoints(RunLayout(path).checkpoints)[::-1] if step == "all" else []
    paths = paths or [resolve_checkpoint(path, "newest" if step == "all" else step)]
    evaluation = _opened(path, with_generation(config, generate, max_new_tokens), None, out)
    model = evaluation.engine.accelerator.unwrap_model(evaluation.engine.model)
    reports = {}
    for checkpoint in paths:
        load_measured(model, read_checkpoint(checkpoint), config.train)
        folder = out if out is None or len(paths) == 1 else out / checkpoint.name
        reports[step_of(checkpoint)] = evaluation.measure(folder)
    evaluation.engine.accelerator.end_training()
    return reports if evaluation.world.rank == 0 else None


def load_measured(model: "PreTrainedModel | PeftModel", checkpoint: Checkpoint, train: TrainConfig) -> None:
    """Give the model the weights that the run itself measured at a checkpoint: under `train.ema` their average, once
    it has begun.

    Raises:
        TrainError: they are of another model or adapter.
    """
    require_model_weights(train, checkpoint.path)
    state = read_state(checkpoint)
    if train.ema is not None and train.ema.eval_with == "ema" and (checkpoint.path / EMA_FILE).is_file():
        state = averaged(model, state, checkpoint.path)
    put_state(model, state, checkpoint)


def _opened(path: Path, config: Config, final: Path | None, out: Path | None) -> Evaluation:
    """The sets and the model of settings.

    Raises:
        ConfigError: there is no set, or settings contradict each other.
        TrainError: the model cannot be loaded.
    """
    if out is not None and config.train.generate is None:
        raise ConfigError(
            f"--out {out}: only pages that the model writes go there, and none are asked for; add --generate PAGES, or "
            "leave it out"
        )
    if not config.data.eval:
        raise ConfigError(
            f"{path}: data.eval names no set; add --set 'data.eval=[{{name: held_out, path: shards, split: held_out}}]'"
        )
    accelerator = start_accelerator(config)
    kind = accelerator.distributed_type
    if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise TrainError(f"{kind.value} was asked for, but each process evaluates with a whole model: leave it out")
    check_generation(config, is_sharded=False)
    world = world_of(accelerator)
    if path.is_dir() and world.rank == 0:
        warn_of_other_split(path, config)
    plans = plan_sets(config, world_size=world.size)
    engine = load_engine(config, accelerator, plans[0][1].family, final)
    return Evaluation(config=config, world=world, plans=plans, engine=engine)


_PLAIN = {"gradient_checkpointing": False, "compile": False, "compile_backend": "inductor"}
"""What only training has a use for, switched off."""


def read_settings(path: Path, overrides: tuple[str, ...]) -> tuple[Config, Path | None]:
    """The settings to evaluate with, and the folder of a run's result; None for a YAML file.

    Raises:
        ConfigError: nothing is there, or settings contradict each other.
        TrainError: no run in the folder, or one that is not finished.
    """
    if not path.exists():
        raise ConfigError(f"{path}: neither the folder of a run that was trained nor a YAML file; is the path right?")
    if not path.is_dir():
        config = load_config(path, overrides, is_trained=False)
        if config.model.init is not None:
            raise ConfigError(
                f"{path}: model.init: a configuration is measured with the weights of model.path; give the folder that "
                "init names as model.path, or add --set model.init=null"
            )
        return as_evaluated(config.replace(train=config.train.replace(adapter=None))), None
    config = config_from_tree(read_run(path).config.model_dump(mode="json"), overrides, path)
    final = RunLayout(path).final
    if not final.is_dir():
        raise TrainError(
            f"{path}: the run has no {final.name}/ yet; start its training command again to finish it, or take a "
            "checkpoint of it: --step newest"
        )
    config = as_evaluated(config)
    return (config if config.train.adapter else config.replace(model=config.model.replace(path=final))), final


def as_evaluated(config: Config) -> Config:
    """The configuration of a run with what only its training needs left out: any number of processes may evaluate."""
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    return config.replace(
        data=config.data.replace(global_batch_size=launched * config.train.micro_batch_size),
        train=config.train.replace(world_size=None, **_PLAIN),
    )


def with_generation(config: Config, pages: int | None, max_new_tokens: int | None) -> Config:
    """The configuration with this number of pages to write; None: as it says itself."""
    settings = config.train.generate
    if pages is not None:
        settings = (settings or GenerateConfig()).replace(max_pages=pages) if pages else None
    if settings is not None and max_new_tokens is not None:
        settings = settings.replace(max_new_tokens=max_new_tokens)
    return config.replace(train=config.train.replace(generate=settings))


@named_loading("the model was loaded")
def load_engine(config: Config, accelerator: Accelerator, family: Family, final: Path | None) -> Engine:
    """The model of `config`, with the adapter of `final` where the run trained one, on its device.

    Raises:
        TrainError: the adapter does not fit the model.
    """
    family = family.for_attention(config.model.attn)
    if accelerator.device.type == "cpu":  # the model's own layers compute the same up to rounding
        config = config.replace(model=config.model.replace(kernels="none"))
    bare = load_model(config, accelerator.device, attention=family.attention_setting(config.model.attn))
    if family.padding_side is not None and config.data.pad_to == "full":
        drop_image_padding(bare)
    if final is not None and config.train.adapter is not None:
        load_adapter(cast("PeftModel", bare), read_adapter(final), final / ADAPTER_FILE)
    return Engine(
        accelerator=accelerator,
        head=LossHead(bare),
        model=accelerator.prepare_model(bare, evaluation_mode=True),
        family=family,
        dtype=compute_dtype(config.model),
        seed=config.train.seed,
        needs_images=False,
        row_length=batch_form(config, family).row_length,
    )
