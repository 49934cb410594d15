"""The commands that write whole sets of shards again: reshard."""

from pathlib import Path
from typing import Annotated

import typer

from wdstream.commands import console, error_console
from wdstream.commands.options import takes_options
from wdstream.curation.reshard_options import ReshardOptions


@takes_options(ReshardOptions)
def reshard_command(
    shards: Annotated[list[str], typer.Argument(metavar="SHARDS...", help="Folders or URLs of indexed shards.")],
    out: Annotated[Path, typer.Argument(help="Folder for the new shards and their index.")],
    **options: object,
) -> None:
    """Write pages of indexed shards into new shards: of another size, chosen, sorted, shuffled, or uniform.

    Images and texts are copied byte by byte, and token counts with them. Killed and started again, it continues and
    ends with the same bytes. At the end every page is compared with the input.
    """
    from wdstream.curation.reshard import reshard
    from wdstream.report.progress import ProgressBar

    chosen = ReshardOptions.of(options, are_options=True)
    with ProgressBar(error_console) as bar:
        report = reshard(shards, out, options=chosen, on_progress=bar.task("writing shards", "pages"))
    report.print(console)
