"""The command that looks for damage: verify."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from wdstream.commands import AsJson, console, error_console
from wdstream.commands.options import takes_options
from wdstream.errors import WdstreamError
from wdstream.storage.addresses import shown_url, without_passwords
from wdstream.verify.options import VerifyOptions

if TYPE_CHECKING:
    from wdstream.verify.findings import VerifyReport


@takes_options(VerifyOptions)
def verify_command(
    shards: Annotated[str, typer.Argument(help="Folder of shards, or a URL of some with an index.")],
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for what is to be looked at, too.")] = False,
    as_json: AsJson = False,
    **options: object,
) -> None:
    """Read shards from end to end, and say whether they are what was written and fit to train on.

    Tars, checksums, the index and its columns, images, duplicate pages, odd text. Nothing is changed. Exit status 1
    when anything is damaged, or cannot be read. A part of the check (--part) ends with 0 whatever it finds; --merge
    tells it.
    """
    chosen = VerifyOptions.of(options, are_options=True)
    if chosen.part is not None:
        _verify_part(shards, chosen)
        return
    try:
        report = _verify(shards, chosen)
    except (WdstreamError, OSError) as error:  # a script that asked for JSON gets it whatever happens
        if as_json:
            typer.echo(json.dumps({"path": shown_url(shards), "error": without_passwords(str(error))}, indent=2))
        raise
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
    else:
        report.print(console)
    if report.num_damaged or report.num_unread or (strict and report.num_doubtful):
        raise typer.Exit(1)


def _verify(shards: str, options: VerifyOptions) -> "VerifyReport":
    from wdstream.report.progress import ProgressBar
    from wdstream.verify.job import verify_shards

    with ProgressBar(error_console) as bar:
        return verify_shards(shards, options=options, on_progress=bar.task("verifying", "bytes"))


def _verify_part(shards: str, options: VerifyOptions) -> None:
    from wdstream.report.progress import ProgressBar
    from wdstream.verify.job import verify_part

    with ProgressBar(error_console) as bar:
        done = verify_part(shards, options=options, on_progress=bar.task("verifying", "bytes"))
    done.print(console)
