"""Tiles as the vision tower gets them, as pictures to look at."""

import numpy as np

from wdstream.families.base import Family
from wdstream.records import Pixels

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
