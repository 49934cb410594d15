"""Pages of one image, tiled for real, and what the plan says they cost."""

import numpy as np

from wdstream.families.base import Family
from wdstream.plan.sample_lengths import ImageCostTable
from wdstream.records import ImageSegment, LabelledPage, Pixels, Size, TextSegment, TiledPage
from wdstream.tiling.labels import label_page
from wdstream.tiling.policy import TilingPolicy, plan_tiles


def blank(width: int, height: int) -> Pixels:
    """A tile that takes no memory: only its shape counts for lengths."""
    return np.broadcast_to(np.uint8(200), (height, width, 3))


def tile_page(size: Size, text: str, policy: TilingPolicy) -> LabelledPage:
    """A page of one image and its text, through the real tile plan and labels, with blank tiles."""
    plan = plan_tiles(*size, policy)
    tiles = tuple(blank(*tile) for tile in plan.sizes)
    segments = (ImageSegment(index=0), TextSegment(text=text))
    return label_page(TiledPage(key="page", plans=(plan,), tiles=(tiles,), segments=segments))


def planned(family: Family, size: Size, text: str, policy: TilingPolicy) -> tuple[int, int]:
    """(tokens, patches) by the plan's own code: nothing but sizes and counts goes in."""
    costs = ImageCostTable(family, policy).look_up(*(np.array([side], dtype=np.int64) for side in size))
    assert costs.tokens[0] > 0
    return family.prefix_tokens + family.text_cost(text) + int(costs.tokens[0]) + 1, int(costs.patches[0])
