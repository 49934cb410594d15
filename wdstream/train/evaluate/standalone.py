"""Evaluation by itself: a finished model on its evaluation sets, without optimizer, checkpoint or training data.

RUN  a training run's folder: the configuration of its run.json, the weights (or adapter) of its `final`
CFG  a YAML file: `model.path` as it is; an adapter that it would train is left out, for none is trained yet
"""

import os
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from wdstream.config.schema import Config, config_from_tree, load_config
from wdstream.config.training import GenerateConfig
from wdstream.errors import ConfigError, TrainError
from wdstream.families.base import Family
from wdstream.report.console import PrintableConsole
from wdstream.report.progress import ProgressBar
from wdstream.runs.layout import RunLayout, name_as_file
from wdstream.runs.record import read_run
from wdstream.train.evaluate.generated_pages import check_generation, save_pages
from wdstream.train.evaluate.held_out_since import warn_of_other_split
from wdstream.train.evaluate.sets import SetReport, measure_set, plan_sets
from wdstream.train.launch.accelerator import start_accelerator, world_of
from wdstream.train.model.load import compute_dtype, load_model
from wdstream.train.saving.checkpoint import ADAPTER_FILE
from wdstream.train.step.blank import batch_form
from wdstream.train.step.loss import LossHead
from wdstream.train.step.step import Engine


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
    config = with_generation(config, generate, max_new_tokens)
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
    world, reports = world_of(accelerator), {}
    if final is not None and world.rank == 0:
        warn_of_other_split(path, config)
    plans = plan_sets(config, world_size=world.size)
    engine = load_engine(config, accelerator, plans[0][1].family, final)
    for name, plan in plans:
        with ProgressBar(PrintableConsole(stderr=True, quiet=world.rank > 0)) as bar:
            on_progress = bar.task(f"evaluating {name}", "pages")
            reports[name] = measure_set(engine, plan, config=config, world=world, on_progress=on_progress)
        if reports[name].is_empty:
            raise TrainError(
                "\n".join([f"data.eval: {name}: no page of it could be evaluated", *reports[name].lines()])
            )
        written = reports[name].written
        if written is not None and out is not None and world.rank == 0:
            save_pages(out / f"{name_as_file(name)}.jsonl", written)
    accelerator.end_training()
    return reports if world.rank == 0 else None


def read_settings(path: Path, overrides: tuple[str, ...]) -> tuple[Config, Path | None]:
    """The settings to evaluate with, and the folder of a run's result; None for a YAML file.

    Raises:
        TrainError: no run in the folder, or one that is not finished.
    """
    final: Path | None = None
    if path.is_dir():
        config = config_from_tree(read_run(path).config.model_dump(mode="json"), overrides, path)
        final = RunLayout(path).final
        if not final.is_dir():
            raise TrainError(f"{path}: the run has no {final.name}/ yet; start its training command again to finish it")
    elif not path.exists():
        raise ConfigError(f"{path}: neither the folder of a run that was trained nor a YAML file; is the path right?")
    else:
        config = load_config(path, overrides)
    adapter = None if final is None else config.train.adapter
    launched = int(os.environ.get("WORLD_SIZE", "1"))  # any number of processes may evaluate
    config = config.replace(
        data=config.data.replace(global_batch_size=launched * config.train.micro_batch_size),
        train=config.train.replace(world_size=None, gradient_checkpointing=False, adapter=adapter),
    )
    if final is not None and adapter is None:
        config = config.replace(model=config.model.replace(path=final))
    return config, final


def with_generation(config: Config, pages: int | None, max_new_tokens: int | None) -> Config:
    """The configuration with this number of pages to write; None: as it says itself."""
    settings = config.train.generate
    if pages is not None:
        settings = (settings or GenerateConfig()).replace(max_pages=pages) if pages else None
    if settings is not None and max_new_tokens is not None:
        settings = settings.replace(max_new_tokens=max_new_tokens)
    return config.replace(train=config.train.replace(generate=settings))


def load_engine(config: Config, accelerator: Accelerator, family: Family, final: Path | None) -> Engine:
    """The model of `config`, with the adapter of `final` where the run trained one, on its device.

    Raises:
        TrainError: the adapter does not fit the model.
    """
    family = family.for_attention(config.model.attn)
    bare = load_model(config, accelerator.device, attention=family.attention_setting(config.model.attn))
    if final is not None and config.train.adapter is not None:
        from peft import set_peft_model_state_dict

        unknown = set_peft_model_state_dict(bare, load_file(final / ADAPTER_FILE)).unexpected_keys
        if unknown:
            raise TrainError(f"{final / ADAPTER_FILE} is not of this model and train.adapter: {unknown}")
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
