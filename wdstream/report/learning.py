"""How a model learned to read, as one HTML file: the error rate over the steps, and lines with what was written."""

from dataclasses import dataclass
from pathlib import Path

from wdstream.records import Pixels
from wdstream.report.html import data_uri, template_engine
from wdstream.storage.atomic import write_file

LEARNING_TEMPLATE = "learning.html.jinja"
PLOT_WIDTH, PLOT_HEIGHT = 640, 240
"""Of the plot, in its own units; it is as wide as the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Error rates of one run.

    Attributes:
        name: of the run.
        points: (steps done, CER), in order; CER can be above 1.
    """

    name: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLine:
    """A held-out line.

    Attributes:
        pixels: uint8 (h, w, 3), as the model sees it.
        text: what it says.
        written: what the model wrote after each number of steps of the view.
        control: what the control wrote at the end.
    """

    pixels: Pixels
    text: str
    written: tuple[str, ...]
    control: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningView:
    """What the page shows.

    Attributes:
        run, control: error rates on the same held-out lines.
        final: CER of all held-out lines at the end, of both.
        steps: after which `lines` were written.
        lines: some held-out lines.
        facts: sentences about how it was made.
    """

    run: Curve
    control: Curve
    final: tuple[float, float]
    steps: tuple[int, ...]
    lines: tuple[WrittenLine, ...]
    facts: tuple[str, ...]


def write_learning(view: LearningView, path: Path) -> None:
    """Write the page; it needs no other file and no network."""
    engine = template_engine()
    last = max(step for step, _ in view.run.points)

    def plotted(curve: Curve) -> list[tuple[float, float]]:
        return [(PLOT_WIDTH * step / last, PLOT_HEIGHT * (1 - min(cer, 1.0))) for step, cer in curve.points]

    engine.filters.update(data_uri=data_uri, zip=zip)
    html = engine.get_template(LEARNING_TEMPLATE).render(
        view=view, plotted=plotted, width=PLOT_WIDTH, height=PLOT_HEIGHT
    )
    write_file(path, html.encode("utf-8"))
