"""What the judge found, as a table by script, as JSON, and the worst pages as HTML."""

import base64
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from PIL import Image
from rich.console import Console
from rich.table import Table

from truth.page import PageTruth
from truth.words import words_of
from wdstream.text.characters import one_line, printable

TEMPLATE = "pages.html.jinja"
PREVIEW_WIDTH = 1000
SHOWN_WORDS = 12
ALL = "all"

SORTS: Mapping[str, Callable[[PageTruth], float]] = {
    "precision": lambda page: len(page.unseen) * (1 - page.precision),
    "recall": lambda page: len(page.lacking) * (1 - page.recall),
    "order": lambda page: (page.words - len(page.unseen)) * (1 - page.order) ** 2,
}
"""How bad a page is: the number of faulty words times their share, so that one misread word of three is not first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of some pages, each word counted alike.

    Attributes:
        pages: judged.
        words: of their labels.
        precision: share of these that the pictures show.
        asked: words that the engine is sure of.
        recall: share of these that the labels have.
        order: share of the matched words in the engine's order, the mean weighted by words.
        left_out: share of all words of the labels that are too short to count.
    """

    pages: int
    words: int
    precision: float
    asked: int
    recall: float
    order: float
    left_out: float


def figures_by_script(pages: Iterable[PageTruth]) -> dict[str, Figures]:
    """The figures of each script in alphabetical order, and of all pages."""
    groups: dict[str, list[PageTruth]] = defaultdict(list)
    for page in pages:
        groups[page.script].append(page)
    groups = dict(sorted(groups.items())) | {ALL: [page for group in groups.values() for page in group]}
    return {script: _figures(group) for script, group in groups.items()}


def worst(pages: Sequence[PageTruth], count: int, by: str = "precision") -> list[PageTruth]:
    """The worst pages first; pages without a fault are not among them."""
    badness = SORTS[by]
    bad = [page for page in pages if badness(page) > 0]
    return sorted(bad, key=lambda page: (-badness(page), page.key))[:count]


def print_figures(figures: Mapping[str, Figures], console: Console) -> None:
    """Print the table by script."""
    table = Table("script", *("pages", "words", "precision", "read", "recall", "order", "too short"))
    for script, of in figures.items():
        if script == ALL:
            table.add_section()
        shares = [f"{share:.4f}" for share in (of.precision, of.recall, of.order)]
        table.add_row(
            script,
            str(of.pages),
            f"{of.words:,}",
            shares[0],
            f"{of.asked:,}",
            shares[1],
            shares[2],
            f"{of.left_out:.1%}",
        )
    console.print(table)


def print_so_far(pages: Sequence[PageTruth], console: Console) -> None:
    """Print the figures of the pages judged so far in one line."""
    of = _figures(pages)
    shares = f"precision {of.precision:.4f}, recall {of.recall:.4f}, order {of.order:.4f}"
    console.print(f"so far {of.pages} pages, {of.words:,} words: {shares}", markup=False, soft_wrap=True)


def print_worst(pages: Iterable[PageTruth], console: Console) -> None:
    """Print a line for each page, and words that are on one side only."""
    for page in pages:
        console.print(
            f"{one_line(page.key)}: {page.script}, precision {page.precision:.3f} of {page.words}, recall "
            f"{page.recall:.3f} of {page.asked}, order {page.order:.3f}",
            markup=False,
            soft_wrap=True,
        )
        for what, words in (
            ("not in the picture", page.unseen),
            ("not in the label", [word for word, _ in page.lacking]),
        ):
            if words:
                shown = " ".join(words[:SHOWN_WORDS]) + (" ..." if len(words) > SHOWN_WORDS else "")
                console.print(f"    {what}: {one_line(shown)}", markup=False, soft_wrap=True)


def page_as_json(page: PageTruth) -> dict[str, object]:
    """The figures of a page and the words that are on one side only."""
    return {
        "key": page.key,
        "script": page.script,
        "language": page.language,
        "words": page.words,
        "precision": round(page.precision, 4),
        "asked": page.asked,
        "recall": round(page.recall, 4),
        "order": round(page.order, 4),
        "left_out": page.left_out,
        "unseen": list(page.unseen),
        "lacking": [word for word, _ in page.lacking],
    }


def pages_html(pages: Iterable[PageTruth], picture_of: Callable[[str], bytes]) -> str:
    """One HTML file with picture, label and reading of each page side by side; everything from pages is escaped.

    Args:
        pages: in the order shown.
        picture_of: the encoded picture of a page's key.
    """
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    shown = [
        {
            "key": printable(page.key),
            "script": page.script,
            "language": page.language,
            **{name: f"{getattr(page, name):.3f}" for name in SORTS},
            "words": page.words,
            "asked": page.asked,
            "picture": preview(picture_of(page.key)),
            "frames": [
                (100 * left, 100 * top, 100 * (right - left), 100 * (bottom - top))
                for _, (left, top, right, bottom) in page.lacking
            ],
            "label": marked(page.label, page.unseen),
            "read": marked(page.read, [word for word, _ in page.lacking]),
        }
        for page in pages
    ]
    return templates.get_template(TEMPLATE).render(pages=shown)


def marked(text: str, words: Iterable[str]) -> list[tuple[str, bool]]:
    """A text in pieces, and which of them hold one of the words, each as many times as it is listed."""
    left = Counter(words)
    pieces: list[tuple[str, bool]] = []
    for piece in re.findall(r"\s+|\S+", text):
        held = [word for word in words_of(piece).words if left[word] > 0]
        left.subtract(held)
        pieces.append((printable(piece), bool(held)))
    return pieces


def preview(picture: bytes) -> str:
    """A picture made small, as base64 of a JPEG."""
    with Image.open(io.BytesIO(picture)) as opened:
        image = opened.convert("RGB")
    image.thumbnail((PREVIEW_WIDTH, 4 * PREVIEW_WIDTH))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=70)
    return base64.b64encode(out.getvalue()).decode()


def _figures(pages: Sequence[PageTruth]) -> Figures:
    words, asked = sum(page.words for page in pages), sum(page.asked for page in pages)
    left_out = sum(page.left_out for page in pages)
    seen = sum(page.words - len(page.unseen) for page in pages)
    return Figures(
        pages=len(pages),
        words=words,
        precision=seen / words if words else 1.0,
        asked=asked,
        recall=1 - sum(len(page.lacking) for page in pages) / asked if asked else 1.0,
        order=sum(page.order * (page.words - len(page.unseen)) for page in pages) / seen if seen else 1.0,
        left_out=left_out / (left_out + words) if left_out + words else 0.0,
    )
