"""Scans whose text layer is a stamp: a page number, a shelf mark or a link, while the text of the page is its picture.

Where pictures are read by an engine anyway, such a layer is no reason to leave a page out.
"""

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.ink import Picture
from wdstream.raw.pdf.layer import TextLayer
from wdstream.raw.pdf.places import in_any
from wdstream.raw.pdf.scans import MIN_PAGE_SHARE, page_share

_MOST_CHARACTERS = 300
_MIN_OUTSIDE = 0.5
"""Of the ink, that is outside of the boxes of the layer's texts."""
_INK = 64
"""Of 255, between the paper, which is the median of the page, and ink."""
_LEAST_LONGER = 2
"""Times as many characters as the layer has a reading of the picture must have to count in its place."""

_OF_PLACEHOLDERS = (
    "if this message is not eventually replaced",
    "adobe.com/go/reader_download",
    "adobe.com/go/acrreader",
)
"""What Adobe's programs write on them, the addresses in every language."""
_LONGEST_PLACEHOLDER = 1000


def is_stamp(layer: TextLayer, images: NDArray[np.float32], picture: Picture) -> bool:
    """Whether a text layer says little of a page that is an image.

    Args:
        layer: of the page.
        images: (k, 5) boxes of its images.
        picture: (height, width, 4) the page.
    """
    if len("".join(layer.text.split())) > _MOST_CHARACTERS or page_share(images, picture) < MIN_PAGE_SHARE:
        return False
    return _ink_outside(picture, layer.spans) > _MIN_OUTSIDE


def says_more(reading: str, layer: str) -> bool:
    """Whether the reading of a picture says so much more than its layer that it counts."""
    return len("".join(reading.split())) > _LEAST_LONGER * len("".join(layer.split()))


def _ink_outside(picture: Picture, boxes: NDArray[np.float32]) -> float:
    """The share of the ink of a picture that is outside of (k, 4) boxes."""
    grey = picture[..., :3].mean(axis=2)
    rows, columns = np.nonzero(np.abs(grey - np.median(grey)) > _INK)
    points = np.stack([columns, rows], axis=1).astype(np.float32) + 0.5
    return float(1 - in_any(points, boxes).mean()) if len(points) else 0.0


def is_placeholder(text: str, *, is_alone: bool) -> bool:
    """Whether the text of a page asks for a viewer of XFA forms, or says nothing else.

    Args:
        text: of the page.
        is_alone: whether it is the only page, and the document says that it is not what a reader shall see. Then any
            text that is as short as these notices, in any language, is one; longer text is a form with static pages.
    """
    said = " ".join(text.split()).casefold()
    return any(part in said for part in _OF_PLACEHOLDERS) or (is_alone and len(said) < _LONGEST_PLACEHOLDER)
