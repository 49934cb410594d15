"""A pack as one HTML file that needs nothing else: no script, no other file, pictures inside it.

Everything that comes from pages is escaped by the template engine, and a content security policy in the file forbids
scripts and every request, so that a hostile page stays text.

Tiles as the vision tower gets them, as pictures to look at.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wdstream.errors import ConfigError
from wdstream.families.base import Family
from wdstream.raw.images import MAX_SIDE, encode_jpeg, is_grey
from wdstream.records import Pixels
from wdstream.report.view import MEANING, ImageView, PackView, Run, TileView
from wdstream.report.words import counted, edged, one_line, percent, short_ids, shorten, visible
from wdstream.storage.atomic import write_file

if TYPE_CHECKING:
    from jinja2 import Environment
PLANES = 4
"""Dimensions of `pixel_values` in families that lay images out as (K, 3, H, W); others lay out patches."""


def tile_pictures(tile: Pixels, family: Family) -> tuple[Pixels, ...]:
    """What the family makes of one tile before patches are cut: one picture, or several where it splits the image.

    With `pixels: reference` the model gets the same pictures from its own processor, some pixels 2 grey levels apart.

    Args:
        tile: uint8 (h, w, 3), as it was cut.
        family: resizes it.
    """
    from wdstream.pixels.render import resize

    pixels = type(family).layout(family, [tile])["pixel_values"]  # the family's own, in uint8, also where it is swapped
    if pixels.ndim == PLANES:
        return tuple(np.ascontiguousarray(image.transpose(1, 2, 0)) for image in pixels)
    return (resize(tile, family.resized(tile.shape[1], tile.shape[0]), family.resample),)


TEMPLATE = "pack.html.jinja"
JPEG_QUALITY = 90
JPEG_GAIN = 2
"""A picture is JPEG where PNG, which shows every pixel as it is, would take more than this many times the bytes."""

TEXT_HEAD, TEXT_TAIL = 700, 250
SHOWN_TILES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGroup:
    """Neighbouring runs that belong to tiles, or one other run; `folded` are shown when asked for."""

    shown: tuple[Run, ...]
    folded: tuple[Run, ...] = ()
    last: tuple[Run, ...] = ()

    @property
    def num_folded_tiles(self) -> int:
        """Tiles among the folded runs."""
        return sum(run.kind == "image" for run in self.folded)

    @property
    def num_folded_tokens(self) -> int:
        """Tokens of the folded runs."""
        return sum(run.num_tokens for run in self.folded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What the model sees of one tile: data URIs in order, and how many lie side by side where they make a grid."""

    uris: tuple[str, ...]
    columns: int


def write_html(view: PackView, path: Path, *, full: bool = False) -> None:
    """Write a pack as an HTML file.

    Args:
        view: the pack.
        path: of the file; replaced when it is there.
        full: long texts and many tiles lie open; otherwise they are in the file, but folded.

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
    return template.render(view=view, full=full, meaning=MEANING)


def _environment(family: Family) -> "Environment":
    """The template engine, with everything escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("wdstream", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "comma": lambda count: f"{count:,}",
        "counted": counted,
        "edged": edged,
        "groups": run_groups,
        "one_line": one_line,
        "percent": percent,
        "pictures": lambda tile: pictures_of(tile, family),
        "short_ids": short_ids,
        "rows": tile_rows,
        "shorten": lambda text: shorten(text, head=TEXT_HEAD, tail=TEXT_TAIL),
        "visible": visible,
    }
    environment.filters.update(filters)
    return environment


def run_groups(runs: Sequence[Run]) -> Iterator[RunGroup]:
    """Runs in groups, of which long ones have a part to fold."""
    for is_tile, group in groupby(runs, key=lambda run: run.tile is not None):
        members = tuple(group)
        if is_tile and len(members) > 2 * SHOWN_TILES + 2:
            inner = members[SHOWN_TILES:-SHOWN_TILES]
            yield RunGroup(shown=members[:SHOWN_TILES], folded=inner, last=members[-SHOWN_TILES:])
        else:
            yield RunGroup(shown=members)


def tile_rows(image: ImageView) -> list[list[TileView]]:
    """The tiles of an image as they lie on the page, without the overview: rows from the top, each from the left."""
    tiles = [tile for tile in image.tiles if not tile.is_overview]
    by_top = groupby(sorted(tiles, key=lambda tile: (tile.box[1], tile.box[0])), key=lambda tile: tile.box[1])
    return [list(row) for _, row in by_top]


def pictures_of(tile: TileView, family: Family) -> Pictures:
    """The pictures of one tile."""
    pictures = tile_pictures(tile.pixels, family)
    columns = max(1, tile.model_size[0] // pictures[0].shape[1])
    return Pictures(uris=tuple(map(data_uri, pictures)), columns=columns)


def data_uri(pixels: Pixels) -> str:
    """A picture as a data URI: PNG, or JPEG where that is much smaller."""
    pixels = np.ascontiguousarray(pixels)
    kind, data = "png", _png(pixels)
    if max(pixels.shape) <= MAX_SIDE:
        jpeg = encode_jpeg(pixels, JPEG_QUALITY)
        kind, data = ("jpeg", jpeg) if len(data) > JPEG_GAIN * len(jpeg) else (kind, data)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _png(pixels: Pixels) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if is_grey(pixels) else pixels).save(buffer, format="PNG")
    return buffer.getvalue()
