"""The invisible text layer of a scan: text that is not drawn, over a picture that shows it.

OCR programs write it in an invisible mode, without opacity, or first, with the scan drawn over it. Such text is true
where the picture has ink in the boxes of its lines, and where no visible text says the same already. Single words may
miss their ink: their boxes are as good as the program that placed them.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import SourceError
from wdstream.raw.pdf.blanks import lines_of, words_of
from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.ink import Picture, is_blank
from wdstream.raw.pdf.places import CharacterMask, centres_of, in_any, latest_over

MIN_PAGE_SHARE = 0.8
"""Of the page that images cover where the text under them is the layer of a scan, not text that a picture hides."""
_MIN_TEXT_SHARE = 0.9
"""Of the page's characters that are under those images."""
_MAX_WITHOUT_INK = 0.5
_MIN_LINES = 5
"""Of fewer, those without ink are dropped; a layer of as many that mostly misses its picture belongs to another."""
_LEAST_OVER_INK, _LEAST_DIFFERENCE, _MIN_GAPS = 0.72, 0.12, 50
"""Of the columns of words, and of those of words less those of the gaps between them, that have ink in the picture.
Where OCR programs put words (40 pages of books and manuals) it is 0.85 to 0.94 and 0.27 to 0.52, half a line away not
much less, a line away or on another page 0.2 to 0.75 and -0.05 to 0.12; where only lines were placed, 0.75 or more."""
_LEAST_AT_ALL = 0.1
_MOST_IN_GAPS = 0.9
"""Of the columns of gaps: more ink is that of squared paper or of stains, and tells nothing of words."""
_SHIFTS = tuple((across / 4, down / 4) for down in (0, -1, 1) for across in (0, -1, 1, -2, 2))
"""Of the height of words: a layer that is so far from its place is still in it."""
_MOST_LINES = 24
_INK, _MIN_INK = 40, 0.005
_STAMP = 3.0
"""Times as high as the layer's letters: visible ones that are printed over them, and do not repeat them."""
_BAR, _FEWEST_OF_BAR = 128, 2
"""Of 255, darker than the paper, and characters of a word: where it is that dark from end to end, nobody reads it."""
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
    paths: NDArray[np.float32],
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
        images, paths: (k, 5) boxes of the images of the page, and of paths that may cover a text, with their orders.
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
    layer |= _over_outlines(characters, hidden & unpainted & ~over_image, shown, picture)
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
    _check_place(characters.boxes, words, lines, layer & ~doubled, picture)
    redacted = _redacted(characters.boxes, words, layer, over_shown, picture, latest_over(centres, images), paths)
    return ScanLayer(keep=layer & ~doubled & ~blank[lines] & ~redacted, doubled=doubled)


def _over_outlines(
    characters: PageCharacters, chosen: CharacterMask, shown: CharacterMask, picture: Picture
) -> CharacterMask:
    """(n,) the chosen characters where these are a layer over letters that are drawn as paths, as design programs and
    tracers of scans draw them: a page with many words that have ink, and gaps that have less. Else none."""
    apart = chosen.copy()
    if apart.any():
        apart[chosen] = ~in_any_of_many(centres_of(characters.boxes[chosen]), _wider(characters.boxes[shown]))
    if np.count_nonzero(apart) <= _MIN_GAPS:
        return np.zeros(len(characters), np.bool_)
    words, lines = words_of(characters.codes, apart), lines_of(characters.codes, apart)
    pairs = _neighbours(characters.boxes, words, lines, apart)
    word, gap = _shares_of_ink(picture, int(np.median(picture[::8, ::8, 1])), pairs, 0, 0) if len(pairs) else (0, 0)
    is_layer = len(pairs) >= _MIN_GAPS and not _is_elsewhere(word, gap) and gap <= _MOST_IN_GAPS
    return apart & is_layer


def _redacted(
    boxes: NDArray[np.float32],
    words: NDArray[np.intp],
    layer: CharacterMask,
    over_shown: CharacterMask,
    picture: Picture,
    orders: NDArray[np.float32],
    paths: NDArray[np.float32],
) -> CharacterMask:
    """Characters of a layer under boxes that somebody drew over the scan, or that are a part of it.

    Args:
        boxes: (n, 4) of the characters.
        words: (n,) the word of each.
        layer, over_shown: (n,) which are of the layer, and of these, which are at the place of a visible one.
        picture: (height, width, 4) the page.
        orders: (n,) of the scan at each; 0 for none.
        paths: (k, 5) as of `find_scan_layer`.
    """
    found = np.zeros(len(boxes), np.bool_)
    over = layer & (latest_over(centres_of(boxes), paths) > orders)
    found[over] = is_blank(picture, _middles(boxes[over])) | over_shown[over]
    count = int(words.max()) + 1
    of_words = _middles(_boxes_of(boxes[layer], words[layer], count))
    x, y = np.clip(centres_of(of_words), 0, [picture.shape[1] - 1, picture.shape[0] - 1]).astype(np.intp).T
    is_dark = np.median(picture[::8, ::8, 1]) - picture[y, x, 1] > _BAR
    is_dark &= np.bincount(words[layer], minlength=count) >= _FEWEST_OF_BAR
    is_dark[is_dark] = is_blank(picture, of_words[is_dark])
    redacted: CharacterMask = found | (layer & is_dark[words])
    return redacted


def _middles(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes of half the height: programs give words the height of their line, and boxes over them less."""
    margin = (boxes[:, 3] - boxes[:, 1]) / 4
    middles = boxes.copy()
    middles[:, 1] += margin
    middles[:, 3] -= margin
    return middles


def _check_place(
    boxes: NDArray[np.float32],
    words: NDArray[np.intp],
    lines: NDArray[np.intp],
    layer: CharacterMask,
    picture: Picture,
) -> None:
    """Check that the words of a layer are where the picture has words, and their gaps where it has gaps.

    Args:
        boxes: (n, 4) of the characters.
        words, lines: (n,) the word and the line of each.
        layer: (n,) which are of the layer.
        picture: (height, width, 4) the page.

    Raises:
        SourceError: they are those of another page, or a line away.
    """
    pairs = _neighbours(boxes, words, lines, layer)
    paper = int(np.median(picture[::8, ::8, 1]))
    if len(pairs) < _MIN_GAPS or (np.abs(picture[::4, ::4, 1].astype(np.int16) - paper) > _INK).mean() < _MIN_INK:
        return
    height = float(np.median(pairs[:, 3] - pairs[:, 1]))
    for across, down in _SHIFTS:  # mostly the first is enough
        word, gap = _shares_of_ink(picture, paper, pairs, round(across * height), round(down * height))
        if not _is_elsewhere(word, gap):
            return
    word, gap = _shares_of_ink(picture, paper, pairs, 0, 0)
    raise SourceError(
        f"text layer does not fit the picture: there is ink in {word:.0%} of its words and {gap:.0%} of the gaps "
        "between them, as where it is another page's; put a text file next to the PDF, or use --text-layer all"
    )


def _is_elsewhere(word: float, gap: float) -> bool:
    """Whether these shares of ink, of words and of the gaps between them, are those of words that are elsewhere."""
    if gap > _MOST_IN_GAPS:
        return False
    return (word < _LEAST_OVER_INK and word - gap < _LEAST_DIFFERENCE) or word - gap < _LEAST_AT_ALL


def _neighbours(
    boxes: NDArray[np.float32], words: NDArray[np.intp], lines: NDArray[np.intp], layer: CharacterMask
) -> NDArray[np.intp]:
    """(k, 5) left, top, right, bottom of words that have one after them on their line, and its left; of some lines."""
    found: list[tuple[int, ...]] = []
    every = np.flatnonzero(np.bincount(lines[layer], minlength=1))
    for line in every[:: len(every) // _MOST_LINES + 1].tolist():
        members = np.flatnonzero(layer & (lines == line))
        starts = np.flatnonzero(np.diff(words[members], prepend=-1))
        low = np.minimum.reduceat(boxes[members, :2], starts)
        high = np.maximum.reduceat(boxes[members, 2:], starts)
        of_words = np.concatenate([low, high], axis=1).round().astype(np.intp).tolist()
        for (left, top, right, bottom), (end, *_) in pairwise(of_words):  # of skewed lines each is where it is
            if left + 1 < right < end - 1 < right + 2 * (bottom - top):
                found.append((left, top, right, bottom, end))
    return np.array(found, np.intp).reshape(-1, 5)


def _shares_of_ink(
    picture: Picture, paper: int, pairs: NDArray[np.intp], across: int, down: int
) -> tuple[float, float]:
    """The share of the columns of words, and of the gaps after them, that have ink in the picture.

    Args:
        picture: (height, width, 4) the page.
        paper: its grey value where it has no ink.
        pairs: as of `_neighbours`.
        across, down: pixels by which all of them are moved.
    """
    height, width = picture.shape[:2]
    moved = pairs + np.array([across, down, across, down, across])
    found = np.zeros((len(moved), 2))
    for number, (left, top, right, bottom, end) in enumerate(
        np.clip(moved, 0, [width, height, width, height, width]).tolist()
    ):
        if left < right < end and top < bottom:
            marked = np.abs(picture[top:bottom, left:end, 1].astype(np.int16) - paper) > _INK
            is_ink = np.asarray(marked.any(axis=0))
            found[number] = is_ink[: right - left].mean(), is_ink[right - left :].mean()
    word, gap = found.mean(axis=0).tolist()
    return word, gap


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
