"""`accelerate launch -m wdstream.train cfg.yaml`: the training command."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from wdstream.errors import ConfigError, WdstreamError, file_trouble
from wdstream.text.characters import printable

EPILOG = """\
Start it through Accelerate, which says how many processes there are and how they share the model:

  one process           accelerate launch -m wdstream.train cfg.yaml
  all GPUs of a machine accelerate launch --multi_gpu --num_processes 8 -m wdstream.train cfg.yaml
  sharded (FSDP2)       accelerate launch --use_fsdp --fsdp_version 2 --num_processes 8 -m wdstream.train cfg.yaml
  sharded (DeepSpeed)   accelerate launch --config_file configs/accelerate/zero2.yaml -m wdstream.train cfg.yaml
  two processes on CPU  accelerate launch --multi_gpu --num_processes 2 -m wdstream.train cfg.yaml

The same command started again continues from the newest complete checkpoint in train.output, on the same or another
number of processes, as long as it divides data.global_batch_size. SIGTERM, SIGUSR1, SIGUSR2 or one Ctrl-C finishes the
step, writes a checkpoint and exits with status 0, and so does the end of the launcher; a second Ctrl-C stops at once. A
launcher of several processes that gets the signal itself waits 30 s for them and then kills them, so let the checkpoint
be quick, or signal the processes.

Written to train.output: checkpoints/, final/ (for from_pretrained), tensorboard/, metrics.jsonl, eval.jsonl,
generated/ (pages that the model wrote), steps.jsonl (a digest of the pages of every step), states.jsonl,
quarantine.jsonl and run.json; from tars without an index (data.streaming, docs/plan.md) also pages.jsonl and
rejects.jsonl.

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
    """Train; the exit status is 0 when finished or stopped by a signal, 2 on a wrong configuration, else 1."""
    path, overrides = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        from wdstream.report.console import show_log

        show_log()
        from wdstream.config.schema import load_config

        config = load_config(path, overrides)
        from wdstream.train.launch.accelerator import stop_with_launcher
        from wdstream.train.loop import train

        stop_with_launcher(os.environ)
        train(config)
    except (WdstreamError, OSError) as error:
        rank = os.environ.get("RANK", "0")
        message = file_trouble(error) if isinstance(error, OSError) else error
        text = printable(f"wdstream.train: {'' if rank == '0' else f'rank {rank}: '}{message}")
        print(text, file=sys.stderr, flush=True)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
