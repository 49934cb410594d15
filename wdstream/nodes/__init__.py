"""Graph nodes over torchdata.nodes, each useful by itself: docs/nodes.md.

from wdstream.nodes import Collate, Decode, EstimateLength, Label, Loader, Pack, Tile
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wdstream.nodes.collate import Collate
    from wdstream.nodes.decode import Decode
    from wdstream.nodes.foreign.from_webdataset import FromWebDataset
    from wdstream.nodes.items import Items, ReadShards
    from wdstream.nodes.label import EstimateLength, Label
    from wdstream.nodes.lane import LaneSettings
    from wdstream.nodes.lane_source import LaneSource
    from wdstream.nodes.loader import Loader
    from wdstream.nodes.mapper import BatchMap, Map
    from wdstream.nodes.pack import Pack
    from wdstream.nodes.prefetch import Prefetch
    from wdstream.nodes.read_tars import ReadTars
    from wdstream.nodes.shuffle import Shuffle
    from wdstream.nodes.tile import Tile

_HOMES = {
    "Collate": "collate",
    "Decode": "decode",
    "EstimateLength": "label",
    "BatchMap": "mapper",
    "FromWebDataset": "foreign.from_webdataset",
    "Items": "items",
    "Label": "label",
    "LaneSettings": "lane",
    "LaneSource": "lane_source",
    "Loader": "loader",
    "Pack": "pack",
    "Prefetch": "prefetch",
    "ReadShards": "items",
    "ReadTars": "read_tars",
    "Shuffle": "shuffle",
    "Map": "mapper",
    "Tile": "tile",
}

__all__ = [
    "BatchMap",
    "Collate",
    "Decode",
    "EstimateLength",
    "FromWebDataset",
    "Items",
    "Label",
    "LaneSettings",
    "LaneSource",
    "Loader",
    "Map",
    "Pack",
    "Prefetch",
    "ReadShards",
    "ReadTars",
    "Shuffle",
    "Tile",
]


def __getattr__(name: str) -> object:
    """A node, imported on first use: names of rows are read from here without torch (shards/reader.py)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'wdstream.nodes' has no attribute '{name}'; it offers {', '.join(__all__)}")
    return getattr(import_module(f"wdstream.nodes.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
