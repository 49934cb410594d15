"""ReadShards: the pages of shards in the order in which they lie."""

from wdstream.nodes.items import Items
from wdstream.nodes.mapper import Map, OnError
from wdstream.records import Page, World
from wdstream.shards.reader import Shards


class ReadShards(Map[int, Page]):
    """Rows rank, rank + size, rank + 2 size, ... of the shards, as pages; put a Shuffle behind it for another order.

    For training, Plan.loader() shuffles over all shards and resumes on any world; this node is for everything else.
    """

    def __init__(
        self, source: Shards, *, world: World | None = None, workers: int = 0, on_error: OnError = "raise"
    ) -> None:
        world = world or World()
        rows = Items(range(world.rank, len(source), world.size))
        super().__init__(rows, source.read_page, workers=workers, on_error=on_error)
