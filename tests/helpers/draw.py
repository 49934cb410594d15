"""Random page sizes and texts, the same in every run."""

import random
from collections.abc import Callable

from wdstream.records import Size
from wdstream.tiling.policy import TilingPolicy

SCRIPTS = [
    "abcdefghij klmnop qrstuvwxyz ETAOIN",
    "0123456789 .,;:-",
    "漢字仮名交じり文一二三",
    "العربية نص",
    "ñüøßàéèê",
    "\n\t ",
    "😀🎉∑∂",
]
POLICIES = {
    "none": TilingPolicy(kind="none"),
    "grid": TilingPolicy(kind="grid", grid=(2, 3), tile_size=672, overview_size=448),
    "shape_buckets": TilingPolicy(kind="shape_buckets", tile_size=(644, 800), no_upscale=False),
    "native": TilingPolicy(kind="native", overlap=0.05, reading_order="rtl", overview_size=512),
    "adaptive": TilingPolicy(kind="adaptive", tile_size=700),
    "adaptive_overview": TilingPolicy(kind="adaptive", tile_size=1024, overview_size=420, tile_labels=False),
}


EDGES = (
    *(1, 2, 3, 13, 14, 15, 27, 28, 29, 31, 32, 33, 47, 48, 49, 55, 56, 57, 364, 365, 384, 385, 448, 449, 512, 513),
    *(727, 728, 729, 895, 896, 897, 1023, 1024, 1025, 1456, 1540, 1541, 2048, 2049, 4095, 4096),
)
"""Sides at and next to the limits of the families' rules."""


def draw_text(draw: random.Random, longest: int = 400) -> str:
    """Words and runs of several scripts, often empty or one character."""
    runs = []
    for _ in range(draw.choice([0, 1, 1, 2, 5, 12])):
        script = draw.choice(SCRIPTS)
        runs.append("".join(draw.choices(script, k=draw.randint(1, longest // 12))))
    return "".join(runs)


def draw_size(draw: random.Random, largest: int) -> Size:
    """A page size; one in six is a thin strip within the aspect ratio the families take."""
    if draw.random() < 1 / 6:
        long = draw.randint(30, largest)
        short = draw.randint(max(1, -(-long // 190)), max(1, long // 20))
        return (long, short) if draw.random() < 0.5 else (short, long)
    return draw.randint(20, largest), draw.randint(20, largest)


def draw_sizes(count: int, seed: str) -> list[Size]:
    """Sizes of 1 to 4,096 pixels: free sides, a side of 1, strips to 200:1 and beyond, neighbours of limits."""
    draw = random.Random(seed)
    sides: list[Callable[[], int]] = [
        lambda: 1,
        lambda: draw.randint(1, 60),
        lambda: draw.randint(1, 4096),
        lambda: draw.choice(EDGES),
    ]
    return [(draw.choice(sides)(), draw.choice(sides)()) for _ in range(count)]


def draw_unicode(draw: random.Random, longest: int = 24) -> str:
    """Characters of all planes, those of no script and the surrogates included."""
    planes = [(0, 0x7F), (0x80, 0x7FF), (0x800, 0xFFFF), (0x4E00, 0x9FFF), (0x1F300, 0x1FAFF), (0x10000, 0x10FFFF)]
    return "".join(chr(draw.randint(*draw.choice(planes))) for _ in range(draw.randint(0, longest)))
