"""The commands that write shards or their index: make-shards, index, lengths."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from wdstream.commands import AllowTokens, console, error_console
from wdstream.commands.options import takes_options
from wdstream.errors import ConfigError
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.storage.engines.settings import EngineSettings

if TYPE_CHECKING:
    from wdstream.storage.engines.part import WorkPart

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
Processes = Annotated[int | None, typer.Option("--workers", min=1, help="Processes; all cores when left out.")]


@takes_options(MakeShardsOptions)
def make_shards_command(
    raw: Annotated[
        str,
        typer.Argument(help="Folder of PDFs, scans, rows, tables, tars, ..., or its URL in a store: docs/sources.md."),
    ],
    out: Annotated[
        str, typer.Argument(help="Folder for the shards and their index, or a URL such as s3://bucket/shards.")
    ] = "shards",
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when anything was quarantined.")] = False,
    **options: object,
) -> None:
    """Pack raw pages into tar shards with an index.

    Killed and started again, it continues and ends with the same bytes. What cannot be read is listed with its reason
    in OUT/quarantine.jsonl, and the job continues.
    """
    from wdstream.make_shards import make_part, make_shards
    from wdstream.report.progress import progress_bar

    chosen = MakeShardsOptions.of(options, are_options=True)
    if chosen.part is not None:
        with progress_bar(error_console) as on_progress:
            part = make_part(raw, out, options=chosen, on_progress=on_progress)
        part.print(console)
        part.check()
        return
    with progress_bar(error_console) as on_progress:
        report = make_shards(raw, out, options=chosen, on_progress=on_progress)
    report.print(console)
    report.check()
    if strict and report.num_quarantined:
        raise typer.Exit(1)


@takes_options(EngineSettings)
def index_command(
    shards: Annotated[
        str,
        typer.Argument(
            help="Folder or URL of .tar shards, made here or by any other tool; or their names: URL/x-{000..127}.tar."
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="Folder or URL for the index, of tars that are only read; they stay there."),
    ] = None,
    tokenizer: Tokenizer = None,
    paragraphs: Paragraphs = False,
    allow_tokens: AllowTokens = None,
    workers: Processes = None,
    rebuild: Annotated[bool, typer.Option(help="Read every tar again, also those that are indexed already.")] = False,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave out bad tars, and samples with bad or repeated keys; list them."),
    ] = False,
    key: Annotated[
        Literal["webdataset", "dotted"],
        typer.Option(
            "--key", "--key-rule", help="Where a key ends: at the first dot of a name, or at the last (report.v2.jpg)."
        ),
    ] = "webdataset",
    prefix_keys: Annotated[
        bool, typer.Option("--prefix-keys", help="Put the tar's name before each key, where tars have equal keys.")
    ] = False,
    map: Annotated[
        list[str] | None,
        typer.Option(help="Which part or field is what: text=json:caption,image=jp2. May be repeated."),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="The layout of samples by name, such as img2dataset.")] = None,
    accept_changed: Annotated[
        bool,
        typer.Option(
            "--accept-changed",
            help="Take shards that are not as they were indexed or made, which is damage unless somebody meant it.",
        ),
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Describe one part of the tars of a folder, such as 2/60, in a task of a job array. When all are "
            "done, the same command without --part merges the index.",
        ),
    ] = None,
    **options: object,
) -> None:
    """Build the index (and, with --tokenizer, the token column) over existing tar shards.

    SHARDS and --out may be at a URL that fsspec reaches; tars there are read once, front to back, and not kept. What
    is left out is listed with its reason in index/left_out.jsonl. New tars are added. Tars that were indexed before
    are to be as they were: one that is not, or is gone, is named with what differs, and the index stays as it is.
    """
    from wdstream.make_shards import index_folder, index_part
    from wdstream.report.progress import ProgressBar
    from wdstream.shards.describe import TarRules
    from wdstream.text.row_forms import DEFAULT_RULES, rules_with_map

    rules = TarRules(
        keys=key, prefix_keys=prefix_keys, skip_bad=skip_bad, rows=rules_with_map(DEFAULT_RULES, map, preset)
    )
    engine = EngineSettings.of(options, are_options=True)
    if part is not None:
        own = _own_part(
            part, {"out": out, "tokenizer": tokenizer, "rebuild": rebuild, "accept_changed": accept_changed}
        )
        with ProgressBar(error_console) as bar:
            on_progress = bar.task("indexing", "bytes")
            done = index_part(shards, own, rules=rules, workers=workers, engine=engine, on_progress=on_progress)
        done.print(console)
        return
    with ProgressBar(error_console) as bar:
        report = index_folder(
            shards,
            tokenizer,
            out=out,
            rules=rules,
            paragraphs=paragraphs,
            allow_tokens=allow_tokens or (),
            workers=workers,
            engine=engine,
            rebuild=rebuild,
            accept_changed=accept_changed,
            on_progress=bar.task("indexing", "bytes"),
        )
    report.print(console)


def _own_part(text: str, of_the_whole: dict[str, object]) -> "WorkPart":
    """The part that `--part` names.

    Raises:
        ConfigError: it names none, or other options are for the whole.
    """
    from wdstream.storage.engines.part import WorkPart

    given = [f"--{name.replace('_', '-')}" for name, value in of_the_whole.items() if value]
    if given:
        raise ConfigError(f"--part and {', '.join(given)}: that is for the whole: give it without --part")
    try:
        return WorkPart.parse(text)
    except ValueError as error:
        raise ConfigError(f"--{error}") from None


@takes_options(EngineSettings)
def lengths_command(
    shards: Annotated[str, typer.Argument(help="Folder or URL of indexed shards.")],
    tokenizer: Annotated[Path, typer.Option(help="Directory with tokenizer.json.")],
    paragraphs: Paragraphs = False,
    allow_tokens: AllowTokens = None,
    workers: Processes = None,
    **options: object,
) -> None:
    """Count the tokens of every page once, for one more tokenizer."""
    from wdstream.make_shards import add_token_column
    from wdstream.report.progress import ProgressBar

    with ProgressBar(error_console) as bar:
        report = add_token_column(
            shards,
            tokenizer,
            paragraphs=paragraphs,
            allow_tokens=allow_tokens or (),
            workers=workers,
            engine=EngineSettings.of(options, are_options=True),
            on_progress=bar.task("counting tokens", "pages"),
        )
    report.print(console)
