"""trace for a run on tars without an index: no plan can compute its pages again, so they are read from its list."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wdstream.errors import PlanError
from wdstream.train.lines import read_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPage:
    """One page of a step: which rank computed it, the number of its pack in the run, its place there, its key."""

    rank: int
    pack: int
    place: int
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedStep:
    """The pages of a step, pack by pack."""

    step: int
    world_size: int
    pages: tuple[ListedPage, ...]

    def print(self, console: Console) -> None:
        """Print a table, one line a page."""
        rows = [(page.rank, page.pack, page.place, page.key) for page in self.pages]
        print_pages(console, ("rank", "pack", "place", "key"), rows, step=self.step, world_size=self.world_size)


def print_pages(
    console: Console, names: Sequence[str], rows: Sequence[Sequence[object]], *, step: int, world_size: int
) -> None:
    """Print the pages of a step as a table, a line each, under the names of its columns; nothing in it is markup."""
    table = Table(title=f"step {step} on {world_size} ranks: {len(rows)} pages")
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name not in ("key", "shard"))
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    console.print(table)


def trace_listed(run: Path, *, step: int, rank: int | None, world_size: int) -> ListedStep:
    """The pages of a step, from RUN/pages.jsonl.

    Raises:
        PlanError: the step was not trained.
    """
    line = next((line for line in read_lines(run / "pages.jsonl") if line["step"] == step), None)
    if line is None:
        raise PlanError(f"step {step}: not among the steps that {run / 'pages.jsonl'} lists; it was not trained yet")
    pages = (page for page in _pages(line["packs"], world_size) if rank is None or page.rank == rank)
    return ListedStep(step=step, world_size=world_size, pages=tuple(pages))


def _pages(packs: Mapping[str, Any], world_size: int) -> Iterator[ListedPage]:
    for number, keys in packs.items():
        for place, key in enumerate(keys):
            yield ListedPage(rank=int(number) % world_size, pack=int(number), place=place, key=key)
