"""The sources that have a length: Items, a sequence as a node; ReadShards, the pages of shards in stored order."""

from collections.abc import Sequence
from typing import Generic

from wdstream.nodes.mapper import In, Map, OnError
from wdstream.nodes.node import Stage, State
from wdstream.records import Page, World
from wdstream.shards.reader import Shards


class Items(Stage[In], Generic[In]):
    """The items of a sequence, in order; the state is the place.

    Args:
        items: anything with a length and places: a list, a range, a map-style dataset.
    """

    PLACE_KEY = "place"

    def __init__(self, items: Sequence[In]) -> None:
        super().__init__()
        if not hasattr(items, "__len__") or not hasattr(items, "__getitem__"):
            raise TypeError(f"Items: expected something with a length and places, such as a list; found {items!r:.80}")
        self.items = items

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved place, or at the first item."""
        super().reset(initial_state)
        self._place = 0 if initial_state is None else int(initial_state[self.PLACE_KEY])

    def advance(self) -> In:
        """The item at the place."""
        self.refuse_copies()
        if self._place >= len(self.items):
            raise StopIteration
        item = self.items[self._place]
        self._place += 1
        return item

    def get_state(self) -> State:
        """The place of the next item."""
        return {self.PLACE_KEY: self._place}


class ReadShards(Map[int, Page]):
    """Rows rank, rank + size, rank + 2 size, ... of the shards, as pages; put a Shuffle after it for another order.

    For training, Plan.loader() shuffles over all shards and resumes on any world; this node is for everything else.
    """

    def __init__(
        self, source: Shards, *, world: World | None = None, workers: int = 0, on_error: OnError = "raise"
    ) -> None:
        if not isinstance(source, Shards):
            raise TypeError(f"ReadShards: expected Shards.open(...), found {source!r:.80}")
        world = world or World()
        rows = Items(range(world.rank, len(source), world.size))
        super().__init__(rows, source.read_page, workers=workers, on_error=on_error)
