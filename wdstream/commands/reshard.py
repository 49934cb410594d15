"""The commands that write whole sets of shards again: reshard, dedup, export."""

from pathlib import Path
from typing import Annotated

import typer

from wdstream.commands import console, error_console
from wdstream.commands.options import takes_options
from wdstream.commands.paths import PathsApp
from wdstream.curation.deduplication.dedup_options import DedupOptions
from wdstream.curation.export.options import ExportOptions, TableFormat
from wdstream.curation.resharding.reshard_options import ReshardOptions
from wdstream.errors import ConfigError
from wdstream.storage.places import local_folder

InputFolders = Annotated[list[str], typer.Argument(metavar="SHARDS...", help="Folders or URLs of indexed shards.")]
OneFolder = Annotated[str, typer.Argument(help="Folder or URL of indexed shards.")]
NewFolder = Annotated[str, typer.Argument(help="A new folder, or a URL of a store.")]


@takes_options(ReshardOptions)
def reshard_command(
    shards: InputFolders,
    out: Annotated[str, typer.Argument(help="Folder or URL for the new shards and their index.")],
    **options: object,
) -> None:
    """Write pages of indexed shards into new shards: of another size, chosen, sorted, shuffled, or uniform.

    Images and texts are copied byte by byte, and token counts with them. Killed and started again, it continues and
    ends with the same bytes. At the end every page is compared with the input.
    """
    from wdstream.curation.resharding.reshard import reshard, reshard_part
    from wdstream.report.progress import ProgressBar

    chosen = ReshardOptions.of(options, are_options=True)
    make = reshard if chosen.part is None else reshard_part
    with ProgressBar(error_console) as bar:
        report = make(shards, out, options=chosen, on_progress=bar.task("writing shards", "pages"))
    report.print(console)


@takes_options(DedupOptions)
def dedup_command(
    shards: InputFolders,
    *,
    report: Annotated[str, typer.Option(help="File or URL for the list of copies.")] = "duplicates.jsonl",
    out: Annotated[
        str | None,
        typer.Option(help="Folder or URL: write shards without the copies here, too, as `wdstream reshard` does."),
    ] = None,
    **options: object,
) -> None:
    """List pages that are copies of others, byte for byte or nearly, all but one of each. Nothing else is changed.

    The list names each copy, the page that stays for it, and how far apart they are. Killed and started again, it
    continues with the shards that it has not read yet.
    """
    from wdstream.curation.deduplication.dedup import dedup, dedup_part
    from wdstream.curation.resharding.job_folder import JobFolder
    from wdstream.curation.resharding.reshard import reshard
    from wdstream.report.progress import ProgressBar

    chosen, listed = DedupOptions.of(options, are_options=True), local_folder(report) or report
    if chosen.part is not None:
        with ProgressBar(error_console) as bar:
            dedup_part(shards, listed, options=chosen, on_progress=bar.task("comparing", "pages")).print(console)
        return
    folder = None if out is None else local_folder(out)
    if folder is not None:  # before all pages are read
        JobFolder(out=folder, job="reshard").refuse_inside(shards)
    with ProgressBar(error_console) as bar:
        found = dedup(shards, listed, options=chosen, on_progress=bar.task("comparing", "pages"))
    found.print(console)
    if out is not None:
        without = ReshardOptions(exclude_list=str(listed), workers=chosen.workers, engine=chosen.engine)
        with ProgressBar(error_console) as bar:
            written = reshard(shards, out, options=without, on_progress=bar.task("writing shards", "pages"))
        written.print(console)


export_app = PathsApp(
    help="Write shards in the formats of others: tables for datasets, an index for energon.", no_args_is_help=True
)


@export_app.command("parquet")
@takes_options(ExportOptions)
def export_parquet_command(shards: OneFolder, out: NewFolder, **options: object) -> None:
    """Write parquet files with the images in them, for `datasets.load_dataset` and pyarrow.

    Columns are key, image or images, text, content or messages, and one for each name of the metadata. Killed and
    started again, it continues.
    """
    _export_tables(shards, out, "parquet", options)


@export_app.command("datasets")
@takes_options(ExportOptions)
def export_datasets_command(shards: OneFolder, out: NewFolder, **options: object) -> None:
    """Write a folder for `datasets.load_from_disk`: Arrow files with the images in them, mapped into memory there.

    Columns are those of `export parquet`. Killed and started again, it continues.
    """
    _export_tables(shards, out, "datasets", options)


def _export_tables(shards: str, out: str, kind: TableFormat, options: dict[str, object]) -> None:
    from wdstream.curation.export.tables import export_tables
    from wdstream.report.progress import ProgressBar

    chosen = ExportOptions.of(options, are_options=True)
    with ProgressBar(error_console) as bar:
        report = export_tables(shards, out, kind, options=chosen, on_progress=bar.task("exporting", "pages"))
    report.print(console)


@export_app.command("energon")
def export_energon_command(
    shards: OneFolder,
    out: Annotated[
        Path | None, typer.Argument(help="Copy the shards here first; without, files are written next to the tars.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; all cores when left out.")] = None,
) -> None:
    """Write what megatron-energon wants next to the tars, so that `energon prepare` is not needed.

    Everything is in SHARDS/.nv-meta, with a cooker to begin with; the tars are not touched.
    """
    from wdstream.curation.export.energon import export_energon, refuse_held_out
    from wdstream.curation.resharding.reshard import reshard
    from wdstream.report.progress import ProgressBar

    if out is None and "://" in shards:
        raise ConfigError(f"{shards}: files are written next to the tars; give a new folder OUT, to copy the shards to")
    refuse_held_out(shards)
    with ProgressBar(error_console) as bar:
        if out is not None:
            copied = bar.task("writing shards", "pages")
            reshard([shards], out, options=ReshardOptions(workers=workers), on_progress=copied)
        report = export_energon(out or Path(shards), workers=workers, on_progress=bar.task("listing", "pages"))
    report.print(console)
