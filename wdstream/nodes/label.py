"""Label: tiles take their places in the text, each after its label."""

from wdstream.nodes.base import Step
from wdstream.nodes.node import Node
from wdstream.pages.label import label_page
from wdstream.records import LabelledPage, TiledPage


class Label(Step[TiledPage, LabelledPage]):
    """TiledPage to LabelledPage; cheap, so always inline."""

    def __init__(self, source: Node[TiledPage]) -> None:
        super().__init__(source, label_page)
