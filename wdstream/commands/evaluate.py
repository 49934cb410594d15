"""`wdstream evaluate`: loss, and CER and WER when asked for, of a finished model; app.py registers it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from wdstream.commands.inspect import Overrides, console


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
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="A page's text is cut off there.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write what the model wrote there, NAME.jsonl, a line a page.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
    set_: Overrides = None,
) -> None:
    """Measure a model on the sets of data.eval: of a run its `final`, of a configuration model.path as it stands.

    With --generate the model also writes the first pages of each set, which gives CER and WER: slow, token by token.
    Several GPUs share the work: accelerate launch --multi_gpu --num_processes 8 -m wdstream evaluate RUN
    """
    from wdstream.train.evaluate.standalone import evaluate_finished, open_finished
    from wdstream.train.metrics import describe_eval

    finished = open_finished(run_or_cfg, tuple(set_ or ()), generate=generate, max_new_tokens=max_new_tokens)
    reports = evaluate_finished(finished, out=out)
    if not finished.is_main:
        return
    if as_json:
        figures = {name: report.figures() for name, report in reports.items()}
        typer.echo(json.dumps(figures, indent=2, ensure_ascii=False))
        return
    for name, report in reports.items():
        for line in (f"{name}: {describe_eval(report.figures())}", *report.lines()):
            console.print(line, highlight=False, soft_wrap=True)
