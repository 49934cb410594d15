"""A pack as one HTML file that needs nothing else: no script, no other file, previews of the tiles inside it.

Everything that comes from pages is escaped by the template engine, and a content security policy in the file forbids
scripts and every request, so that a hostile page stays text.
"""

import base64
import io
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wdstream.errors import ConfigError
from wdstream.families.base import Family
from wdstream.pixels.grey import MAX_JPEG_SIDE, encode_jpeg, has_no_colour
from wdstream.records import Pixels
from wdstream.report.view import MASK_MEANINGS, ImageView, PackView, TileView, span_groups
from wdstream.report.words import counted, edged, percent, short_ids, shorten
from wdstream.storage.atomic import write_file
from wdstream.text.characters import one_line, printable

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATE = "pack.html.jinja"
JPEG_QUALITY = 90
JPEG_GAIN = 2
"""A preview is JPEG where PNG, which shows every pixel as it is, would take more than this many times the bytes."""

TEXT_HEAD, TEXT_TAIL = 700, 250
PLANES = 4
"""Dimensions of `pixel_values` in families that lay images out as (K, 3, H, W); others lay out patches."""


def write_html(view: PackView, path: Path, *, full: bool = False) -> None:
    """Write a pack as an HTML file.

    Args:
        view: the pack.
        path: of the file; replaced when it is there.
        full: long texts and many tiles are open; otherwise they are in the file, but folded.

    Raises:
        ConfigError: the file cannot be written.
    """
    text = render_html(view, full=full)
    try:
        write_file(path, text.encode("utf-8", errors="replace"))
    except OSError as error:
        raise ConfigError(f"--html {path}: cannot be written ({error.strerror}); give a path in a folder") from error


def render_html(view: PackView, *, full: bool = False) -> str:
    """The HTML of a pack; see `write_html`."""
    template = _environment(view.family).get_template(TEMPLATE)
    return template.render(view=view, full=full, meaning=MASK_MEANINGS)


def template_engine() -> "Environment":
    """The template engine over this folder, with everything escaped and the words of a report as filters."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("wdstream", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words: tuple[Callable[..., str], ...] = (counted, edged, one_line, percent, printable, short_ids)
    environment.filters.update({function.__name__: function for function in words})
    return environment


def _environment(family: Family) -> "Environment":
    """The template engine for packs of a family."""
    environment = template_engine()
    environment.filters.update(
        comma="{:,}".format,
        groups=span_groups,
        previews=lambda tile: previews_of(tile, family),
        rows=tile_rows,
        shorten=lambda text: shorten(text, head=TEXT_HEAD, tail=TEXT_TAIL),
    )
    return environment


def tile_rows(image: ImageView) -> list[list[TileView]]:
    """The tiles of an image as they are on the page, without the overview: rows from the top, each from the left."""
    tiles = [tile for tile in image.tiles if not tile.is_overview]
    by_top = groupby(sorted(tiles, key=lambda tile: (tile.box[1], tile.box[0])), key=lambda tile: tile.box[1])
    return [list(row) for _, row in by_top]


def tile_previews(tile: Pixels, family: Family) -> tuple[Pixels, ...]:
    """What the family makes of one tile before patches are cut: one preview, or several where it splits the image.

    With `pixels: reference` the model's own processor makes the same, some pixels 2 grey levels apart.

    Args:
        tile: uint8 (h, w, 3), as it was cut.
        family: resizes it.
    """
    from wdstream.pixels.render import resize

    pixels = type(family).layout(family, [tile])["pixel_values"]  # the family's own, in uint8, also where it is swapped
    if pixels.ndim == PLANES:
        return tuple(np.ascontiguousarray(image.transpose(1, 2, 0)) for image in pixels)
    return (resize(tile, family.resized(tile.shape[1], tile.shape[0]), family.images.pixels.resample),)


def previews_of(tile: TileView, family: Family) -> tuple[list[str], int]:
    """What the model sees of one tile: data URIs in order, and in how many columns they make a grid."""
    previews = tile_previews(tile.pixels, family)
    return list(map(data_uri, previews)), max(1, tile.model_size[0] // previews[0].shape[1])


def data_uri(pixels: Pixels) -> str:
    """An image as a data URI: PNG, or JPEG where that is much smaller."""
    pixels = np.ascontiguousarray(pixels)
    kind, data = "png", _png(pixels)
    if max(pixels.shape) <= MAX_JPEG_SIDE:
        jpeg = encode_jpeg(pixels, JPEG_QUALITY)
        kind, data = ("jpeg", jpeg) if len(data) > JPEG_GAIN * len(jpeg) else (kind, data)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _png(pixels: Pixels) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if has_no_colour(pixels) else pixels).save(buffer, format="PNG")
    return buffer.getvalue()
