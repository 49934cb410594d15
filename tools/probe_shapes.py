"""What each tiling policy makes of a real set of pages: tokens, patches, canvas wasted, shapes, packs and fill.

    python tools/probe_shapes.py DATA [--model CHECKPOINT] [--sequence-length 8192] [--max-patches 40000]

DATA is a folder of indexed shards, of which no pixel is read, or of raw pages, of which shards are made first, in a
temporary folder. Without --model images cost what they cost Qwen2.5-VL, and the only token column of DATA counts the
texts. Exit status 1 when the adaptive policy's image tokens exceed 1.10 times those of uncut pages (labels and image
marks not counted).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from data_set import only_token_column, open_data
from wdstream.errors import WdstreamError
from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.plan.packer import Budget, Item, PoolPacker
from wdstream.records import TileArrays
from wdstream.shards.reader import Shards
from wdstream.tiling.arrays import distinct_sizes
from wdstream.tiling.policy import TilingPolicy, plan_tiles

Ints = NDArray[np.int64]
POLICIES = {
    "none": TilingPolicy(kind="none"),
    "grid 2x3": TilingPolicy(kind="grid"),
    "ocr_pages": TilingPolicy(kind="shape_buckets"),
    "native": TilingPolicy(kind="native"),
    "adaptive": TilingPolicy(),
    "adaptive + overview": TilingPolicy(overview_size=448),
}
LIMIT = 1.10
POOL = 128
BLOCK = 8192
"""Images planned at a time when the speed is taken, about what the plan asks for at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """n samples of one policy.

    Attributes:
        tokens: int64 (n,), -1 where the family refuses an image.
        patches: int64 (n,), -1 likewise.
        image_tokens: of all tiles, without labels and the marks around images.
        tiles: how the images are cut.
    """

    tokens: Ints
    patches: Ints
    image_tokens: int
    tiles: TileArrays


def measure(shards: Shards, family: Family, tiling: TilingPolicy, fingerprint: str) -> Lengths:
    """Lengths of all samples, from the index alone; `fingerprint` names the token column that counts the texts.

    Raises:
        ShardIndexError: the column is missing.
    """
    text_tokens = shards.tokens(fingerprint).astype(np.int64)
    tiles = tiling.plan_tiles_arrays(shards.image_width, shards.image_height)
    tokens, patches = family.image_cost(tiles.tile_widths, tiles.tile_heights)
    of_image = np.repeat(np.arange(len(shards)), shards.num_images)  # the sample of each image
    of_tile = np.repeat(of_image, tiles.counts)
    refused = _sums(of_tile, tokens < 0, shards) > 0
    total = text_tokens + 1 + family.prefix_tokens
    total += _sums(of_tile, tokens, shards) + _sums(of_image, label_tokens(tiles, family, tiling), shards)
    vision = _sums(of_tile, patches, shards)
    return Lengths(
        tokens=np.where(refused, -1, total),
        patches=np.where(refused, -1, vision),
        image_tokens=int((tokens[tokens > 0] - 2).sum()),
        tiles=tiles,
    )


def _sums(places: Ints, values: NDArray[np.generic], shards: Shards) -> Ints:
    """Sum of the values of each sample; exact, since a float holds whole numbers up to 2**53."""
    return np.bincount(places, weights=values, minlength=len(shards)).astype(np.int64)


def planning_speed(shards: Shards, tiling: TilingPolicy) -> float:
    """Images per second that `plan_tiles_arrays` cuts, on one core, for sizes drawn from the set."""
    widths, heights = (np.resize(column, 16 * BLOCK) for column in (shards.image_width, shards.image_height))
    began = time.process_time()
    for start in range(0, len(widths), BLOCK):
        tiling.plan_tiles_arrays(widths[start : start + BLOCK], heights[start : start + BLOCK])
    return len(widths) / max(time.process_time() - began, 1e-9)


def label_tokens(tiles: TileArrays, family: Family, tiling: TilingPolicy) -> Ints:
    """Tokens of the text between the tiles of each image, int64 (images,); counted once for each kind of grid."""
    kinds = np.stack([tiles.columns, tiles.rows, tiles.has_overview, tiles.is_labelled, tiles.is_rtl], axis=1)
    unique, places = np.unique(kinds, axis=0, return_inverse=True)
    costs = []
    for columns, rows, *flags in unique.tolist():
        has_overview, is_labelled, is_rtl = map(bool, flags)
        pieces = tiling.grid_text_pieces(columns, rows, has_overview, is_labelled, is_rtl)
        costs.append(sum(family.text_cost(piece) for piece in pieces if piece))
    return np.array(costs, dtype=np.int64)[places.ravel()]


def content_share(shards: Shards, tiling: TilingPolicy) -> float:
    """Part of all canvases that shows page and not padding."""
    widths, heights, places = distinct_sizes(shards.image_width, shards.image_height)
    content = canvas = 0
    for width, height, repeats in zip(widths.tolist(), heights.tolist(), np.bincount(places).tolist(), strict=True):
        plan = plan_tiles(width, height, tiling)
        content += repeats * sum(place.width * place.height for place in plan.placements)
        canvas += repeats * sum(wide * high for wide, high in plan.sizes)
    return content / max(canvas, 1)


def packs_of(lengths: Lengths, budget: Budget) -> Iterator[Sequence[Item]]:
    """The samples that fit, packed as the plan packs them, in order of rows."""
    fits = (lengths.tokens >= 0) & (lengths.tokens <= budget.tokens) & (lengths.patches <= budget.patches)
    packer = PoolPacker(budget)
    for row in np.flatnonzero(fits).tolist():
        packer.add([Item(row, int(lengths.tokens[row]), int(lengths.patches[row]))])
        if len(packer) == POOL:
            yield packer.pack()
    while len(packer):
        yield packer.pack()


def report_row(tiling: TilingPolicy, shards: Shards, lengths: Lengths, budget: Budget) -> list[str]:
    """One policy as cells of the table, its name left out."""
    packs = list(packs_of(lengths, budget))
    placed = [item for pack in packs for item in pack]
    is_known = lengths.tokens >= 0
    shapes = len(np.unique(lengths.tiles.tile_widths << 32 | lengths.tiles.tile_heights))
    return [
        quantiles(lengths.tokens[is_known]),
        quantiles(lengths.patches[is_known]),
        f"{len(lengths.tiles.tile_widths) / max(len(lengths.tiles.counts), 1):.1f}",
        f"{content_share(shards, tiling):.0%}",
        f"{shapes:,}",
        f"{len(shards) - len(placed):,}",
        f"{len(packs):,}",
        f"{sum(item.tokens for item in placed) / max(len(packs) * budget.tokens, 1):.1%}",
        f"{sum(item.patches for item in placed) / max(len(packs) * budget.patches, 1):.1%}",
        f"{planning_speed(shards, tiling):,.0f}",
    ]


def quantiles(values: Ints) -> str:
    """min, p50, p90, p99, max."""
    if not len(values):
        return "-"
    return " ".join(f"{value:,.0f}" for value in np.quantile(values, [0, 0.5, 0.9, 0.99, 1], method="nearest"))


def main() -> int:
    """Print the table; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--sequence-length", type=int, default=8192)
    parser.add_argument("--max-patches", type=int, default=40_000)
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 200)
    budget = Budget(tokens=options.sequence_length, patches=options.max_patches)
    with tempfile.TemporaryDirectory() as folder:
        try:
            path, model = open_data(options.data, options.model, Path(folder))
            shards, family = Shards.open(path), load_family(model)
            fingerprint = family.text_fingerprint if options.model else only_token_column(shards)
            return probe(shards, family, fingerprint, budget, console)
        except WdstreamError as error:
            console.print(f"error: {error}", style="red", markup=False, highlight=False)
            return 2


def probe(shards: Shards, family: Family, fingerprint: str, budget: Budget, console: Console) -> int:
    """Measure and print all policies; returns the exit status."""
    policies = {name: policy.for_family(family) for name, policy in POLICIES.items()}
    measured = {name: measure(shards, family, policy, fingerprint) for name, policy in policies.items()}
    title = f"{shards.path}: {len(shards):,} samples, {len(shards.image_width):,} images; {family.name}"
    table = Table(title=f"{title}; packs of {budget.tokens:,} tokens, {budget.patches:,} patches", title_justify="left")
    spread = "min p50 p90 p99 max"
    table.add_column("policy")
    for column in (f"tokens ({spread})", f"patches ({spread})", "tiles", "content", "shapes", "over-long", "packs"):
        table.add_column(column, justify="right")
    for column in ("fill: tokens", "fill: patches", "images/s planned"):
        table.add_column(column, justify="right")
    for name, lengths in measured.items():
        table.add_row(name, *report_row(policies[name], shards, lengths, budget))
    console.print(table)
    ratio = measured["adaptive"].image_tokens / max(measured["none"].image_tokens, 1)
    console.print(f"image tokens, adaptive / uncut: {ratio:.3f} (wanted: at most {LIMIT:.2f})")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
