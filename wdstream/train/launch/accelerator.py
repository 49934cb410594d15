"""How a training process starts: one Accelerator, and guards against launches that are not what they seem."""

import logging
import os
from collections.abc import Mapping
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    InitProcessGroupKwargs,
    KwargsHandler,
    set_seed,
)

from wdstream.config.schema import Config
from wdstream.errors import ConfigError, PlanError, TrainError
from wdstream.plan.deal import check_even, packs_per_rank
from wdstream.records import World
from wdstream.train.launch.fsdp import check_average, check_optimizer, check_sync, settle_fsdp
from wdstream.train.launch.options import SEVERAL
from wdstream.train.launch.statuses import FOLDER_VARIABLE
from wdstream.train.launch.zero import is_zero_wanted, settle_zero, zero_stage
from wdstream.train.model.compiling import check_compile
from wdstream.train.model.load import MIXED_PRECISION, compute_dtype

_log = logging.getLogger("wdstream")
_OF_ONE = "ACCELERATE_USE_CPU"
"""Set by that launcher of Accelerate which starts one process; with an address to meet at, where it is asked for more.
"""
_WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where Accelerate looks for the number of processes: the others are of mpirun, which may have started it."""


def start_accelerator(config: Config) -> Accelerator:
    """The process group, seeded; refuses worlds that are not what the launcher or the configuration asked for.

    Accumulation is done by the step itself, so Accelerate's own stays at 1. On a machine without a GPU the processes
    meet over gloo; DeepSpeed has to be set to it.

    Raises:
        TrainError: the world is not the one that was launched, or is of a kind that is not supported.
        ConfigError: the world and the batch do not fit, or a setting of DeepSpeed is not proven.
    """
    dtype = compute_dtype(config.model)
    check_environment(os.environ, dtype)
    has_gpu, wants_zero = torch.cuda.is_available(), is_zero_wanted()
    # Of DDP alone: gradients are where they are exchanged from, and not there and in the parameters; the same numbers.
    handlers: list[KwargsHandler] = [
        DistributedDataParallelKwargs(gradient_as_bucket_view=True),
        InitProcessGroupKwargs(
            backend="gloo" if wants_zero and not has_gpu else None,
            timeout=timedelta(minutes=config.train.collective_minutes),
        ),
    ]
    accelerator = Accelerator(
        cpu=not has_gpu and not wants_zero,
        kwargs_handlers=handlers,
        mixed_precision=MIXED_PRECISION[dtype],
        gradient_accumulation_steps=1,
    )
    if dtype != torch.float32 and not has_gpu and accelerator.is_main_process:
        _log.warning(f"model.dtype: {config.model.dtype} is 20 to 70 times slower than float32 on a CPU; use auto")
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    check_world(config, joined=accelerator.num_processes, launched=launched)
    check_kind(accelerator.distributed_type, wants_fsdp=os.environ.get("ACCELERATE_USE_FSDP", "") == "true")
    settle_fsdp(accelerator)
    check_compile(config, accelerator)
    check_optimizer(accelerator, config.train.optimizer)
    check_sync(accelerator, is_wanted=config.train.sync_each_micro_batch is True)
    check_average(accelerator, is_wanted=config.train.ema is not None)
    if wants_zero:
        settle_zero(accelerator, config)
    set_seed(config.train.seed)
    # Tied embeddings are stored once; Accelerate warns about that at every checkpoint.
    logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)
    return accelerator


def check_environment(environment: Mapping[str, str], dtype: torch.dtype) -> None:
    """Refuse what a launcher, its file or a shell asks of Accelerate that would change what is computed, or be ignored.

    Args:
        environment: of this process; `accelerate launch` passes its options on in it.
        dtype: that `model.dtype` computes in.

    Raises:
        ConfigError: names the variable, its value, the option that sets it, and what to do.
    """
    # `wdstream launch` has looked at the options themselves.
    is_alone = not {*_WORLD_SIZES, FOLDER_VARIABLE} & {*environment}
    if is_alone and {_OF_ONE, "MASTER_ADDR", "MASTER_PORT"} <= {*environment}:
        raise ConfigError(
            f"accelerate launch was asked for several processes and started this one by itself: {SEVERAL}; for one, "
            "say --num_processes 1, and leave out --num_machines, and MASTER_ADDR of the environment"
        )
    precision = MIXED_PRECISION[dtype]
    for name, option, allowed, reason in (
        (
            "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
            "--gradient_accumulation_steps",
            ("1", "auto"),  # the second is DeepSpeed's, and becomes the first (zero.py)
            "it would divide every gradient once more: data.global_batch_size says what a step is, and "
            "train.micro_batch_size what fits at once",
        ),
        (
            "ACCELERATE_USE_PARALLELISM_CONFIG",
            "--use_parallelism_config",
            ("false",),
            "processes that share one model must read the same data, and each process reads its own; and context "
            "parallel takes the mask of the attention away, so that documents of a pack would see each other: use FSDP "
            "or DeepSpeed",
        ),
        (
            "ACCELERATE_MIXED_PRECISION",
            "--mixed_precision",
            ("no", precision),
            f"it would be ignored: model.dtype computes in {str(dtype).removeprefix('torch.')}; set that",
        ),
        (
            "ACCELERATE_DYNAMO_BACKEND",
            "--dynamo_backend",
            ("no",),
            "it would compile the whole model, again and again, for images and rows of other sizes: set train.compile, "
            "which compiles the layers of the language model",
        ),
    ):
        value = environment.get(name) or allowed[0]
        if value.lower() not in allowed:
            raise ConfigError(f"{name}={value} ({option} of accelerate launch, or its configuration): {reason}")


def check_world(config: Config, *, joined: int, launched: int) -> None:
    """Compare processes `joined` by Accelerate, `launched` by the environment, and asked for by the configuration.

    Raises:
        TrainError: they differ.
        ConfigError: there are more processes than packs in a step; or no plan, and they do not divide it evenly.
    """
    if joined != launched:
        raise TrainError(
            f"the launcher started {launched} processes but Accelerate joined {joined}: every process would train "
            f"alone and overwrite the others' checkpoints; start with: {_command(launched)}"
        )
    wanted = config.train.world_size
    if wanted is not None and wanted != joined:
        raise TrainError(
            f"train.world_size: expected {wanted} processes, found {joined}; on a machine without GPUs "
            f"`accelerate launch --cpu` starts one process only, use: {_command(wanted)}"
        )
    divides = packs_per_rank if config.data.streaming is None else check_even
    try:
        divides(config.data.global_batch_size, world_size=joined, micro_batch_size=config.train.micro_batch_size)
    except PlanError as error:
        raise ConfigError(f"data.{error}") from None


def _command(num_processes: int) -> str:
    """What starts this many processes, also on a machine without GPUs."""
    kind = "--multi_gpu " if num_processes > 1 else ""
    return f"accelerate launch {kind}--num_processes {num_processes} -m wdstream.train cfg.yaml"


def check_kind(kind: DistributedType, *, wants_fsdp: bool) -> None:
    """Refuse what Accelerate would silently not do, and what wdstream cannot yet prove.

    Raises:
        TrainError: FSDP was asked for but is not in force, or Megatron is.
    """
    if wants_fsdp and kind != DistributedType.FSDP:
        raise TrainError(
            f"FSDP was asked for, but Accelerate chose {kind.value}: it shards only on GPUs and in several processes; "
            "leave --use_fsdp out or start on GPUs"
        )
    if kind == DistributedType.MEGATRON_LM:
        raise TrainError(
            f"{kind.value} is not supported: its engine scales losses by itself, which breaks the exact "
            "normalisation over supervised tokens; use DDP, FSDP or DeepSpeed"
        )


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether no process holds whole weights, so that all must enter every module together: FSDP, or ZeRO-3."""
    return accelerator.distributed_type == DistributedType.FSDP or zero_stage(accelerator) == 3


def world_of(accelerator: Accelerator) -> World:
    """This process's rank, and how many there are."""
    return World(rank=accelerator.process_index, size=accelerator.num_processes)
