"""Accents that a page draws as characters of their own, over or under a letter: `´e` that is printed as é.

Fonts of TeX's first encoding (OT1) and some others have no accented letters; PDFium then gives accent and letter one
after the other. Where the box of a spacing accent is over (under) the box of a letter both are one letter of Unicode;
an accent next to a letter, as `^` in code or in the table of a font, stays what it is.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.characters import PageCharacters, upright_boxes
from wdstream.raw.pdf.places import Boxes, CharacterMask, distinct
from wdstream.raw.pdf.reading.accent_marks import GREEK_CAPITALS, GREEK_SIGNS, composed, is_sign

_BEYOND = 0.08  # of the em: the middle of an accent may be so far beyond its letter, as in slanted fonts
_CENTRED, _NEAR_CENTRE = 0.3, 0.04  # of the letter's width, and of the em: how well a common sign is centred
_FAR_OVER, _FAR_UNDER = 0.35, 0.3  # of the em, between accent and letter; a second accent is over the first
_OVERLAP = 0.3  # of the letter's height: its top that an accent may reach into
_HOOKED = 0.12  # of the em: how far a cedilla reaches into its letter
_TOUCHING = 0.02  # of the em: an accent under a letter may reach into it
_WIDEST, _WIDER = 0.62, 1.35  # of the em, and of the letter's width: wider ones are over several letters
_WORD_GAP = 0.17  # of the em: more between two letters is a space
_LINE_GAP = 2.0  # of the em: more between two characters of one height is a line end
_TALL = 3.0  # of the height of a letter: no font is larger
_MOST_PAIRS = 400_000
_FEW = 16  # signs whose neighbours are looked at before all letters
_SPACE, _LINE_FEED, _RETURN = 0x20, 0x0A, 0x0D


@dataclass(slots=True)
class _Pairs:
    """Accents and the letters that they may belong to, k of each.

    Attributes:
        accents, letters: (k, 4) their boxes as if the text ran to the right.
        ems: (k,) size of the font of each letter in pixels.
        is_common: (k,) whether the accent is a sign that is mostly something else.
    """

    accents: Boxes
    letters: Boxes
    ems: NDArray[np.float32]
    is_common: NDArray[np.bool_] | np.bool_

    def over(self) -> NDArray[np.bool_]:
        """(k,) whether the accent is over the letter."""
        tops, bottoms = self.letters[:, 1], self.letters[:, 3]
        reach = np.where(self.is_common, 0.1, _OVERLAP) * (bottoms - tops)
        low = np.where(self.is_common, self.accents[:, 3], (self.accents[:, 1] + self.accents[:, 3]) / 2)
        near = self.accents[:, 3] >= tops - _FAR_OVER * self.ems
        found: NDArray[np.bool_] = self.across() & near & (low <= tops + reach)
        return found

    def under(self) -> NDArray[np.bool_]:
        """(k,) whether the accent is under the letter."""
        bottoms, tops = self.letters[:, 3], self.accents[:, 1]
        found: NDArray[np.bool_] = (
            self.across() & (tops >= bottoms - _TOUCHING * self.ems) & (tops <= bottoms + _FAR_UNDER * self.ems)
        )
        return found

    def hooked(self) -> NDArray[np.bool_]:
        """(k,) whether the accent hangs from the foot of the letter, as a cedilla does."""
        bottoms, tops = self.letters[:, 3], self.accents[:, 1]
        touches = (tops >= bottoms - _HOOKED * self.ems) & (tops <= bottoms + _TOUCHING * self.ems)
        found: NDArray[np.bool_] = self.across() & touches & (self.accents[:, 3] > bottoms + _TOUCHING * self.ems)
        return found

    def offsets(self) -> NDArray[np.float32]:
        """(k,) how far the middles are apart along the line, in pixels."""
        accents, letters = (boxes[:, 0] + boxes[:, 2] for boxes in (self.accents, self.letters))
        found: NDArray[np.float32] = np.abs(np.subtract(accents, letters)) / 2
        return found

    def across(self) -> NDArray[np.bool_]:
        """(k,) whether the accent is about as far along the line as the letter, and not too wide."""
        widths = self.letters[:, 2] - self.letters[:, 0]
        own = self.accents[:, 2] - self.accents[:, 0]
        offsets = self.offsets()
        within = np.where(self.is_common, _CENTRED * widths + _NEAR_CENTRE * self.ems, widths / 2 + _BEYOND * self.ems)
        found: NDArray[np.bool_] = (offsets <= within) & (own <= np.maximum(_WIDEST * self.ems, _WIDER * widths))
        return found

    def some(self, numbers: NDArray[np.intp]) -> "_Pairs":
        """Some of them, by number; all have the same `is_common`."""
        return _Pairs(self.accents[numbers], self.letters[numbers], self.ems[numbers], self.is_common)

    def places(self, signs: NDArray[np.uint32]) -> NDArray[np.int8]:
        """(k,) 1 where the accent is over the letter, -1 under it, 0 elsewhere."""
        is_under = is_sign(signs, "under") & self.under() | is_sign(signs, "hooked") & self.hooked()
        return np.where(is_sign(signs, "over") & self.over(), 1, np.where(is_under, -1, 0)).astype(np.int8)


def may_have_accents_apart(codes: NDArray[np.uint32], boxes_of: Callable[[NDArray[np.intp]], Boxes]) -> bool:
    """Whether some of these characters could be accents of letters.

    Args:
        codes: (n,) their code points.
        boxes_of: gives the (k, 4) boxes of the characters of these numbers; each takes its time, so few are asked for.
    """
    signs = np.flatnonzero(is_sign(codes, "any"))
    is_common = is_sign(codes[signs], "common")
    return _is_over_any_letter(codes, signs[~is_common], boxes_of) or _is_over_next(codes, signs[is_common], boxes_of)


def _is_over_any_letter(
    codes: NDArray[np.uint32], signs: NDArray[np.intp], boxes_of: Callable[[NDArray[np.intp]], Boxes]
) -> bool:
    """Whether one of these signs, by number, is over or under a letter of the page."""
    if not len(signs):
        return False
    letters = np.flatnonzero(_is_letter(codes))
    if len(signs) * len(letters) > _MOST_PAIRS:
        return True
    own = boxes_of(signs)
    at = np.searchsorted(letters, signs[:_FEW])
    beside = distinct(letters[np.clip(np.concatenate([at - 1, at]), 0, len(letters) - 1)]) if len(letters) else letters
    for numbers in (beside, letters):  # an accent is mostly next to its letter, and boxes of all take their time
        boxes = boxes_of(numbers)
        ems = _TALL * (boxes[:, 3] - boxes[:, 1])
        for sign, box in zip(signs.tolist(), own, strict=True):
            pairs = _Pairs(np.repeat(box[None], len(numbers), axis=0), boxes, ems, np.False_)
            if pairs.places(np.full(len(numbers), codes[sign])).any():
                return True
    return False


def _is_over_next(
    codes: NDArray[np.uint32], signs: NDArray[np.intp], boxes_of: Callable[[NDArray[np.intp]], Boxes]
) -> bool:
    """Whether one of these signs, by number, is over or under the letter before or after it."""
    solid = np.flatnonzero(codes > _SPACE)
    at = solid.searchsorted(signs)
    next_to = solid[np.stack([np.minimum(at + 1, len(solid) - 1), np.maximum(at - 1, 0)])]
    basic = codes[next_to] | 0x20
    may_be_letter = (basic > 0x7E) | (basic >= 0x61) & (basic <= 0x7A)
    is_asked = may_be_letter.any(axis=0)  # not in numbers, or leaders
    signs, next_to, may_be_letter = signs[is_asked], next_to[:, is_asked], may_be_letter[:, is_asked]
    if not len(signs):
        return False
    own, *beside = boxes_of(np.concatenate([signs, *next_to])).reshape(3, -1, 4)
    letters = np.concatenate(beside)
    if not (letters[:, 2] > letters[:, 0]).all():
        return True  # what is next to them is not printed
    pairs = _Pairs(np.concatenate([own, own]), letters, _TALL * (letters[:, 3] - letters[:, 1]), np.True_)
    near = np.flatnonzero(pairs.across() & may_be_letter.reshape(-1))
    if not len(near):  # as nearly always: signs are next to letters, not over them
        return False
    pairs = pairs.some(near)
    signs, numbers = np.tile(signs, 2)[near], next_to.reshape(-1)[near]
    near = (pairs.places(codes[signs]) != 0) & (pairs.accents[:, 2] > pairs.accents[:, 0])
    return bool(_is_letter(codes[numbers[near]]).any())


def compose_accents(characters: PageCharacters, keep: CharacterMask) -> tuple[PageCharacters, CharacterMask]:
    """The characters, and (n,) which count, with accents and their letters as one, in NFC.

    Letters that Unicode has only with a combining mark get it after them. Spaces and line ends that PDFium put in
    because of an accent go.
    """
    is_printed = keep & (characters.boxes[:, 2] > characters.boxes[:, 0])
    is_sound = characters.is_mapped | ~is_sign(characters.codes, "common")
    signs = np.flatnonzero(is_printed & is_sound & is_sign(characters.codes, "any"))
    if not len(signs):
        return characters, keep
    boxes = upright_boxes(characters)
    found = _letters_of(characters, keep, boxes, signs)
    return _rebuilt(characters, keep, boxes, found) if found else (characters, keep)


def _is_letter(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """(n,) which are letters of scripts that take such accents: Latin, Greek, Cyrillic, those of formulas."""
    in_block = (codes < 0x590) | (codes >= 0x1E00) & (codes < 0x2000) | (codes >= 0x1D400) & (codes < 0x1D800)
    found = np.zeros(len(codes), np.bool_)
    kinds, kind = np.unique(codes[in_block], return_inverse=True)
    is_letter = [chr(code).isalpha() and unicodedata.category(chr(code)) != "Lm" for code in kinds.tolist()]
    found[in_block] = np.array(is_letter, np.bool_)[kind]
    return found


@dataclass(slots=True)
class _Accent:
    number: int
    letter: int
    is_over: bool
    distance: float


def _letters_of(
    characters: PageCharacters, keep: CharacterMask, boxes: Boxes, signs: NDArray[np.intp]
) -> dict[int, list[_Accent]]:
    """Accents by the letter that they belong to: one next to them, or, where none is, any that they are over."""
    codes = characters.codes
    is_printed = keep & (boxes[:, 2] > boxes[:, 0])
    is_letter = np.zeros(len(codes), np.bool_)
    is_letter[is_printed] = _is_letter(codes[is_printed])
    others = np.flatnonzero(is_printed & ~is_sign(codes, "any"))
    letters = np.flatnonzero(is_letter)
    if not len(letters):
        return {}
    places = np.searchsorted(others, signs)
    beside = np.stack([others[np.clip(places + shift, 0, len(others) - 1)] for shift in (0, -1)], axis=1)
    rows, columns = np.nonzero(is_letter[beside])
    chosen = _best(characters, boxes, signs, rows, beside[rows, columns])
    for at, pair in enumerate(zip(signs.tolist(), beside[:, 0].tolist(), strict=True)):
        chosen[at] = chosen[at] or _before_capital(characters, boxes, *pair)
    is_apart = np.array([accent is None for accent in chosen], np.bool_) & ~is_sign(codes[signs], "common")
    found = [accent for accent in (*chosen, *_anywhere(characters, boxes, signs[is_apart], letters)) if accent]
    by_letter: dict[int, list[_Accent]] = {}
    for accent in sorted(found, key=lambda accent: accent.number):
        by_letter.setdefault(accent.letter, []).append(accent)
    return by_letter


def _anywhere(
    characters: PageCharacters, boxes: Boxes, signs: NDArray[np.intp], letters: NDArray[np.intp]
) -> "list[_Accent | None]":
    """For each sign the letter, wherever in PDFium's order, that it is over or under."""
    if not len(signs):
        return []
    reach = characters.objects.font_sizes[characters.object_number[letters]]  # an em; none is further from its letter
    near = [np.flatnonzero(_are_near(boxes[letters], boxes[number], reach)) for number in signs]
    rows = np.repeat(np.arange(len(signs)), [len(one) for one in near])
    return _best(characters, boxes, signs, rows, letters[np.concatenate(near)])


def _are_near(boxes: Boxes, box: Boxes, reach: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(k,) which of these boxes are so near to one, (4,), that more has to be asked."""
    found: NDArray[np.bool_] = (
        (boxes[:, 0] <= box[2] + reach)
        & (boxes[:, 2] >= box[0] - reach)
        & (boxes[:, 1] <= box[3] + reach)
        & (boxes[:, 3] >= box[1] - reach)
    )
    return found


def _best(
    characters: PageCharacters, boxes: Boxes, signs: NDArray[np.intp], rows: NDArray[np.intp], letters: NDArray[np.intp]
) -> "list[_Accent | None]":
    """For each sign the nearest letter that it is over or under, among those of its row.

    Args:
        characters: of the page.
        boxes: (n, 4) theirs.
        signs: (m,) numbers of the signs.
        rows: (k,) in rising order: which sign may be an accent of a letter.
        letters: (k,) the number of that letter.
    """
    chosen: list[_Accent | None] = [None] * len(signs)
    numbers = signs[rows]
    ems = characters.objects.font_sizes[characters.object_number[letters]]
    codes = characters.codes[numbers]
    pairs = _Pairs(boxes[numbers], boxes[letters], ems, is_sign(codes, "common"))
    places = pairs.places(codes)
    gaps = np.where(places > 0, boxes[letters, 1] - boxes[numbers, 3], boxes[numbers, 1] - boxes[letters, 3])
    costs = pairs.offsets() + np.abs(gaps)
    fitting = np.flatnonzero(places)
    fitting = fitting[np.lexsort((costs[fitting], rows[fitting]))]
    first = np.unique(rows[fitting], return_index=True)[1]
    for at in fitting[first].tolist():
        chosen[rows[at]] = _Accent(int(numbers[at]), int(letters[at]), bool(places[at] > 0), float(gaps[at]))
    return chosen


def _before_capital(characters: PageCharacters, boxes: Boxes, number: int, letter: int) -> _Accent | None:
    """A Greek capital with the accent before it, where Greek prints it; they follow each other in the file."""
    sign, capital = chr(characters.codes[number]), chr(characters.codes[letter])
    if letter != number + 1 or sign not in GREEK_SIGNS or capital not in GREEK_CAPITALS:
        return None
    em = float(characters.objects.font_sizes[characters.object_number[letter]])
    is_high = boxes[number, 3] < (boxes[letter, 1] + boxes[letter, 3]) / 2
    is_near = abs(float(boxes[letter, 0] - boxes[number, 2])) < _WORD_GAP * em
    return _Accent(number, letter, True, 0.0) if is_high and is_near else None


def _rebuilt(
    characters: PageCharacters, keep: CharacterMask, boxes: Boxes, found: dict[int, list[_Accent]]
) -> tuple[PageCharacters, CharacterMask]:
    codes, is_mapped = characters.codes.copy(), characters.is_mapped.copy()
    marks: dict[int, str] = {}
    for letter, accents in found.items():
        accents.sort(key=lambda accent: (not accent.is_over, accent.distance))
        written = composed(chr(codes[letter]), [(chr(codes[one.number]), one.is_over) for one in accents])
        codes[letter], marks[letter] = ord(written[0]), written[1:]
        is_mapped[letter] &= all(is_mapped[accent.number] for accent in accents)
    gone = np.zeros(len(codes), np.bool_)
    gone[[accent.number for accents in found.values() for accent in accents]] = True
    _settle_blanks(replace(characters, codes=codes), boxes, gone)
    stays = np.flatnonzero(~gone)
    counts, apart = np.ones(len(codes), np.intp), {number: text for number, text in marks.items() if text}
    for number, text in apart.items():
        counts[number] += len(text)
    taken = np.repeat(stays, counts[stays])
    extra = np.zeros(len(taken), np.uint32)
    for number, text in apart.items():
        at = int(np.searchsorted(taken, number)) + 1
        extra[at : at + len(text)] = [*map(ord, text)]
    return (
        replace(
            characters,
            codes=np.where(extra > 0, extra, codes[taken]),
            boxes=characters.boxes[taken],
            is_generated=characters.is_generated[taken],
            is_mapped=is_mapped[taken],
            object_number=characters.object_number[taken],
        ),
        keep[taken],
    )


def _settle_blanks(characters: PageCharacters, boxes: Boxes, gone: CharacterMask) -> None:
    """Mark as gone what PDFium put in around accents that are gone, but what still parts two characters."""
    codes, is_put_in = characters.codes, characters.is_generated
    real = np.flatnonzero(~gone & ~is_put_in)
    places = distinct(np.searchsorted(real, np.flatnonzero(gone)))
    for place in places.tolist():
        before = int(real[place - 1]) if place else -1
        after = int(real[place]) if place < len(real) else len(codes)
        blanks = [number for number in range(before + 1, after) if is_put_in[number]]
        if not blanks:
            continue
        gone[blanks] = True
        if before >= 0 and after < len(codes):
            stays = _parting(characters, boxes, (before, after), blanks)
            gone[stays] = False


def _parting(characters: PageCharacters, boxes: Boxes, around: tuple[int, int], blanks: Sequence[int]) -> list[int]:
    """Which of the blanks between two characters still part them; a line end may become the space that is left."""
    codes = characters.codes
    before, after = boxes[around[0]], boxes[around[1]]
    em = float(characters.objects.font_sizes[characters.object_number[around[1]]])
    gap = float(after[0] - before[2])
    overlap = min(before[3], after[3]) - max(before[1], after[1])
    is_one_line = overlap > 0.3 * min(before[3] - before[1], after[3] - after[1]) and -em < gap < _LINE_GAP * em
    ends = [next((at for at in blanks if codes[at] == code), None) for code in (_RETURN, _LINE_FEED)]
    ends_found = [at for at in ends if at is not None]
    if ends_found and not is_one_line:
        return ends_found
    if _SPACE in (codes[around[0]], codes[around[1]]) or (is_one_line and gap <= _WORD_GAP * em):
        return []
    codes[blanks[0]] = _SPACE
    return list(blanks[:1])
