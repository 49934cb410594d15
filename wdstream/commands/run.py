"""The commands around a training run: its start in a queue (launch), its checkpoints, and the way back to one (run)."""

import json
from importlib.util import find_spec
from typing import Annotated

import typer

from wdstream.commands import AsJson, Overrides, console
from wdstream.commands.inspect import RunDir
from wdstream.commands.paths import local_path
from wdstream.commands.run_reports import run_app
from wdstream.errors import ConfigError

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
"""For typer: options that a command does not know are kept as they are."""


def launch_run_command(
    rest: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[OPTIONS OF accelerate launch] CFG",
            help="What `accelerate launch` is to get, such as --multi_gpu --num_processes 8; last the configuration.",
        ),
    ] = None,
    set_: Overrides = None,
    kill_after: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Kill all processes this long after the first signal; when left out the checkpoint has all the time "
            "that it takes.",
        ),
    ] = None,
) -> None:
    """Train through `accelerate launch`, with signals that arrive and an exit status for queues.

    SIGTERM, SIGUSR1, SIGUSR2, Ctrl-C and the end of the terminal (but for nohup) reach the training processes, which
    write a checkpoint. Exit status: 0 finished, 3 stopped with a checkpoint, so that the same command continues
    (train.stopped_status), 1 or 2 failed, 130 stopped at once by a second signal.

    On several machines it is started on each, as `accelerate launch` is.
    """
    from wdstream.config.schema import load_config
    from wdstream.train.launch.launcher import launch

    words = rest or []
    is_last = bool(words) and not words[-1].startswith("-")
    if not is_last or (_is_yaml(words[0]) and not _is_yaml(words[-1])):
        raise ConfigError(
            "wdstream launch: the configuration file comes last: wdstream launch [options of accelerate launch] CFG"
        )
    *options, config = words
    if {"-m", "--module"} & {*options}:
        raise ConfigError("wdstream launch: leave out -m wdstream.train: it is added")
    if find_spec("accelerate") is None:
        raise ConfigError("wdstream launch needs accelerate; run pip install 'wdstream[train]'")
    overrides = tuple(set_ or ())
    load_config(local_path(config), overrides)  # a wrong one is refused before any process begins
    settings = [word for override in overrides for word in ("--set", override)]
    raise typer.Exit(launch(options, [config, *settings], limit_s=kill_after))


def _is_yaml(word: str) -> bool:
    return word.endswith((".yaml", ".yml"))


@run_app.command("list")
def list_run_command(
    run: RunDir,
    is_verified: Annotated[bool, typer.Option("--verify", help="Compare checksums, too: reads every byte.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the checkpoints of a run: step, whether whole, size, processes, and what evaluation gave there."""
    from wdstream.runs.checkpoint_table import as_trees, list_run, print_checkpoints

    found = list_run(run, is_verified=is_verified)
    if as_json:
        typer.echo(json.dumps(as_trees(found), indent=2))
        return
    print_checkpoints(found, console)


@run_app.command("rollback")
def rollback_run_command(
    run: RunDir,
    to: Annotated[int, typer.Option(min=1, metavar="STEP", help="Step of a checkpoint; `wdstream run list` has them.")],
    is_removed: Annotated[
        bool, typer.Option("--remove", help="Remove the later checkpoints, where they are else moved aside.")
    ] = False,
) -> None:
    """Bring a run back to one of its checkpoints; the same command trains on from there.

    What came later is cut out of the ledger, metrics, evaluations and lists. Later checkpoints and the result are moved
    to RUN/rolled-back, for they may be days of work, unless --remove is given. Killed in between, start it again.
    """
    from wdstream.runs.rollback import roll_back

    roll_back(run, to, is_removed=is_removed).print(console)
