"""Options of `accelerate launch` that it would not follow, and say nothing: `wdstream launch` refuses them.

Accelerate takes its options and its file together, chooses one of its launchers by them, and leaves out whatever that
one does not use: `--cpu --num_processes 3` starts one process, `--fsdp_version 2` without `--use_fsdp` is DDP, a
misspelt key of `fsdp_config` is nothing.
"""

import argparse
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
import yaml
from accelerate.commands.config.config_args import default_config_file, load_config_from_file

from wdstream.errors import ConfigError

SEVERAL = (
    "--multi_gpu --num_processes N starts N, on a machine without GPUs too (with CUDA_VISIBLE_DEVICES= before it they "
    "leave the GPUs alone)"
)
"""What starts several processes, in words."""
_KINDS = {
    "MULTI_GPU": "multi_gpu",
    "FSDP": "use_fsdp",
    "DEEPSPEED": "use_deepspeed",
    "MEGATRON_LM": "use_megatron_lm",
    "XLA": "tpu",
}
"""distributed_type of a file -> the option that says the same."""
_SWITCHES = {
    "FSDP Arguments": "use_fsdp",
    "DeepSpeed Arguments": "use_deepspeed",
    "Megatron-LM Arguments": "use_megatron_lm",
    "ParallelismConfig Arguments": "use_parallelism_config",
    "TPU": "tpu",
}
"""Group of options in Accelerate's --help -> the option without which it is not looked at."""
_SECTIONS = {
    "fsdp_config": ("fsdp_", "use_fsdp"),
    "deepspeed_config": ("", "use_deepspeed"),
    "megatron_lm_config": ("", "use_megatron_lm"),
    "parallelism_config": ("", "use_parallelism_config"),
}
"""Section of a file -> what begins the names of its options, and the option without which it is not looked at."""
_OF_SEVERAL = {"tee", "log_dir", "max_restarts"}
"""Of torchrun, which only starts several processes; its others say how they meet, and of one mean nothing."""


def check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse what Accelerate would not follow.

    Args:
        parser: Accelerate's.
        options: as it read them.

    Raises:
        ConfigError: names the option, and what would make it count.
    """
    file = _read_file(options)
    switches = _switches(options, file)
    if "use_deepspeed" in switches and not options.cpu and find_spec("deepspeed") is None:
        raise ConfigError("--use_deepspeed: DeepSpeed is not installed: pip install 'wdstream[deepspeed]'")
    by_itself = 1 if options.cpu else max(torch.cuda.device_count(), 1)
    processes = options.num_processes or _number(file, "num_processes", 1 if file else by_itself)
    machines = options.num_machines or _number(file, "num_machines", 1)
    is_single = options.cpu or not (switches & {*_KINDS.values()} or _has_gpus(processes, file))
    has_mpirun = options.mpirun_hostfile is not None or bool(file.get("mpirun_config"))
    if is_single and (processes > 1 or machines > 1) and not has_mpirun:
        found = f"distributed_type: NO or MULTI_CPU (in {_path(options)})" if file else "no --multi_gpu"
        asked, way = ("--cpu", f"leave out --cpu; {SEVERAL}") if options.cpu else (found, SEVERAL)
        raise ConfigError(
            f"accelerate launch with {asked} starts one process on each machine, by itself, and not the {processes} of "
            f"--num_processes: {way}; leave --num_processes out for one"
        )
    if processes > 0 and processes % machines:
        raise ConfigError(
            f"--num_processes {processes} --num_machines {machines}: accelerate launch would start "
            f"{processes // machines * machines}; --num_processes counts the processes of all machines together"
        )
    is_elsewhere = options.main_process_ip not in (None, "127.0.0.1", "localhost") and options.num_machines is None
    if machines == 1 and (options.machine_rank or is_elsewhere):
        raise ConfigError(
            "--machine_rank and --main_process_ip would be ignored without --num_machines: each machine would train "
            "the whole run alone"
        )
    _check_sections(file, options, switches)
    given = {name for name in vars(options) if getattr(options, name) != parser.get_default(name)}
    _refuse(given & _OF_SEVERAL if is_single else (), "with one process, which torchrun does not start")
    for group in parser._action_groups:
        switch = _SWITCHES.get(group.title or "")
        if switch is not None and switch not in switches:
            _refuse(given & {action.dest for action in group._group_actions}, f"without --{switch}")


def _read_file(options: argparse.Namespace) -> Mapping[str, object]:
    """Settings of the file of `--config_file`, or of the one that `accelerate config` wrote; none where neither is."""
    if options.config_file is None and (options.cpu or not Path(default_config_file).is_file()):
        return {}
    try:
        return dict(vars(load_config_from_file(options.config_file)))
    except (OSError, ValueError, TypeError, AttributeError, KeyError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"--config_file {_path(options)}: accelerate does not take it: {why}") from error


def _path(options: argparse.Namespace) -> str:
    return str(options.config_file or default_config_file)


def _switches(options: argparse.Namespace, file: Mapping[str, object]) -> set[str]:
    """The options that say what is started, on the command line, or else as the file says."""
    found = {name for name in _KINDS.values() if getattr(options, name)}
    if not found and file:
        kind = str(getattr(file["distributed_type"], "value", file["distributed_type"]))
        found = {_KINDS[kind]} if kind in _KINDS else set()
    is_meshed = options.use_parallelism_config or bool(file.get("parallelism_config"))
    return found | ({"use_parallelism_config"} if is_meshed else set())


def _has_gpus(processes: int, file: Mapping[str, object]) -> bool:
    """Whether Accelerate takes several processes for --multi_gpu by itself."""
    return not file and processes > 1 and torch.cuda.device_count() > 1


def _number(file: Mapping[str, object], name: str, usual: int) -> int:
    value = file.get(name)
    return value if isinstance(value, int) else usual


def _check_sections(file: Mapping[str, object], options: argparse.Namespace, switches: set[str]) -> None:
    for section, (prefix, switch) in _SECTIONS.items():
        found = file.get(section)
        if not isinstance(found, dict) or not found:
            continue
        if switch not in switches or options.cpu:
            if options.config_file is None:
                continue  # nobody named the file, and the command line says what is wanted
            raise ConfigError(
                f"{section} of {_path(options)} would be ignored: the command line, or distributed_type, asks for "
                f"something else than --{switch}; leave that out, or take another file"
            )
        names = {key: key if key.startswith(prefix) else prefix + key for key in found}
        _refuse((key for key, name in names.items() if not hasattr(options, name)), "(no such key)", at=f"{section}.")


def _refuse(names: Iterable[str], why: str, at: str = "--") -> None:
    ignored = sorted(names)
    if ignored:
        raise ConfigError(f"{', '.join(at + name for name in ignored)}: accelerate launch would ignore it {why}")
