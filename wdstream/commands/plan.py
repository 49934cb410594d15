"""The commands that compute from a configuration, and train nothing: plan, digest, show, where."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wdstream.commands import AsJson, ConfigOrRun, Overrides, console
from wdstream.errors import ConfigError
from wdstream.text.characters import printable

if TYPE_CHECKING:
    from wdstream.config.schema import Config
    from wdstream.pipeline.planned import Plan
    from wdstream.plan.summary import PlanSummary
    from wdstream.records import Failure


def read_config(cfg: Path, overrides: list[str] | None) -> "Config":
    """The configuration of a command line: of a file, or that of a run's last start.

    Raises:
        ConfigError: it cannot be read, or is not one; or other settings were given for a run that has its own.
        TrainError: there is no run in the folder.
    """
    if cfg.is_dir():
        from wdstream.runs.record import read_run

        if overrides:
            raise ConfigError(f"--set {overrides[0]}: {cfg} is a run and has its settings; give a YAML file instead")
        return read_run(cfg).config
    from wdstream.config.schema import load_config

    return load_config(cfg, tuple(overrides or ()))


def plan_command(
    cfg: ConfigOrRun,
    set_: Overrides = None,
    world: Annotated[int, typer.Option(min=1, help="Ranks for which balance is reported.")] = 1,
    as_json: AsJson = False,
    rejects: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the pages that are left out, shrunk or split as JSON lines."),
    ] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Estimate what each of --world GPUs needs instead.")] = False,
    gpu_gib: Annotated[float | None, typer.Option(min=1, help="Of a GPU, for --memory; train.gpu_gib or 80.")] = None,
) -> None:
    """Dry-run an epoch without touching a pixel: pages, packs, steps, fill, rejects, balance.

    With --memory, say what the run needs of each GPU under DDP, FSDP2 and ZeRO, and which micro_batch_size fits.
    Exit status 1 when nothing could be trained.
    """
    from wdstream.config.build import plan_from_config
    from wdstream.pipeline.planned import write_rejects
    from wdstream.pipeline.totals import SMALL_COUNT, keep_total

    if memory and rejects is not None:
        raise ConfigError("--rejects lists what the plan leaves out, and --memory makes no plan: leave one out")
    if gpu_gib is not None and not memory:
        raise ConfigError("--gpu-gib means nothing without --memory: leave it out, or add --memory")
    config = read_config(cfg, set_)
    if config.model.kernels != "none":
        from wdstream.train.model.kernels import require_kernels

        require_kernels(config.model)
    if memory:
        print_estimate(config, world=world, gpu_gib=gpu_gib or config.train.gpu_gib or 80, as_json=as_json)
        return
    if rejects is not None and not rejects.absolute().parent.is_dir():
        raise ConfigError(f"--rejects {rejects}: there is no folder {rejects.absolute().parent}")
    plan = plan_from_config(config)
    summary = plan.summary(world_size=world)
    length = full_length(config, plan)
    if summary.total_steps is not None and summary.samples > SMALL_COUNT:
        trouble = keep_total(plan, summary.total_steps)
        if trouble is not None:
            typer.echo(printable(trouble), err=True)
    if as_json:
        rows = {} if length is None else {"row_length": length, "padding": summary.padding(length)}
        typer.echo(json.dumps(summary.as_dict() | rows, indent=2))
    else:
        summary.print(console)
        if length is not None:
            console.print(f"data.pad_to: full: rows of {length:,} tokens, {summary.padding(length):.2%} are padding")
            console.print(padded_share(config, plan, summary))
            console.print(document_limits(config, summary))
    if rejects is not None:
        console.print(f"{write_rejects(plan, rejects)} pages left out, shrunk or split, listed in {rejects}")
    summary.require_steps(config.data.global_batch_size)


def print_estimate(config: "Config", *, world: int, gpu_gib: float, as_json: bool) -> None:
    """What `plan --memory` prints."""
    from wdstream.config.build import family_from_config
    from wdstream.train.memory.estimate import estimate_memory
    from wdstream.train.memory.table import print_memory

    estimate = estimate_memory(config, family_from_config(config), world=world, gpu_gib=gpu_gib)
    if as_json:
        typer.echo(json.dumps(estimate.as_dict(), indent=2))
    else:
        print_memory(estimate, console)


def padded_share(config: "Config", plan: "Plan", summary: "PlanSummary") -> str:
    """How many patches of rows of one length are padding."""
    from wdstream.train.step.blank import row_patches

    patches = row_patches(plan.family, config.data.max_patches)
    if patches is None:
        return f"data.pad_to: full: images as many as there are: family {plan.family.name} takes none of padding"
    share = 1 - summary.patches / (max(summary.packs, 1) * patches)
    return f"data.pad_to: full: {patches:,} patches for each row, {share:.2%} are padding"


def document_limits(config: "Config", summary: "PlanSummary") -> str:
    """For how many documents rows of one length have limits."""
    from wdstream.train.step.blank import row_documents

    most, mean = row_documents(config), f"packs have {summary.pages_per_pack:.1f} on average"
    if most is None:
        return f"data.pad_to: full: limits of documents in multiples of 64, as model.attn is flash; {mean}"
    return f"data.pad_to: full: limits of {most:,} documents for each row; {mean}, and the others have no tokens"


def full_length(config: "Config", plan: "Plan") -> int | None:
    """Tokens of every row where `data.pad_to` is full."""
    if config.data.pad_to != "full":
        return None
    from wdstream.train.step.blank import row_length

    return row_length(plan.family, config.data.sequence_length)


def digest_command(
    cfg: ConfigOrRun,
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
        text = f"step {step}: page {failure.key!r} failed and is blank in the digest: {failure.reason}"
        typer.echo(printable(text), err=True)

    config, wanted = read_config(cfg, set_), parse_steps(steps)
    lines = digest(config, steps=wanted, world=world, workers=workers, resume_at=resume_at, on_failure=warn)
    for step, sha256 in lines:
        typer.echo(f"{step} {sha256}")


def parse_steps(text: str) -> range:
    """The steps that FROM:TO names.

    Raises:
        ConfigError: the text is not of this form.
    """
    start, colon, stop = text.partition(":")
    if not (colon and start.isdigit() and stop.isdigit()):
        raise ConfigError(f"--steps {text}: expected FROM:TO with two whole numbers, such as 0:20")
    return range(int(start), int(stop))


def show_command(
    cfg: ConfigOrRun,
    step: Annotated[int, typer.Option(min=0, help="Step of the run.")] = 0,
    pack: Annotated[int, typer.Option(min=0, help="Pack of the step.")] = 0,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one HTML file, with previews of the tiles, instead.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Leave nothing out of long texts and of many tiles.")] = False,
    set_: Overrides = None,
) -> None:
    """Show a pack token by token: documents, tiles, what is supervised, what is masked and why.

    The pack is built as in training, whatever the number of ranks. Steps and packs are numbered from 0.
    """
    from wdstream.report.explain import show_pack

    view = show_pack(read_config(cfg, set_), cfg, step=step, pack=pack)
    if html is None:
        from wdstream.report.terminal import print_pack

        print_pack(view, console, full=full)
    else:
        from wdstream.report.html import write_html
        from wdstream.report.words import counted

        write_html(view, html, full=full)
        console.print(f"step {step}, pack {pack}: {counted(len(view.documents), 'document')} in {html}")


def where_command(
    cfg: ConfigOrRun,
    key: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A key, a raw file, REPORT.PDF:3, a pattern, a beginning of keys; or a part of a page that is split: "
            "'scans/7 part 2/3'.",
        ),
    ],
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Steps to look through; the whole run when left out.")
    ] = None,
    as_json: AsJson = False,
    set_: Overrides = None,
) -> None:
    """Say in which steps a page comes, or why the plan leaves it out; of a run also whether it failed there.

    Of a page that is split (data.overlength), all parts are listed; for one alone, give the name that trace and show
    print.
    """
    from wdstream.runs.page_trace import with_remarks
    from wdstream.runs.record import read_run
    from wdstream.runs.where import where

    found = where(read_config(cfg, set_), key, max_steps=max_steps)
    if cfg.is_dir():
        found = with_remarks(found, read_run(cfg))
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
    else:
        found.print(console)
