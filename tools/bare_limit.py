"""(c), the bare limit that the benches compare wdstream with: decode, resize, one copy; no text, checks or framework.

The copy brings every tile into patch order. That belongs to the limit: no model takes pixels as they are, so whoever
copies them so has to copy them once more. Rows of P pixels move as one item, the fastest way we know; the plain strided
assignment that the layout's formula suggests would take several times as long, and flatter whoever is compared with it.

With `is_plain_copy` tiles are copied as they are: less than any pipeline can do, a floor for the figures.
"""

from collections.abc import Iterable

import numpy as np
import simplejpeg
import torch

from stream_pillow import pillow_page
from wdstream.pixels.header import image_header
from wdstream.records import Size, TilePlan


def bare_page(data: bytes) -> np.ndarray:
    """uint8 (h, w, 3) by the shortest way."""
    header = image_header(data, count_frames=False)
    if header.format == "JPEG" and header.orientation == 1 and header.mode != "CMYK":
        return simplejpeg.decode_jpeg(data)  # type: ignore[no-any-return]
    return np.array(pillow_page(data))


def bare_tiles(data: bytes, plan: TilePlan, sizes: Iterable[Size], resample: str) -> Iterable[np.ndarray]:
    """Decode, crop and resize, one tile at a time; `sizes` (width, height) are those of the outputs."""
    page = bare_page(data)
    for (left, top, right, bottom), size in zip(plan.boxes, sizes, strict=True):
        yield _resized(page[top:bottom, left:right], size, resample)


def copy_tile(tile: np.ndarray, out: np.ndarray, *, patch_size: int, merge_size: int, is_plain_copy: bool) -> None:
    """The one copy, into uint8 (tile.size,): patches of merged blocks; channels first where there are no blocks."""
    height, width, _ = tile.shape
    if is_plain_copy:
        np.copyto(out.reshape(tile.shape), tile)
    elif not merge_size:
        np.copyto(out.reshape(3, height, width), tile.transpose(2, 0, 1))
    else:
        row = np.dtype((np.void, 3 * patch_size))
        rows, columns = height // (merge_size * patch_size), width // (merge_size * patch_size)
        items = tile.reshape(rows, merge_size, patch_size, columns, merge_size, row.itemsize).view(row)[..., 0]
        places = out.reshape(rows, columns, merge_size, merge_size, patch_size, row.itemsize).view(row)[..., 0]
        np.copyto(places, items.transpose(0, 3, 1, 4, 2))


def _resized(tile: np.ndarray, size: Size, resample: str) -> np.ndarray:
    """torch's resize of a crop, if it needs any."""
    if (tile.shape[1], tile.shape[0]) == size:
        return tile
    pixels = torch.from_numpy(tile).unsqueeze(0).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(pixels, (size[1], size[0]), mode=resample, antialias=True)
    return resized[0].permute(1, 2, 0).numpy()
