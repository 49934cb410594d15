"""Label: tiles take their places in the text, each after its label. EstimateLength: so a page becomes token ids."""

from functools import partial

from wdstream.batches.sample import build_sample
from wdstream.errors import UnfitError
from wdstream.families.base import Family
from wdstream.nodes.mapper import Map, OnError
from wdstream.nodes.node import Node
from wdstream.records import LabelledPage, Sample, TiledPage
from wdstream.text.messages import has_supervised
from wdstream.tiling.labels import label_page


class Label(Map[TiledPage, LabelledPage]):
    """TiledPage to LabelledPage; cheap, so always inline."""

    def __init__(self, source: Node[TiledPage]) -> None:
        super().__init__(source, label_page)


class EstimateLength(Map[LabelledPage, Sample]):
    """LabelledPage to Sample. The estimate is exact: the ids whose number it is are the ids that are trained on.

    A page without text is an UnfitError, as a plan rejects it: only its end would be supervised.
    """

    def __init__(
        self, source: Node[LabelledPage], *, family: Family, workers: int = 0, on_error: OnError = "raise"
    ) -> None:
        check_family(family, "EstimateLength")
        super().__init__(source, partial(estimate_length, family=family), workers=workers, on_error=on_error)


def check_family(family: object, name: str) -> None:
    """Check that a node was given a family, not the path of its model.

    Raises:
        TypeError: it was not.
    """
    if not isinstance(family, Family):
        raise TypeError(f"{name}: family: expected load_family(...), found {family!r:.80}")


def estimate_length(page: LabelledPage, *, family: Family) -> Sample:
    """`build_sample` of a page that has supervised text.

    Raises:
        UnfitError: it has no text.
    """
    if not has_supervised(page.segments):
        raise UnfitError(
            f"page {page.key!r} has no text to train on; see whether its text has the name that its source gives it, "
            "or pass on_error='skip'"
        )
    return build_sample(page, family)
