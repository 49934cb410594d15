"""Grey pages as RGB without three copies: one plane whose channel stride is 0, so (h, w, 3) costs (h, w) bytes.

Decode makes such views, resize and patchify know them, everyone else sees plain RGB. They are to be read only: a write
to one channel would show in all three.
"""

import numpy as np
from numpy.typing import NDArray

from wdstream.records import Pixels


def grey_as_rgb(plane: NDArray[np.uint8]) -> Pixels:
    """A grey (h, w) plane seen as (h, w, 3)."""
    # Not `broadcast_to`: its result is marked read-only, and torch warns about every such array it is given.
    return np.lib.stride_tricks.as_strided(plane, (*plane.shape, 3), (*plane.strides, 0))


def is_grey(image: Pixels) -> bool:
    """Whether the three channels of (h, w, 3) are one plane."""
    return image.strides[2] == 0
