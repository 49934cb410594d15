"""Random page sizes and texts, the same in every run."""

import random

from wdstream.pages.tile import TilingPolicy
from wdstream.records import Size

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
