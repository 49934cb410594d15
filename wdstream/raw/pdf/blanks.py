"""Blanks between characters: what is one, which stay when others go, and the words between them."""

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.places import CharacterMask, distinct
from wdstream.text.characters import kinds_of

_HYPHEN_AT_LINE_END = 2
_BLANKS = [*range(0x21), *range(0x7F, 0xA1), 0xAD, *range(0x2000, 0x2010), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
_IS_BLANK = np.zeros(0x10000, np.bool_)
_IS_BLANK[[*_BLANKS, 0xFEFF, 0xFFFE]] = True
_IS_BLANK[_HYPHEN_AT_LINE_END] = False
_BLANK_KINDS = frozenset(map(chr, np.flatnonzero(_IS_BLANK).tolist()))
_LINE_ENDS = (10, 13)


def is_blank_code(codes: NDArray[np.uint32]) -> CharacterMask:
    """(n,) whether a code point shows nothing by itself: spaces, controls, joiners, the soft hyphen."""
    blank: CharacterMask = _IS_BLANK[np.minimum(codes, 0xFFFF)]
    return blank


def count_blanks(text: str) -> int:
    """How many characters of a text are blanks as `is_blank_code` has them."""
    return sum(text.count(kind) for kind in kinds_of(text) if kind in _BLANK_KINDS)


def is_letter_code(codes: NDArray[np.uint32]) -> CharacterMask:
    """(n,) whether a code point is a digit or letter of ASCII, or above all signs of Latin-1."""
    basic = codes | 0x20
    letter: CharacterMask = ((basic >= 0x61) & (basic <= 0x7A)) | ((codes >= 0x30) & (codes <= 0x39))
    return letter | ((codes >= 0xC0) & (codes < 0x2000))


def words_of(codes: NDArray[np.uint32], chosen: CharacterMask) -> NDArray[np.intp]:
    """(n,) number of the word that a character belongs to, a run of chosen ones on one line; -1 if not chosen."""
    goes_on = chosen & (codes != _HYPHEN_AT_LINE_END)
    starts = chosen.copy()
    starts[1:] &= ~goes_on[:-1]
    return np.where(chosen, np.cumsum(starts) - 1, -1)


def lines_of(codes: NDArray[np.uint32], chosen: CharacterMask) -> NDArray[np.intp]:
    """(n,) number of the line that a character belongs to, as line ends in PDFium's order say; -1 if not chosen."""
    ends: NDArray[np.intp] = np.cumsum(np.isin(codes, _LINE_ENDS))
    return np.where(chosen, np.searchsorted(distinct(ends[chosen]), ends), -1)


def settle_blanks(
    codes: NDArray[np.uint32], real: CharacterMask, judged: CharacterMask, keep: CharacterMask
) -> CharacterMask:
    """(n,) `keep` of a page's real characters, with the blanks and the unjudged ones that belong to them.

    What has no box (an empty glyph) follows the character before it. Where nothing was dropped between two characters
    their blanks stay as they are; where something was, one line end stays, or else one blank.
    """
    settled = keep.copy()
    anchors = np.flatnonzero(judged)
    if not len(anchors):
        return np.ones(len(codes), np.bool_)
    at = np.maximum(np.cumsum(judged) - 1, 0)  # the number of the anchor at or before each
    loose = real & ~judged
    settled[loose] &= keep[anchors[at]][loose]
    settled[~real] = False
    kept = np.flatnonzero(settled)
    gaps = np.cumsum(settled)  # the number of the gap between two that stay, in which each other one is
    holed = np.bincount(gaps[real & ~settled], minlength=len(kept) + 1) > 0
    settled |= ~holed[gaps]
    bounds = np.concatenate([[-1], kept, [len(codes)]])
    for gap in np.flatnonzero(holed).tolist():
        _settle_gap(codes, real, settled, int(bounds[gap]) + 1, int(bounds[gap + 1]))
    return settled


def _settle_gap(codes: NDArray[np.uint32], real: CharacterMask, settled: CharacterMask, start: int, stop: int) -> None:
    """Decide on the characters from `start` to before `stop`, between two that stay, some of which were dropped."""
    blanks = ~real[start:stop]
    if start == 0 or stop == len(codes):
        return
    ends = start + np.flatnonzero(blanks & np.isin(codes[start:stop], _LINE_ENDS))
    if len(ends):
        settled[ends[0]] = True
        if len(ends) > 1 and ends[1] == ends[0] + 1 and tuple(codes[ends[:2]]) == (13, 10):
            settled[ends[1]] = True
    elif blanks.any():
        settled[start + np.flatnonzero(blanks)[0]] = True
