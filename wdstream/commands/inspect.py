"""The commands that look and change nothing: plan, digest, show, trace, where, audit, doctor; app.py registers them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from wdstream.errors import ConfigError

if TYPE_CHECKING:
    from wdstream.config.schema import Config
    from wdstream.records import Failure

console = Console(markup=False, emoji=False)  # keys and paths may hold brackets and colons
ConfigFile = Annotated[Path, typer.Argument(metavar="CFG", help="YAML configuration of the run, see configs/.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as data.seed=1; repeatable."),
]


def read_config(cfg: Path, overrides: list[str] | None) -> "Config":
    """The configuration of a command line.

    Raises:
        ConfigError: it cannot be read, or is not one.
    """
    from wdstream.config.schema import load_config

    return load_config(cfg, tuple(overrides or ()))


def plan_command(
    cfg: ConfigFile,
    set_: Overrides = None,
    world: Annotated[int, typer.Option(min=1, help="Ranks for which balance is reported.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    rejects: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the pages that are left out, shrunk or split as JSON lines."),
    ] = None,
) -> None:
    """Dry-run an epoch without touching a pixel: pages, packs, steps, fill, rejects, balance."""
    from wdstream.pipeline.planned import plan_from_config

    plan = plan_from_config(read_config(cfg, set_))
    summary = plan.summary(world_size=world)
    if as_json:
        typer.echo(json.dumps(summary.as_dict(), indent=2))
    else:
        summary.print(console)
    if rejects is not None:
        from wdstream.pipeline.planned import write_rejects

        console.print(f"{write_rejects(plan, rejects)} pages left out, shrunk or split, listed in {rejects}")


def digest_command(
    cfg: ConfigFile,
    steps: Annotated[str, typer.Option(metavar="FROM:TO", help="Steps to compute, TO exclusive.")] = "0:20",
    world: Annotated[int, typer.Option(min=1, help="Ranks that share each step.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Threads of each rank's loader.")] = 2,
    resume_at: Annotated[
        int | None, typer.Option(metavar="STEP", help="Stop before this step and resume from the saved state.")
    ] = None,
    set_: Overrides = None,
) -> None:
    """Print `step sha256` over ids, labels, positions and pixels of each step's packs.

    The lines are the same for every --world, --workers and --resume-at: that is the promise of the plan. A page that
    fails is named on standard error.
    """
    from wdstream.runs.digest import digest

    def warn(step: int, failure: "Failure") -> None:
        typer.echo(f"step {step}: page {failure.key!r} failed and is blank in the digest: {failure.reason}", err=True)

    config, wanted = read_config(cfg, set_), _parse_range(steps)
    lines = digest(config, steps=wanted, world=world, workers=workers, resume_at=resume_at, on_failure=warn)
    for step, sha256 in lines:
        typer.echo(f"{step} {sha256}")


def _parse_range(text: str) -> range:
    start, colon, stop = text.partition(":")
    if not (colon and start.isdigit() and stop.isdigit()):
        raise ConfigError(f"--steps {text}: expected FROM:TO with two whole numbers, such as 0:20")
    return range(int(start), int(stop))


def show_command(
    cfg: ConfigFile,
    step: Annotated[int, typer.Option(min=0, help="Step of the run.")] = 0,
    pack: Annotated[int, typer.Option(min=0, help="Pack of the step.")] = 0,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one HTML file, with the pictures of the tiles, instead.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Leave nothing out of long texts and of many tiles.")] = False,
    set_: Overrides = None,
) -> None:
    """Show a pack token by token: documents, tiles, what is supervised, what is masked and why.

    The pack is built as in training, whatever the number of ranks. Steps and packs are numbered from 0.
    """
    from wdstream.report.show import show_pack

    view = show_pack(read_config(cfg, set_), cfg, step=step, pack=pack)
    if html is None:
        from wdstream.report.terminal import print_pack

        print_pack(view, console, full=full)
    else:
        from wdstream.report.html import write_html
        from wdstream.report.words import counted

        write_html(view, html, full=full)
        console.print(f"step {step}, pack {pack}: {counted(len(view.documents), 'document')} in {html}")


RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="Output folder of a training run.")]


def trace_command(
    run: RunDir,
    step: Annotated[int, typer.Option(min=0, help="Step of the run.")],
    rank: Annotated[int | None, typer.Option(min=0, help="This rank's part only.")] = None,
) -> None:
    """List the pages of a step: key, shard, byte range, place in the pack. Recomputed from the plan, no log needed."""
    from wdstream.runs.trace import trace

    trace(run, step=step, rank=rank).print(console)


def where_command(
    cfg: ConfigFile,
    key: Annotated[
        str, typer.Argument(help="Key of a page, or name of a part of one that is split: 'scans/7 part 2/3'.")
    ],
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Steps to look through; the whole run when left out.")
    ] = None,
    set_: Overrides = None,
) -> None:
    """Say in which steps a page comes, or why the plan leaves it out.

    Of a page that is split (data.overlength), all parts are listed; one alone is asked for by the name that trace and
    show print.
    """
    from wdstream.runs.where import where

    where(read_config(cfg, set_), key, max_steps=max_steps).print(console)


def audit_command(run: RunDir) -> None:
    """Prove that the pages trained are the pages planned less those quarantined, whatever happened to the run.

    Every step is recomputed and compared with what the ranks recorded. Exit status 1 when anything differs, which is
    then named.
    """
    from wdstream.runs.audit import audit

    report = audit(run)
    report.print(console)
    if not report.is_clean:
        raise typer.Exit(1)


def doctor_command(
    model_dir: Annotated[Path, typer.Argument(help="Local checkpoint directory.")],
    family: Annotated[str | None, typer.Option(help="Model family; read from config.json when left out.")] = None,
    attn: Annotated[
        str, typer.Option(help="Attention implementation to prove: sdpa, eager or flex_attention.")
    ] = "sdpa",
) -> None:
    """Prove a checkpoint: planned lengths equal its processor's, packed documents equal unpacked ones, none leaks.

    Takes under a minute on a CPU: the model's shape is cut to two layers with random weights, since masks and
    positions do not depend on values. Exit status 1 when a check fails.
    """
    from wdstream.proofs.doctor import run_doctor

    report = run_doctor(model_dir, family=family, attn=attn)
    report.print(console)
    if not report.ok:
        raise typer.Exit(1)
