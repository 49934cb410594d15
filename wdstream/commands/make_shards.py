"""The commands that write shards or their index: make-shards, index, lengths."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from wdstream.commands import AllowTokens, console, error_console
from wdstream.commands.options import takes_options
from wdstream.make_shards.index_options import IndexOptions
from wdstream.make_shards.options import MakeShardsOptions
from wdstream.storage.engines.settings import ShareSettings

if TYPE_CHECKING:
    from wdstream.make_shards.engines.index_part import IndexPartReport
    from wdstream.make_shards.indexing import FolderReport

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


@takes_options(IndexOptions)
def index_command(
    shards: Annotated[
        str,
        typer.Argument(
            help="Folder or URL of .tar shards, made here or by any other tool; or their names: URL/x-{000..127}.tar."
        ),
    ],
    *,
    key: Annotated[
        Literal["webdataset", "dotted"],
        typer.Option(
            "--key", "--key-rule", help="Where a key ends: at the first dot of a name, or at the last (report.v2.jpg)."
        ),
    ] = "webdataset",
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
    from wdstream.storage.engines.part import WorkPart
    from wdstream.text.row_forms import DEFAULT_RULES, rules_with_map

    chosen = IndexOptions.of(options, are_options=True)
    rows = rules_with_map(DEFAULT_RULES, chosen.map, chosen.preset)
    rules = TarRules(keys=key, prefix_keys=chosen.prefix_keys, skip_bad=chosen.skip_bad, rows=rows)
    with ProgressBar(error_console) as bar:
        on_progress = bar.task("indexing", "bytes")
        if chosen.part is not None:
            report: IndexPartReport | FolderReport = index_part(
                shards,
                WorkPart.parse(chosen.part),
                out=chosen.out,
                rules=rules,
                workers=chosen.workers,
                engine=chosen,
                on_progress=on_progress,
            )
        else:
            report = index_folder(
                shards,
                chosen.tokenizer,
                out=chosen.out,
                rules=rules,
                paragraphs=chosen.paragraphs,
                allow_tokens=chosen.allow_tokens,
                workers=chosen.workers,
                engine=chosen,
                rebuild=chosen.rebuild,
                accept_changed=chosen.accept_changed,
                on_progress=on_progress,
            )
    report.print(console)


@takes_options(ShareSettings)
def lengths_command(
    shards: Annotated[str, typer.Argument(help="Folder or URL of indexed shards.")],
    tokenizer: Annotated[Path, typer.Option(help="Directory with tokenizer.json.")],
    paragraphs: Paragraphs = False,
    allow_tokens: AllowTokens = None,
    workers: Processes = None,
    **options: object,
) -> None:
    """Count the tokens of every page once, for one more tokenizer."""
    from wdstream.make_shards import add_token_column, count_part
    from wdstream.report.progress import ProgressBar

    share = ShareSettings.of(options, are_options=True)
    count = partial(add_token_column, engine=share) if share.part is None else partial(count_part, share=share)
    with ProgressBar(error_console) as bar:
        report = count(
            shards,
            tokenizer,
            paragraphs=paragraphs,
            allow_tokens=allow_tokens or (),
            workers=workers,
            on_progress=bar.task("counting tokens", "pages"),
        )
    report.print(console)
