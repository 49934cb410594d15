"""A page of a stream is measured, shrunk and refused as the plan measures, shrinks and rejects the same page."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import DecodeError, UnfitError
from wdstream.nodes.decode import decode_page
from wdstream.nodes.measure import PageMeasurer
from wdstream.nodes.tile import TileRenderer
from wdstream.plan.sample_lengths import LengthLimits, Reject
from wdstream.records import ImageSegment, Page, TextSegment

TILED = {"kind": "shape_buckets", "tile_size": 84, "overview_size": 56}
WHOLE = {"kind": "none"}


@pytest.mark.parametrize("overlength", ["reject", "downscale"])
@pytest.mark.parametrize(
    ("tiling", "limits"), [(TILED, (1024, 2048)), (TILED, (400, 2048)), (WHOLE, (500, 2048)), (WHOLE, (1024, 400))]
)
def test_as_the_plan(
    stream_config: Callable[..., Config],
    shipped_shards: Path,
    overlength: str,
    tiling: dict[str, object],
    limits: tuple[int, int],
) -> None:
    config = stream_config(
        shipped_shards,
        tiling=tiling,
        sequence_length=limits[0],
        max_patches=limits[1],
        max_pixels=500_000,
        overlength=overlength,
    )
    plan = plan_from_config(config)
    allowed = LengthLimits(
        max_tokens=limits[0], max_patches=limits[1], max_pixels=500_000, downscale=overlength == "downscale"
    )
    measure = PageMeasurer(plan.family, plan.tiling, allowed)
    found = set()
    for planned, shards in zip(plan.mixture.planned, plan.shards, strict=True):
        lengths, _ = planned.measure(np.arange(len(shards)))
        for row in range(len(shards)):
            reject = Reject(int(lengths.reject[row]))
            try:
                page = measure(shards.read_page(row))
            except UnfitError as error:
                assert reject != Reject.ACCEPTED, str(error)
                found.add("left out")
                continue
            wanted = (int(lengths.tokens[row]), int(lengths.patches[row]), int(lengths.scale[row]))
            assert (page.tokens, page.patches, page.scale, reject) == (*wanted, Reject.ACCEPTED)
            found.add("shrunk" if page.scale < 64 else "whole")
    can_shrink = overlength == "downscale" and tiling is WHOLE  # tiles on fixed canvases cost the same at any scale
    assert found == {"whole", "left out"} | ({"shrunk"} if can_shrink else set())


def test_pages_without_text_are_left_out(stream_config: Callable[..., Config], small_shards: Path) -> None:
    plan = plan_from_config(stream_config(small_shards))
    page = Page(key="bare", images=(), segments=(TextSegment(text=""),))
    limits = LengthLimits(max_tokens=100, max_patches=100, max_pixels=100)
    with pytest.raises(UnfitError, match="page 'bare': empty text"):
        PageMeasurer(plan.family, plan.tiling, limits)(page)


def test_an_image_longer_than_any_tiling_takes_is_left_out(
    stream_config: Callable[..., Config], small_shards: Path
) -> None:
    """Of a hostile header: within max_pixels, so its size reaches the tiling."""
    plan = plan_from_config(stream_config(small_shards))
    header = struct.pack(">IIBBBBB", (1 << 24) + 1, 1, 1, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\x0dIHDR" + header + bytes(4)
    page = Page(key="long", images=(png,), segments=(TextSegment(text="a"), ImageSegment(index=0)))
    with pytest.raises(UnfitError, match=r"page 'long': too many pixels, \(\(16777217, 1\),\)"):
        PageMeasurer(plan.family, plan.tiling, LengthLimits.of(plan.settings, plan.family, downscale=False))(page)
    for cut in (TileRenderer(tiling=plan.tiling).render, decode_page):
        with pytest.raises(DecodeError, match=r"page 'long', image 0: .* no side may be longer than 16777216"):
            cut(page)
