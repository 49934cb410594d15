"""Label: tiles take their places in the text, each after its label."""

from wdstream.nodes.mapper import Map
from wdstream.nodes.node import Node
from wdstream.records import LabelledPage, TiledPage
from wdstream.tiling.labels import label_page


class Label(Map[TiledPage, LabelledPage]):
    """TiledPage to LabelledPage; cheap, so always inline."""

    def __init__(self, source: Node[TiledPage]) -> None:
        super().__init__(source, label_page)
