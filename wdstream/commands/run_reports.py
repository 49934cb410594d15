"""The commands of `wdstream run`: what a training run has written down, to look at."""

import json
from typing import Annotated

import typer

from wdstream.commands import AsJson, console
from wdstream.commands.inspect import RunDir
from wdstream.commands.paths import PathsApp
from wdstream.errors import ConfigError

run_app = PathsApp(
    no_args_is_help=True,
    help="Look at a training run: its figures, the loss of its pages, its checkpoints; or go back to one.",
)


@run_app.command("show")
def run_show_command(run: RunDir, as_json: AsJson = False) -> None:
    """Show how a run is doing: loss, learning rate, gradient norm, speed and evaluations as small curves.

    Of a run that lives, or that has ended; with --json all values.
    """
    from wdstream.report.run_curves import run_curves

    found = run_curves(run)
    if as_json:
        typer.echo(json.dumps(found.figures(), indent=2))
    else:
        found.print(console)


@run_app.command("losses")
def run_losses_command(
    run: RunDir,
    step: Annotated[
        str | None, typer.Option(metavar="A-B", help="Of these steps only; one number for a single step.")
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="As many lines, the highest loss first; 0 prints all.")] = 20,
    by: Annotated[
        str | None,
        typer.Option(metavar="page|dataset|NAME", help="Means over groups: of a page over its epochs, of metadata."),
    ] = None,
    min_tokens: Annotated[
        int, typer.Option(min=1, help="Leave out what has fewer supervised tokens; a mean over few says little.")
    ] = 1,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the pages of a run with the highest loss, which are worth a look: wrong texts, pages hard to read.

    Needs a run with train.record_losses. The losses are those of the moment: early steps have higher ones, so compare
    within a range of steps, or over whole epochs with --by page.
    """
    from wdstream.report.losses import losses_as_csv, losses_as_json, print_losses
    from wdstream.runs.loss_report import report_losses

    if as_csv and as_json:
        raise ConfigError("run losses: give either --csv or --json")
    first, last = step_range(step)
    report = report_losses(run, first=first, last=last, worst=worst or None, by=by, least=min_tokens)
    if as_csv:
        typer.echo(losses_as_csv(report), nl=False)
    elif as_json:
        typer.echo(losses_as_json(report))
    else:
        print_losses(report, console)


def step_range(text: str | None) -> tuple[int, int | None]:
    """First and last step of `A-B`, or of one number; None is all steps.

    Raises:
        ConfigError: it is neither.
    """
    if text is None:
        return 0, None
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(first) > int(last)):
        raise ConfigError(f"--step {text}: expected a step, such as 500, or the first and last of several, 500-599")
    return int(first), int(last or first)
