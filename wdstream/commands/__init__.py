"""The `wdstream` command, one file per group: making shards, planning a run, inspecting what is there, the demo.

What a command needs is imported when it runs, so that --help answers at once. This module holds what they share.
"""

from pathlib import Path
from typing import Annotated

import typer

from wdstream.report.console import PrintableConsole

console = PrintableConsole(markup=False, emoji=False)  # keys and paths may contain brackets and colons
error_console = PrintableConsole(stderr=True)


ConfigOrRun = Annotated[
    Path,
    typer.Argument(
        metavar="CFG|RUN",
        help="YAML configuration of the run, see configs/; or its folder, for that of its last start.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as data.seed=1; repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for scripts.")]
AllowTokens = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-token",
        metavar="TOKEN",
        help="An added token that text may form, as text.allow_tokens of a configuration; repeatable.",
    ),
]
