"""`accelerate launch -m wdstream.train cfg.yaml`: the training command."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from socket import gethostname

from wdstream.errors import ConfigError, WdstreamError, file_trouble, interrupt_of, memory_trouble
from wdstream.text.characters import printable
from wdstream.train.launch.signals import StopSignals, stop_with_launcher
from wdstream.train.launch.statuses import (
    FAILED,
    FINISHED,
    Ended,
    LaunchFolder,
    lost_processes,
    process_status,
    reported_failures,
    stopped_end,
)

EPILOG = """\
Start it through Accelerate, which says how many processes there are and how they share the model:

  one process           accelerate launch -m wdstream.train cfg.yaml
  all GPUs of a machine accelerate launch --multi_gpu --num_processes 8 -m wdstream.train cfg.yaml
  sharded (FSDP2)       accelerate launch --use_fsdp --fsdp_version 2 --num_processes 8 -m wdstream.train cfg.yaml
  sharded (DeepSpeed)   accelerate launch --config_file configs/accelerate/zero2.yaml -m wdstream.train cfg.yaml
  two processes on CPU  accelerate launch --multi_gpu --num_processes 2 -m wdstream.train cfg.yaml

The same command started again continues from the newest complete checkpoint in train.output, on the same or another
number of processes, up to data.global_batch_size. SIGTERM, SIGUSR1, SIGUSR2 or one Ctrl-C finishes the step, writes a
checkpoint and ends, and so does the end of the terminal or of the launcher; a second Ctrl-C stops at once. Exit
status: 0 finished, 3 stopped with a checkpoint (0 under accelerate launch, which makes 1 of any other), 1 or 2
failed.

In a queue, `wdstream launch [options of accelerate launch] cfg.yaml` takes the place of `accelerate launch -m
wdstream.train cfg.yaml`: it passes signals on, waits for the checkpoint, and gives these statuses.

Written to train.output: checkpoints/, final/ (for from_pretrained), tensorboard/, metrics.jsonl, eval.jsonl,
generated/ (pages that the model wrote), steps.jsonl (a digest of the pages of every step), states.jsonl, saves.jsonl,
quarantine.jsonl and run.json; from tars without an index (data.streaming, docs/plan.md) also pages.jsonl and
rejects.jsonl; what some settings add is in docs/training.md.

Examples of configurations are in configs/. A setting is overridden with --set, such as --set train.lr=5e-5.
"""


def parse_arguments(arguments: Sequence[str]) -> tuple[Path, tuple[str, ...]]:
    """The configuration file and the overrides; exits with status 2 on a usage error."""
    parser = argparse.ArgumentParser(
        prog="wdstream.train",
        description="Train a vision-language model on a planned stream of packed document pages.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CFG", type=Path, help="YAML configuration of the run")
    parser.add_argument(
        "--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[], help="override a key; repeatable"
    )
    found = parser.parse_args(arguments)
    return found.config, tuple(found.overrides)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; the exit status is 0 when finished, 3 when stopped with a checkpoint, 2 on a wrong configuration, else 1.

    Under `accelerate launch` and torchrun a stop is 0, too (launch/statuses.py).
    """
    path, overrides = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    launcher = LaunchFolder.of(os.environ)
    with StopSignals() as signals:
        stop_with_launcher(os.environ)
        launcher.tell_pid()
        try:
            ended, status = run_training(path, overrides, signals)
        except (KeyboardInterrupt, Exception) as error:
            stopped = interrupt_of(error)
            if stopped is not None:
                ended, status = _failed(str(stopped) or "interrupted", 130)
            elif trouble := memory_trouble(error):
                ended, status = _failed(trouble, FAILED)
            elif isinstance(error, WdstreamError | OSError):
                message = file_trouble(error) if isinstance(error, OSError) else str(error)
                ended, status = _failed(message, 2 if isinstance(error, ConfigError) else FAILED)
            else:
                raise
        launcher.tell_end(ended)
    return status


def run_training(path: Path, overrides: tuple[str, ...], signals: StopSignals) -> tuple[Ended, int]:
    """One start of a run: how it ended, and the exit status of this process.

    Raises:
        WdstreamError: anything a user can put right.
    """
    from wdstream.report.console import show_every_character, show_log

    show_every_character()
    show_log()
    from wdstream.config.schema import load_config

    config = load_config(path, overrides)
    from wdstream.runs.layout import RunLayout
    from wdstream.train.loop import train

    with reported_failures(RunLayout(config.train.output), os.environ) as start, lost_processes():
        is_finished = train(config, signals, start)
    wanted = config.train.stopped_status
    ended = Ended(how="finished", status=FINISHED) if is_finished else stopped_end(wanted)
    return ended, process_status(ended, wanted=wanted, environment=os.environ)


def _failed(message: str, status: int) -> tuple[Ended, int]:
    """Print why, on standard error; other ranks than the main one say who they are."""
    rank = os.environ.get("RANK", "0")
    who = "" if rank == "0" else f"rank {rank} on {gethostname()}: "
    with suppress(OSError):  # it goes to the disk that is full
        print(printable(f"wdstream.train: {who}{message}"), file=sys.stderr, flush=True)
    return Ended(how="failed", status=status, reason=f"{who}{message}"), status


if __name__ == "__main__":
    sys.exit(main())
