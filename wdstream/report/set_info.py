"""`wdstream info` in the terminal: a table of figures for each set, with small pictures of what is spread."""

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wdstream.curation.info import InfoReport, SetInfo, most_frequent
from wdstream.curation.numbers import NumberSummary
from wdstream.curation.token_names import NamedTokens
from wdstream.report.words import percent
from wdstream.text.characters import one_line, short_name

_BLOCKS = " ▁▂▃▄▅▆▇█"
_BAR = 24
_TITLES = {"images_per_page": "images per page", "text_chars": "characters", "image_pixels": "megapixels"}
_SCALES = {"image_pixels": 1e-6}
_SUMMED = ("images_per_page", "text_chars", "tokens.")
_SHOWN_NAME = 20
_SHOWN_REASONS = 20
_SOURCES = {"suffix": "raw files by suffix", "top": "by folder, or file of the top", "file": "by file"}


def print_info(report: InfoReport, console: Console, *, top: int) -> None:
    """Print every set, and the total of several."""
    sets = report.sets if len(report.sets) == 1 else (*report.sets, report.total)
    for number, each in enumerate(sets):
        if number:
            console.print()
        console.print(_plain(f"{each.name}: {each.path}" if each.path else each.name), soft_wrap=True)
        for table in _tables(each, top):
            console.print(table)


def _tables(each: SetInfo, top: int) -> Iterator[Table]:
    yield _head(each)
    yield _sizes(each)
    figures = each.figures
    for name, counts in each.sources().items():
        if counts and (name != "top" or len(counts) > 1):
            yield _bars(_SOURCES[name], counts, figures.pages, top)
    for name in sorted(figures.values.keys() - {"source"}):
        yield _bars(f"{name}{_absent(each, name)}", figures.values[name], figures.pages, top)
    for listed_in, counts in figures.refused.items():
        if counts:
            yield _bars(f"not in the set ({listed_in})", counts, counts.total(), _SHOWN_REASONS)


def _head(each: SetInfo) -> Table:
    figures = each.figures
    table = Table.grid(padding=(0, 2))
    table.add_row("pages", f"{figures.pages:,} in {figures.shards:,} shards, {figures.nbytes / 1e9:,.3f} GB")
    table.add_row("images", f"{figures.images:,}; {_share(figures.without_image, figures.pages)} of pages have none")
    table.add_row("texts", f"{_share(figures.without_text, figures.pages)} of pages have none")
    if figures.held_out:
        table.add_row("held out", f"{_share(figures.held_out, figures.pages)} of pages: data.train leaves them out")
    for name, reason in list(figures.left_out.items())[:_SHOWN_REASONS]:
        what = "metadata" if name == "*" else f"metadata {name!r}"
        table.add_row("", _plain(f"{what} did not become a column: {reason}"))
    return table


def print_tokens(name: str, found: NamedTokens, console: Console, *, top: int) -> None:
    """Print which added tokens the texts of a set name."""
    said = (
        "name no added token" if not found.counts else "name these added tokens, which text.allow_tokens can let form"
    )
    console.print(_plain(f"{name}: the texts of {found.pages:,} pages {said}"), soft_wrap=True)
    if found.counts:
        console.print(_bars("", found.counts, found.counts.total(), top))


def _share(count: int, of_all: int) -> str:
    return f"{count:,} ({percent(count, max(of_all, 1))})"


def _sizes(each: SetInfo) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for name in ("min", "median", "95 %", "max", "sum", "min to 95 %", "absent"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, size in [*each.sizes.items(), *each.scalars.items()]:
        if size.count:
            table.add_row(*_row(name, size), sparkline(size.sketch), _count(each.figures.absent[name]))
    return table


def _row(name: str, size: NumberSummary) -> Iterator[Text]:
    yield _plain(_TITLES.get(name, name[:_SHOWN_NAME]))
    total = [size.total] if name.startswith(_SUMMED) else []
    for value in (size.least, size.median, size.high, size.most, *total):
        yield Text(_number(value * _SCALES.get(name, 1)))
    yield from () if total else [Text()]


def _count(count: int) -> str:
    return f"{count:,}" if count else ""


def _number(value: float) -> str:
    """In at most seven digits."""
    if abs(value) >= 1e13:
        return f"{value:.3g}"
    if abs(value) >= 1e7:
        return f"{value / 1e6:,.0f} M"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def sparkline(counts: tuple[int, ...]) -> str:
    """Counts as a row of blocks; what is there at all is at least the lowest one."""
    most = max(counts, default=0)
    return "".join(_BLOCKS[-(-count * (len(_BLOCKS) - 1) // most)] for count in counts)


def _absent(each: SetInfo, name: str) -> str:
    absent = each.figures.absent[name]
    return f" (absent in {absent:,})" if absent else ""


def _bars(title: str, counts: Mapping[str, int], of_all: int, top: int) -> Table:
    """The most frequent values with their counts, and how many more there are."""
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify = _plain(title) if title else None, "left"
    shown = most_frequent(counts, top)
    most = shown[0][1] if shown else 1
    for value, count in shown:
        bar = Text("█" * max(1, count * _BAR // most), style="blue")
        table.add_row(_plain(short_name(value)), f"{count:,}", percent(count, max(of_all, 1)), bar)
    if len(counts) > len(shown):
        rest = sum(counts.values()) - sum(count for _, count in shown)
        table.add_row(Text(f"... {len(counts) - len(shown):,} more", style="dim"), f"{rest:,}")
    return table


def _plain(text: str) -> Text:
    return Text(one_line(text))
