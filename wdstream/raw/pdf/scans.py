"""The invisible text layer of a scan: text that is not drawn, over a picture that shows it.

OCR programs write it in an invisible mode, without opacity, or first, with the scan drawn over it. Such text is true
where the picture has ink in the boxes of its lines, and where no visible text says the same already. Single words may
miss their ink: their boxes are as good as the program that placed them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import SourceError
from wdstream.raw.pdf.blanks import lines_of, words_of
from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.ink import Picture, is_blank
from wdstream.raw.pdf.places import CharacterMask, centres_of, in_any

MIN_PAGE_SHARE = 0.8
"""Of the page that images cover where the text under them is the layer of a scan, not text that a picture hides."""
_MIN_TEXT_SHARE = 0.9
"""Of the page's characters that are under those images."""
_MAX_WITHOUT_INK = 0.5
_MIN_LINES = 5
"""Of fewer, those without ink are dropped; a layer of as many that mostly misses its picture belongs to another."""
_STAMP = 3.0
"""Times as high as the layer's letters: visible ones that are printed over them, and do not repeat them."""
_GRID = 64
_AROUND = 0.15
"""Of a glyph's height."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanLayer:
    """Of n characters: which belong to the layer of a scan, and which of a layer repeat visible text."""

    keep: CharacterMask
    doubled: CharacterMask


def find_scan_layer(
    characters: PageCharacters,
    images: NDArray[np.float32],
    picture: Picture,
    *,
    hidden: CharacterMask,
    unpainted: CharacterMask,
    covered: CharacterMask,
    shown: CharacterMask,
) -> ScanLayer:
    """Find the text layer of a scan among the characters that are not drawn.

    Args:
        characters: of the page.
        images: (k, 5) boxes of the images of the page.
        picture: (height, width, 4) the page.
        hidden: (n,) not drawn.
        unpainted: (n,) of an invisible mode, or without opacity.
        covered: (n,) something is drawn over it later.
        shown: (n,) drawn.

    Raises:
        SourceError: most of the layer is where the picture is blank.
    """
    none = np.zeros(len(characters), np.bool_)
    if not hidden.any():
        return ScanLayer(keep=none, doubled=none)
    centres = centres_of(characters.boxes)
    over_image = hidden & in_any(centres, images[:, :4])
    layer = over_image & unpainted
    beneath = over_image & covered
    if beneath.sum() >= _MIN_TEXT_SHARE * (hidden | shown).sum() and page_share(images, picture) >= MIN_PAGE_SHARE:
        layer |= beneath
    if not layer.any():
        return ScanLayer(keep=none, doubled=none)
    words = words_of(characters.codes, layer)
    count = int(words.max()) + 1
    lines = lines_of(characters.codes, layer)
    heights = characters.boxes[:, 3] - characters.boxes[:, 1]
    is_like = shown & (heights < _STAMP * np.median(heights[layer]))
    over_shown = layer & in_any_of_many(centres, _wider(characters.boxes[is_like]))
    doubled = layer & (
        _by_word(words, count, over_shown)[words] | _by_word(lines, int(lines.max()) + 1, over_shown)[lines]
    )
    boxes = _boxes_of(characters.boxes[layer], lines[layer], int(lines.max()) + 1)
    blank = is_blank(picture, boxes)
    if len(blank) >= _MIN_LINES and blank.mean() > _MAX_WITHOUT_INK:
        raise SourceError(
            f"text layer does not fit the picture: {blank.mean():.1%} of its {len(blank)} lines are where the page is "
            f"blank (limit {_MAX_WITHOUT_INK:.0%}); put a text file next to the PDF, or use --text-layer all"
        )
    return ScanLayer(keep=layer & ~doubled & ~blank[lines], doubled=doubled)


def in_any_of_many(points: NDArray[np.float32], boxes: NDArray[np.float32]) -> CharacterMask:
    """(n,) whether a point is in one of many small boxes; as `in_any`, by a picture of the boxes, to one pixel."""
    if not len(boxes) or not len(points):
        return np.zeros(len(points), np.bool_)
    low = np.maximum(np.floor(boxes[:, :2]), 0).astype(np.intp)
    high = np.maximum(np.ceil(boxes[:, 2:]), 0).astype(np.intp)
    width, height = high.max(axis=0) + 1
    painted = np.zeros((height, width), np.bool_)
    for (left, top), (right, bottom) in zip(low, high, strict=True):
        painted[top:bottom, left:right] = True
    places = points.astype(np.intp)
    on_page = ((places >= 0) & (places < (width, height))).all(axis=1)
    found = np.zeros(len(points), np.bool_)
    found[on_page] = painted[places[on_page, 1], places[on_page, 0]]
    return found


def _wider(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes of glyphs with the space around these, which thin letters have more of than ink."""
    margin = (boxes[:, 3] - boxes[:, 1]) * _AROUND
    return boxes + np.stack([-margin, -margin, margin, margin], axis=1)


def _by_word(words: NDArray[np.intp], count: int, mask: CharacterMask) -> CharacterMask:
    """(count,) whether the mask holds for half of a word's, or line's, characters or more."""
    chosen = words >= 0
    sizes = np.bincount(words[chosen], minlength=count)
    held = np.bincount(words[chosen], weights=mask[chosen], minlength=count)
    result: CharacterMask = held * 2 >= sizes
    return result


def _boxes_of(boxes: NDArray[np.float32], numbers: NDArray[np.intp], count: int) -> NDArray[np.float32]:
    """(count, 4) the box around the boxes with each number."""
    low, high = np.full((count, 2), np.inf, np.float32), np.full((count, 2), -np.inf, np.float32)
    np.minimum.at(low, numbers, boxes[:, :2])
    np.maximum.at(high, numbers, boxes[:, 2:])
    return np.concatenate([low, high], axis=1)


def page_share(images: NDArray[np.float32], picture: Picture) -> float:
    """The share of the page that its images cover together."""
    height, width = picture.shape[:2]
    steps = (np.arange(_GRID) + 0.5) / _GRID
    points = np.stack(np.meshgrid(steps * width, steps * height), axis=-1).reshape(-1, 2).astype(np.float32)
    return float(in_any(points, images[:, :4]).mean())
