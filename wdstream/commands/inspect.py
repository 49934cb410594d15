"""The commands that inspect what is there: a run (trace, audit, evaluate), a model (chat, doctor), a tile cache."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wdstream.commands import AllowTokens, AsJson, Overrides, console, error_console
from wdstream.commands.paths import PathsApp
from wdstream.errors import ConfigError

if TYPE_CHECKING:
    from wdstream.train.evaluate.sets import SetReport

RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="Output folder of a training run.")]
CachePath = Annotated[Path, typer.Argument(metavar="PATH", help="Its folder, data.tile_cache.path.")]


def trace_command(
    run: RunDir,
    step: Annotated[int | None, typer.Option(min=0, help="List the pages of this step.")] = None,
    page: Annotated[
        str | None, typer.Option(metavar="NAME", help="List the steps of this page: a key, REPORT.PDF:3, a pattern.")
    ] = None,
    rank: Annotated[int | None, typer.Option(min=0, help="Of a step, the share of this rank only.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the pages of a step: key, shard, byte range, place in the pack; or the steps in which a page was trained on.

    Recomputed from the plan, no log needed.
    """
    from wdstream.runs.page_trace import trace_page
    from wdstream.runs.trace import trace

    if (step is None) == (page is None):
        raise ConfigError("trace: give either --step N, for the pages of a step, or --page NAME, for the steps of one")
    found = trace_page(run, str(page)) if step is None else trace(run, step=step, rank=rank)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
    else:
        found.print(console)


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


def evaluate_command(
    run_or_cfg: Annotated[
        Path, typer.Argument(metavar="RUN|CFG", help="Folder of a finished run, or a YAML configuration.")
    ],
    generate: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="PAGES", help="Pages of each set that the model writes; as configured if left out."
        ),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="The text of a page is cut off after this many.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write what the model wrote there, NAME.jsonl, a line per page.")
    ] = None,
    as_json: AsJson = False,
    step: Annotated[
        str | None,
        typer.Option(
            metavar="N|best|newest|all", help="Of a run, this checkpoint, or all that are kept, and not its final."
        ),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Measure a model on the sets of data.eval: of a run its `final`, of a configuration model.path as it is.

    With --step a checkpoint of the run is measured, finished or not; `all` measures each that is kept.

    With --generate the model also writes the first pages of each set, which gives CER and WER: slow, token by token.
    Several GPUs share the work: accelerate launch --multi_gpu --num_processes 8 -m wdstream evaluate RUN
    """
    from wdstream.train.evaluate.standalone import evaluate_checkpoints, evaluate_finished

    overrides, settings = tuple(set_ or ()), {"generate": generate, "max_new_tokens": max_new_tokens}
    if step is None:
        reports = evaluate_finished(run_or_cfg, overrides, **settings, out=out)
        if reports is not None:
            _show_reports({None: reports}, as_json=as_json)
        return
    by_step = evaluate_checkpoints(run_or_cfg, overrides, **settings, out=out, step=step)
    if by_step is not None:
        _show_reports(by_step, as_json=as_json)


def _show_reports(by_step: "Mapping[Any, Mapping[str, SetReport]]", *, as_json: bool) -> None:
    """Print the reports of each set, by step where they are of checkpoints; else the one is under None."""
    from wdstream.train.watch.summary import describe_eval

    if as_json:
        tree = {step: {name: report.figures() for name, report in found.items()} for step, found in by_step.items()}
        typer.echo(json.dumps(tree.get(None, tree), indent=2))
        return
    for step, reports in by_step.items():
        for name, report in reports.items():
            title = name if step is None else f"step {step}: {name}"
            for line in (f"{title}: {describe_eval(report.figures())}", *report.lines()):
                console.print(line, highlight=False, soft_wrap=True)


def chat_command(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A run, its final/, an exported folder, an adapter, or any model.")
    ],
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Image files, FILE.pdf#3, or keys of pages of --shards.")
    ],
    shards: Annotated[str | None, typer.Option(metavar="SHARDS", help="IMAGE is a key of these shards.")] = None,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Ask this of each page, in the model's chat template."),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The text of a page is cut off after this many.")] = 512,
    step: Annotated[
        str | None, typer.Option(metavar="N|best|newest", help="Of a run, this checkpoint, and not its final.")
    ] = None,
    set_: Overrides = None,
) -> None:
    """Have a model write what it reads on pages, to look at; `evaluate --generate` measures it.

    Pages are cut, labelled and encoded as in training, and the model continues, the most likely token each time, where
    a page has its text. Each image is a page of its own.
    """
    from wdstream.train.evaluate.chat import chat

    replies = chat(
        model,
        images,
        shards=shards,
        prompt=prompt,
        max_new_tokens=max_new_tokens,
        step=step,
        overrides=tuple(set_ or ()),
    )
    for reply in replies:
        if len(images) > 1:
            console.print(f"{reply.name}:", highlight=False, soft_wrap=True)
        console.print(reply.text, highlight=False, soft_wrap=True)
        if reply.is_cut:
            error_console.print(
                f"{reply.name}: cut off after {max_new_tokens} tokens; --max-new-tokens allows more",
                highlight=False,
                soft_wrap=True,
            )


def doctor_command(
    model_dir: Annotated[Path, typer.Argument(help="Folder of a model: config, tokenizer, image processor.")],
    family: Annotated[str | None, typer.Option(help="Model family; read from config.json when left out.")] = None,
    attn: Annotated[
        str, typer.Option(help="Attention implementation to prove: sdpa, eager or flex_attention.")
    ] = "sdpa",
    allow_missing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Weights that the checkpoint may lack, as model.allow_missing; repeatable."
        ),
    ] = None,
    allow_unexpected: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Weights that may be left out, as model.allow_unexpected; repeatable."),
    ] = None,
    allow_tokens: AllowTokens = None,
) -> None:
    """Prove a model: whole weights, planned lengths equal to its processor's, packed documents equal to unpacked ones.

    Takes under a minute on a CPU, and the time to read the weights once: for the packing the model's shape is cut to
    two layers with random weights, since masks and positions do not depend on values. Exit status 1 when a check fails.
    """
    from wdstream.proofs.doctor import run_doctor

    report = run_doctor(
        model_dir,
        family=family,
        attn=attn,
        allow_missing=allow_missing or (),
        allow_unexpected=allow_unexpected or (),
        allow_tokens=allow_tokens or (),
    )
    report.print(console)
    if not report.ok:
        raise typer.Exit(1)


cache_app = PathsApp(no_args_is_help=True, help="Look at a tile cache (data.tile_cache), or make it smaller.")


@cache_app.command("info")
def cache_info_command(path: CachePath) -> None:
    """Images and bytes of each policy: a tiling, a way of decoding, versions of the libraries that compute pixels."""
    from wdstream.pixels.cache_usage import cache_info

    cache_info(path).print(console)


@cache_app.command("prune")
def cache_prune_command(
    path: CachePath,
    max_bytes: Annotated[
        int | None, typer.Option(min=0, help="Keep this many bytes, of the policies used last; 0 removes all.")
    ] = None,
) -> None:
    """Remove the entries of all policies but the one used last, or of as many as --max-bytes asks.

    Safe while runs use the cache: what they miss, they cut again.
    """
    from wdstream.pixels.cache_usage import prune_cache

    prune_cache(path, max_bytes=max_bytes).print(console)
