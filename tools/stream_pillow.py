"""Decode, cut and resize as most pipelines do: Pillow, for paths (a) and (b) of the benches."""

import io

from PIL import Image, ImageOps

from wdstream.records import Box, Placement, Size, TilePlan

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def pillow_page(data: bytes) -> Image.Image:
    """An RGB page."""
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")


def pillow_tiles(data: bytes, plan: TilePlan, resample: str) -> list[Image.Image]:
    """All tiles of an image."""
    page = pillow_page(data)
    parts = zip(plan.boxes, plan.sizes, plan.placements, strict=True)
    return [_tile(page, box, size, place, resample) for box, size, place in parts]


def _tile(page: Image.Image, box: Box, size: Size, place: Placement, resample: str) -> Image.Image:
    """A crop, resized where its size differs, on a canvas where the plan leaves room."""
    tile = page.crop(box)
    if tile.size != (place.width, place.height):
        tile = tile.resize((place.width, place.height), FILTERS[resample])
    if tile.size == size:
        return tile
    canvas = Image.new("RGB", size)
    canvas.paste(tile, (place.left, place.top))
    return canvas
