"""EstimateLength: a page becomes token ids, and so its length is known."""

from functools import partial

from wdstream.batches.sample import build_sample
from wdstream.families.base import Family
from wdstream.nodes.base import OnError, Step
from wdstream.nodes.node import Node
from wdstream.records import LabelledPage, Sample


class EstimateLength(Step[LabelledPage, Sample]):
    """LabelledPage to Sample. The estimate is exact: the ids whose number it is are the ids that are trained on."""

    def __init__(
        self, source: Node[LabelledPage], *, family: Family, workers: int = 0, on_error: OnError = "raise"
    ) -> None:
        super().__init__(source, partial(build_sample, family=family), workers=workers, on_error=on_error)
