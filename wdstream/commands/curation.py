"""The commands for whole sets: info, split, and for single pages of them: extract."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wdstream.commands import AsJson, console, error_console
from wdstream.commands.options import takes_options
from wdstream.curation.split_options import SplitOptions
from wdstream.storage.addresses import shown_url
from wdstream.text.characters import one_line, printable

if TYPE_CHECKING:
    from wdstream.curation.info import InfoReport
    from wdstream.curation.token_names import NamedTokens

Sets = Annotated[
    list[str],
    typer.Argument(metavar="SHARDS...", help="Folders or URLs of shards with an index, or one YAML configuration."),
]


def info_command(
    shards: Sets,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="List this many of the most frequent values.")] = 10,
    tokens: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Read texts, too, and count which added tokens of this model they name."),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, metavar="N", help="With --tokens: texts of this many pages of each set are read.")
    ] = 1000,
    as_json: AsJson = False,
) -> None:
    """Say what is in sets of shards: pages, sizes, texts, sources, metadata, and what was quarantined.

    Of each set, and of all together. Only the indexes are read, no tar: of 10 million pages in seconds. Of a
    configuration, all sets of data.train and data.eval.
    """
    from wdstream.curation.info import info
    from wdstream.report.set_info import print_info, print_tokens

    report = info(_named_paths(shards))
    named = {} if tokens is None else _named_tokens(report, tokens, sample)
    if as_json:
        more = {} if tokens is None else {"added_tokens": {name: found.as_dict() for name, found in named.items()}}
        typer.echo(json.dumps(report.as_dict(top=top) | more, indent=2))
        return
    print_info(report, console, top=top)
    for name, found in named.items():
        print_tokens(name, found, console, top=top)


def _named_tokens(report: "InfoReport", model: Path, sample: int) -> "dict[str, NamedTokens]":
    """Which added tokens of a model the texts of each set name, by its path."""
    from wdstream.curation.token_names import TokenNames
    from wdstream.report.progress import ProgressBar
    from wdstream.shards.reader import Shards

    names, found = TokenNames(model), {}
    with ProgressBar(error_console) as bar:
        for each in report.sets:
            assert each.path is not None, "the total alone has none"
            found[each.path] = names.count(Shards.open(each.path), sample, bar.task(each.name, "pages"))
    return found


def extract_command(
    shards: Annotated[str, typer.Argument(help="Folder or URL of shards with an index.")],
    keys: Annotated[
        list[str],
        typer.Argument(metavar="KEY...", help="Keys; or raw files, REPORT.PDF:3, patterns, beginnings of keys."),
    ],
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Folder or URL to write to; - prints the texts of the pages instead.")
    ] = ".",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    max_pages: Annotated[int, typer.Option(min=1, help="Refuse to extract more pages than this.")] = 1000,
) -> None:
    """Write the image, text and json of pages as files, byte for byte as they are stored: DIR/KEY.jpg, DIR/KEY.txt, ...

    Exit status 1 when a page is damaged, which is named.
    """
    from wdstream.curation.extract import choose_pages, extract_pages, texts_of
    from wdstream.report.progress import ProgressBar
    from wdstream.shards.reader import Shards

    opened = Shards.open(shards)
    with ProgressBar(error_console) as bar:
        chosen = choose_pages(opened, keys, most=max_pages, on_progress=bar.task("looking for keys", "shards"))
    for line in chosen.remarks:
        error_console.print(line, highlight=False, soft_wrap=True)
    damaged, is_text, rows = False, out == "-", chosen.rows
    pages = texts_of(opened, rows) if is_text else extract_pages(opened, rows, out, overwrite=overwrite)
    for page in pages:
        damaged |= bool(page.trouble)
        if is_text and not page.trouble:
            typer.echo(printable(page.text) if sys.stdout.isatty() else page.text)
            continue
        told = page.trouble or ", ".join(page.files)
        (error_console if page.trouble else console).print(
            one_line(f"{page.key}: {told}"), highlight=False, soft_wrap=True
        )
    if damaged:
        raise typer.Exit(1)


def _named_paths(shards: list[str]) -> list[tuple[str, str]]:
    """Name and path of each set; of a configuration, its own names.

    Raises:
        ConfigError: a configuration cannot be read, or is not one.
    """
    from wdstream.config.build import sets_of
    from wdstream.config.schema import load_config

    named: list[tuple[str, str]] = []
    for path in (given.rstrip("/") or given for given in shards):
        is_config = path.endswith((".yaml", ".yml")) and Path(path).is_file()
        named += (
            sets_of(load_config(Path(path), is_trained=False))
            if is_config
            else [(Path(shown_url(path)).name or path, path)]
        )
    return named


@takes_options(SplitOptions)
def split_command(
    shards: Annotated[str, typer.Argument(help="Folder or URL of shards with an index.")], **options: object
) -> None:
    """Hold pages out of training, document by document, for evaluation; or show what is held out.

    Only the index changes, no shard. data.train reads all other pages from then on, and an entry of data.eval with
    `split: held_out` those. Pages that are added later go by the same rule, and move none that are there.
    """
    from wdstream.curation.split import split_shards

    split_shards(shards, SplitOptions.of(options, are_options=True)).print(console)
