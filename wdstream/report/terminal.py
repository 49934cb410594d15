"""A pack in the terminal: the two budgets, then document by document every run of tokens in a line."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from wdstream.report.view import MEANING, DocumentView, Mask, PackView, Run
from wdstream.report.words import counted, edged, one_line, percent, short_ids, shorten, visible

SUPERVISED = "green"
STYLES = {
    Mask.IMAGE: "blue",
    Mask.LABEL: "yellow",
    Mask.GIVEN: "magenta",
    Mask.OPENING: "cyan",
    Mask.FIRST: "cyan",
    Mask.FAILED: "red",
    Mask.GOES_ON: "cyan",
}
SHOWN_TILES = 6
"""Runs of tiles and labels that a document shows at its beginning and again at the end, unless all are asked for."""

BAR_WIDTH = 40


def print_pack(view: PackView, console: Console, *, full: bool = False) -> None:
    """Print a pack.

    Args:
        view: the pack.
        console: where to print.
        full: leave nothing out of long texts and of many tiles.
    """
    console.print(Rule(f"step {view.step}, pack {view.place}", align="left"))
    console.print(_facts(view))
    for document in view.documents:
        console.print()
        console.print(_document(document, full=full))
    if not view.documents:
        console.print("The pack is empty: it fills up the last step of the run (data.tail: pad).")


def _facts(view: PackView) -> RenderableType:
    """The head: budgets, sums, and what the colours mean."""
    bars = Table.grid(padding=(0, 2))
    for name, used, limit in (
        ("tokens", view.num_tokens, view.sequence_length),
        ("patches", view.num_patches, view.max_patches),
    ):
        bar = ProgressBar(total=limit, completed=used, width=BAR_WIDTH)
        bars.add_row(name, bar, f"{used:,} of {limit:,}", percent(used, limit))
    facts = Table.grid(padding=(0, 2))
    facts.add_row("run", _plain(f"{view.config}: {view.siblings}, number {view.number:,} of the run"))
    facts.add_row("model", _plain(f"{view.family.model_dir} ({view.family.name}), tiling {view.tiling}"))
    facts.add_row("content", f"{counted(len(view.documents), 'document')}, {counted(view.num_tiles, 'tile')}")
    facts.add_row("supervised", Text(f"{view.num_supervised:,} tokens", style=SUPERVISED))
    for mask, count in view.masked.items():
        meaning = Text.assemble((f"{count:,} {mask}", STYLES[mask]), f" ({MEANING[mask]})")
        facts.add_row("masked" if mask == next(iter(view.masked)) else "", meaning)
    return Group(bars, facts)


def _document(document: DocumentView, *, full: bool) -> RenderableType:
    """One document: where it comes from, how its images are cut, and its runs."""
    title = Text.assemble((f"{document.place}  ", "bold"), (one_line(document.key), "bold"))
    facts = [
        f"tokens {document.begin}:{document.end} ({document.num_tokens:,}, {document.num_supervised:,} supervised)",
        f"{document.num_patches:,} patches",
        f"{document.shard} row {document.row} of {document.dataset}, sample {document.sample}",
    ]
    lines: list[RenderableType] = [title, _plain("; ".join(facts))]
    for number, image in enumerate(document.images):
        width, height = image.size
        shrunk = "" if document.scale == 64 else f", shrunk to {document.scale}/64 of its sides"
        lines.append(_plain(f"image {number}: {width}x{height}{shrunk}, {image.cut}"))
    if document.failure is not None:
        lines.append(Text(f"failed: {visible(document.failure)}", style=STYLES[Mask.FAILED]))
    return Group(*lines, Padding(_runs(document, full=full), (0, 0, 0, 2)))


def _runs(document: DocumentView, *, full: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("what", overflow="fold")
    table.add_column("loss", no_wrap=True)
    for runs in _parts(document.runs):
        is_long = not full and len(runs) > 2 * SHOWN_TILES + 2
        for run in runs[:SHOWN_TILES] if is_long else runs:
            _add_run(table, run, document, full=full)
        if is_long:
            inner, last = runs[SHOWN_TILES:-SHOWN_TILES], runs[-SHOWN_TILES:]
            tiles, count = sum(run.kind == "image" for run in inner), sum(run.num_tokens for run in inner)
            span = f"{inner[0].begin}:{inner[-1].end}"
            what = Text(f"... {tiles} more tiles and their labels; --full shows them ...", style="dim")
            table.add_row(span, f"{count:,}", what, Text("masked", style="dim"))
            for run in last:
                _add_run(table, run, document, full=full)
    return table


def _parts(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Runs in groups: neighbours that belong to tiles together, every other one for itself."""
    for is_tile, group in groupby(runs, key=lambda run: run.tile is not None):
        members = list(group)
        yield from [members] if is_tile else [[run] for run in members]


def _add_run(table: Table, run: Run, document: DocumentView, *, full: bool) -> None:
    style = SUPERVISED if run.mask is None else STYLES[run.mask]
    loss = "supervised" if run.mask is None else f"masked: {run.mask}"
    what = _what(run, document, style, full=full)
    table.add_row(f"{run.begin}:{run.end}", f"{run.num_tokens:,}", what, Text(loss, style=style))


def _what(run: Run, document: DocumentView, style: str, *, full: bool) -> Text:
    """What a run says, or which tile it stands for."""
    if run.kind == "label":
        return Text(one_line(run.text), style=style)
    if run.kind == "image" and run.tile is not None:
        tile = document.tiles[run.tile]
        width, height = tile.size
        left, top, right, bottom = tile.box
        sizes = f"{width}x{height}"
        if tile.model_size != tile.size:
            sizes += f", to the model {tile.model_size[0]}x{tile.model_size[1]}"
        place = f"{tile.name}: {left},{top} to {right},{bottom} as {sizes}, {tile.num_patches:,} patches; "
        return Text.assemble((one_line(place), style), (short_ids(run.text, full=full), "dim"))
    text = shorten(edged(run.text))
    if full or not text.middle:
        return Text(edged(run.text), style=style)
    return Text.assemble(
        (text.head, style), (f" ... {len(text.middle):,} more characters ... ", "dim"), (text.tail, style)
    )


def _plain(text: str) -> Text:
    """A line in which nothing is markup."""
    return Text(one_line(text))
