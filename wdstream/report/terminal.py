"""A pack in the terminal: the two budgets, then document by document every span of tokens in a line."""

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wdstream.report.view import MASK_MEANINGS, DocumentView, Mask, PackView, Span, span_groups
from wdstream.report.words import counted, edged, percent, short_ids, shorten
from wdstream.text.characters import one_line, printable

SUPERVISED = "green"
STYLES = {
    Mask.IMAGE: "blue",
    Mask.LABEL: "yellow",
    Mask.PROMPT: "magenta",
    Mask.OPENING: "cyan",
    Mask.FIRST: "cyan",
    Mask.FAILED: "red",
    Mask.CONTINUES: "cyan",
}
BAR_WIDTH = 40


def print_pack(view: PackView, console: Console, *, full: bool = False) -> None:
    """Print a pack.

    Args:
        view: the pack.
        console: where to print.
        full: leave nothing out of long texts and of many tiles.
    """
    console.rule(f"step {view.step}, pack {view.pack}", align="left")
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
    for note in view.notes:
        facts.add_row("data", _plain(note))
    facts.add_row("content", f"{counted(len(view.documents), 'document')}, {counted(view.num_tiles, 'tile')}")
    facts.add_row("supervised", Text(f"{view.num_supervised:,} tokens", style=SUPERVISED))
    for mask, count in view.masked.items():
        meaning = Text.assemble((f"{count:,} {mask}", STYLES[mask]), f" ({MASK_MEANINGS[mask]})")
        facts.add_row("masked" if mask == next(iter(view.masked)) else "", meaning)
    return Group(bars, facts)


def _document(document: DocumentView, *, full: bool) -> RenderableType:
    """One document: where it comes from, how its images are cut, and its spans."""
    title = Text.assemble((f"{document.slot}  ", "bold"), (one_line(document.key), "bold"))
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
        lines.append(Text(f"failed: {printable(document.failure)}", style=STYLES[Mask.FAILED]))
    return Group(*lines, Padding(_spans(document, full=full), (0, 0, 0, 2)))


def _spans(document: DocumentView, *, full: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("what", overflow="fold")
    table.add_column("loss", no_wrap=True)
    for group in span_groups(document.spans):
        is_folded = bool(group.folded) and not full
        for span in group.shown if is_folded else (*group.shown, *group.folded, *group.last):
            _add_span(table, span, document, full=full)
        if is_folded:
            tokens = f"{group.folded[0].begin}:{group.folded[-1].end}"
            what = Text(f"... {group.num_folded_tiles} more tiles and their labels; --full shows them ...", style="dim")
            table.add_row(tokens, f"{group.num_folded_tokens:,}", what, Text("masked", style="dim"))
            for span in group.last:
                _add_span(table, span, document, full=full)
    return table


def _add_span(table: Table, span: Span, document: DocumentView, *, full: bool) -> None:
    style = SUPERVISED if span.mask is None else STYLES[span.mask]
    loss = "supervised" if span.mask is None else f"masked: {span.mask}"
    what = _what(span, document, style, full=full)
    table.add_row(f"{span.begin}:{span.end}", f"{span.num_tokens:,}", what, Text(loss, style=style))


def _what(span: Span, document: DocumentView, style: str, *, full: bool) -> Text:
    """What a span says, or which tile it stands for."""
    if span.kind == "label":
        return Text(one_line(span.text), style=style)
    if span.kind == "image" and span.tile is not None:
        tile = document.tiles[span.tile]
        width, height = tile.size
        left, top, right, bottom = tile.box
        sizes = f"{width}x{height}"
        if tile.model_size != tile.size:
            sizes += f", to the model {tile.model_size[0]}x{tile.model_size[1]}"
        cut = f"{tile.name}: {left},{top} to {right},{bottom} as {sizes}, {tile.num_patches:,} patches; "
        return Text.assemble((one_line(cut), style), (short_ids(span.text, full=full), "dim"))
    text = shorten(edged(span.text))
    if full or not text.middle:
        return Text(edged(span.text), style=style)
    return Text.assemble(
        (text.head, style), (f" ... {len(text.middle):,} more characters ... ", "dim"), (text.tail, style)
    )


def _plain(text: str) -> Text:
    """A line in which nothing is markup."""
    return Text(one_line(text))
