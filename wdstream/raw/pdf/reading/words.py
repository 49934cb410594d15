"""One line of a right-to-left page: its glyphs and words at their printed places."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.places import Boxes, extent_of
from wdstream.raw.pdf.reading.bidi import MIRROR, Element, element_of
from wdstream.raw.pdf.reading.joining import JOINER
from wdstream.raw.pdf.reading.lines import left_out
from wdstream.text.characters import plain_letters

_TURNED_BY_PDFIUM = MIRROR | dict(zip("“”‘’", "”“’‘", strict=True))
_NOT_PRINTED = frozenset("\u200b\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\u00ad")
_LEFT_OUT = 0x200B  # printed as nothing
_ALEF = frozenset("اأإآٱ")
_POINTS = frozenset(".,:;!?،؛؟۔٪" + "".join(MIRROR))
_SPACE, _SPACE_AT_POINT, _SPACE_IF_PUT_IN = 0.2, 0.35, 0.1  # gaps in ems that are a space
_BESIDE = 0.12  # a mark may be so far from its letter, in ems
_FAR = 1.0  # too far for one word, in ems
_FAR_IF_KNOWN = 0.6  # in ems: where browsers wrote spaces, nothing else parts two letters that are nearer
_FLAT = 0.15  # of the em: a stroke between letters, not a letter
_TYPED_FIRST = "\u0651\u05bc\u05c1\u05c2\u0653\u0654\u0655"


@dataclass(slots=True)
class Glyph:
    """A printed letter or sign, with its marks.

    Attributes:
        places: of its characters in the line, in PDFium's order.
        number: of its first character in the page.
        text: its characters, several for a ligature.
        left, right: where it begins and ends along the line, in pixels.
        em: size of its font in pixels.
        marks: combining marks on it.
    """

    places: list[int]
    number: int
    text: str
    left: float
    right: float
    em: float
    marks: str = ""

    @property
    def centre(self) -> float:
        """Its middle along the line, in pixels."""
        return (self.left + self.right) / 2

    @property
    def is_letter(self) -> bool:
        """Whether it is a letter of a right-to-left script."""
        return _is_right_to_left(self.text[0])


@dataclass(slots=True)
class GlyphRun:
    """Glyphs from left to right: right-to-left letters that PDFium has as one word, or one other sign."""

    glyphs: list[Glyph]
    is_word: bool

    @property
    def centre(self) -> float:
        """Its middle along the line, in pixels."""
        return (min(glyph.left for glyph in self.glyphs) + max(glyph.right for glyph in self.glyphs)) / 2

    def turned(self) -> "GlyphRun":
        """The run with its letters the other way round."""
        return GlyphRun(self.glyphs[::-1], True) if self.is_word else self


class PrintedLine:
    """One line of a page.

    Args:
        characters: of the page.
        line: (k,) their numbers, in PDFium's order.
        are_ligatures_turned: whether PDFium turned the letters of glyphs that are several.
        spaces: (k, 2) middles of spaces of the file that are none of the characters; None where these are not known.

    Attributes:
        runs: its words and signs from left to right.
        right: where it ends, in pixels.
        em: size of its font in pixels, of most characters.
    """

    def __init__(
        self,
        characters: PageCharacters,
        line: NDArray[np.intp],
        *,
        are_ligatures_turned: bool = True,
        spaces: Boxes | None = None,
    ) -> None:
        self._are_ligatures_turned = are_ligatures_turned
        self._numbers = line.tolist()
        self._codes = list(map(chr, np.where(left_out(characters, line), _LEFT_OUT, characters.codes[line]).tolist()))
        places, ems = along(characters, line), _font_sizes(characters, line)
        is_empty_space = (characters.codes[line] == 0x20) & (places[:, 1] - places[:, 0] <= 0.02 * ems)
        self._put_in = set(np.flatnonzero(characters.is_generated[line] | is_empty_space).tolist())
        self._places: list[list[float]] = places.tolist()
        self._ems: list[float] = ems.tolist()
        sides = np.column_stack(
            [characters.object_number[line], _across(characters, line), places[:, 1] - places[:, 0]]
        )
        self._parts = [*map(tuple, sides.round(1).tolist())]
        self._is_flat = (characters.boxes[line, 3] - characters.boxes[line, 1] < _FLAT * ems).tolist()
        self._spaces = _spaces_of_line(characters, line, spaces) if spaces is not None else []
        self._unturn()
        glyphs, marks = self._glyphs()
        self._attach(marks, glyphs)
        self._goes_right = _goes_right(glyphs)
        self.right = max((glyph.right for glyph in glyphs), default=0.0)
        self.em = float(np.median(ems))
        self.runs = sorted(self._runs(glyphs), key=lambda run: run.centre)

    def _unturn(self) -> None:
        """Undo PDFium's mirroring: it turns what is neutral after a right-to-left letter and before a Latin one."""
        turning = False
        for at, code in enumerate(self._codes):
            if _is_right_to_left(code):
                turning = True
            elif unicodedata.bidirectional(code) == "L":
                turning = False
            elif turning:
                self._codes[at] = _TURNED_BY_PDFIUM.get(code, code)

    def _glyphs(self) -> tuple[list[Glyph], list[int]]:
        """Glyphs in PDFium's order, the characters of one place together, and the places of marks."""
        glyphs: list[Glyph] = []
        marks = []
        for at, code in enumerate(self._codes):
            if at in self._put_in or code in _NOT_PRINTED:
                continue
            if code == JOINER or unicodedata.category(code) == "Mn":
                marks.append(at)
                continue
            left, right = self._places[at]
            text, last = _plain(code), glyphs[-1] if glyphs else None
            is_same_glyph = last is not None and (last.left, last.right) == (left, right) and right > left
            if last and is_same_glyph and text.isalpha() and last.places[-1] == at - 1:
                last.places.append(at)
                last.text = _ligature(last.text, text, are_turned=self._are_ligatures_turned)
                continue
            if last and last.text == text and last.is_letter and self._is_flat[at]:
                last.left, last.right = min(last.left, left), max(last.right, right)
                continue  # the stroke between two letters, which some files give the letter's code
            glyphs.append(Glyph([at], self._numbers[at], text, left, right, self._ems[at]))
        return glyphs, marks

    def _attach(self, marks: Sequence[int], glyphs: Sequence[Glyph]) -> None:
        """Put each mark on its letter: the one before or after it in PDFium's order, whichever side fits this line."""
        letters = [glyph for glyph in glyphs if unicodedata.category(glyph.text[0])[0] in "LN"] or list(glyphs)
        if not letters:
            return
        first = np.array([glyph.places[0] for glyph in letters])
        after = [int(np.searchsorted(first, at)) for at in marks]
        pairs = [(letters[max(place - 1, 0)], letters[min(place, len(letters) - 1)]) for place in after]
        places = [self._places[at] for at in marks]
        outside = np.array(
            [[_outside(letter, place) for letter in pair] for pair, place in zip(pairs, places, strict=True)]
        )
        side = 1 if len(outside) and outside[:, 0].sum() > outside[:, 1].sum() else 0
        for at, index, pair, place in zip(marks, after, pairs, places, strict=True):
            letter = next((glyph for glyph in pair if [glyph.left, glyph.right] == place), pair[side])
            named = [glyph for glyph in letters if self._parts[glyph.places[0]] == self._parts[at]]
            if named:
                letter = min(named, key=lambda glyph: abs(glyph.places[0] - at))
                self._widen(letter, at)
            elif _outside(letter, place) > _BESIDE * letter.em:
                near = letters[max(0, index - 4) : index + 4]
                letter = min(near, key=lambda glyph: _outside(glyph, place))
            if not named and _outside(letter, place) > 4 * _BESIDE * letter.em:
                letter = min(letters, key=lambda glyph: _outside(glyph, place))
            letter.marks = "".join(sorted(letter.marks + self._codes[at], key=_order_of_mark))

    def _widen(self, letter: Glyph, mark: int) -> None:
        """Give a letter the part of its box that PDFium gives its mark, where browsers name both together."""
        left, right = self._places[mark]
        letter.left, letter.right = min(left, letter.left), max(right, letter.right)

    def _runs(self, glyphs: Sequence[Glyph]) -> Iterator[GlyphRun]:
        """Words of right-to-left letters as PDFium has them together, everything else one by one."""
        word: list[Glyph] = []
        for glyph in glyphs:
            if word and not (glyph.is_letter and self._continues(word[-1], glyph)):
                yield self._word(word)
                word = []
            if glyph.is_letter:
                word.append(glyph)
            else:
                yield GlyphRun([glyph], False)
        if word:
            yield self._word(word)

    def _word(self, glyphs: list[Glyph]) -> GlyphRun:
        goes_right = self._goes_right
        steps = np.diff([glyph.centre for glyph in glyphs])
        if len(steps) and (steps > 0).all() != (steps < 0).all():  # browsers name some words (`/ActualText`), not all
            goes_right = bool((steps > 0).all())
        return GlyphRun(glyphs if goes_right else glyphs[::-1], True)

    def _continues(self, last: Glyph, glyph: Glyph) -> bool:
        """Whether `glyph`, after `last` in PDFium's order, is of the same word."""
        between = range(last.places[-1] + 1, glyph.places[0])
        gap = max(last.left, glyph.left) - min(last.right, glyph.right)
        if self._goes_right or between:
            return not self._only_spaces(between) and gap < _SPACE * glyph.em
        return gap < _FAR * glyph.em

    def _only_spaces(self, between: range) -> bool:
        return len(between) > 0 and all(at in self._put_in for at in between)

    def elements(self) -> Iterator[Element]:
        """The line's elements from left to right, with the spaces between its words."""
        before: Glyph | None = None
        for run in self.runs:
            for glyph in run.glyphs:
                if before is not None and glyph is run.glyphs[0] and self._space_between(before, glyph):
                    yield Element(" ", "WS")
                yield element_of(glyph.text + glyph.marks, glyph.number)
                before = glyph

    def _space_between(self, before: Glyph, glyph: Glyph) -> bool:
        """Whether a space parts two glyphs that are printed side by side.

        Letters that PDFium has side by side, too, are parted where it parts them: it knows what each font calls wide.
        """
        if " " in (before.text, glyph.text):
            return False
        first, last = sorted((before, glyph), key=lambda glyph: glyph.places[0])
        between = range(first.places[-1] + 1, last.places[0])
        gap = (glyph.left - before.right) / min(before.em, glyph.em)
        is_word = before.text[-1].isalnum(), glyph.text[0].isalnum()
        if any(before.centre < space < glyph.centre for space in self._spaces):
            return True
        if self._spaces and gap < (_FAR_IF_KNOWN if before.is_letter and glyph.is_letter else _SPACE_AT_POINT):
            return False
        if self._only_spaces(between):
            return all(is_word) or gap > _SPACE_IF_PUT_IN
        is_alike = is_word[0] == is_word[1] and not (before.marks or glyph.marks)
        if not between and is_alike and not (self._goes_right and (before.is_letter or glyph.is_letter)):
            return False
        points = before.text in _POINTS or glyph.text in _POINTS
        return gap > (_SPACE_AT_POINT if points else _SPACE)


_plain = lru_cache(maxsize=4096)(plain_letters)


@lru_cache(maxsize=4096)
def _is_right_to_left(letter: str) -> bool:
    return unicodedata.bidirectional(letter) in {"R", "AL"}


def _goes_right(glyphs: Sequence[Glyph]) -> bool:
    """Whether most neighbouring letters, in PDFium's order, go from left to right."""
    pairs = [(before, after) for before, after in pairwise(glyphs) if before.is_letter and after.is_letter]
    steps = [after.left - before.left for before, after in pairs if abs(after.left - before.left) < _FAR * after.em]
    return sum(1 if step > 0 else -1 for step in steps if step) > 0


def along(characters: PageCharacters, line: NDArray[np.intp]) -> NDArray[np.float32]:
    """(k, 2) where each character begins and ends along its line, in pixels, for text turned by right angles too."""
    left, top, right, bottom = characters.boxes[line].T
    quarter = _quarter_of(characters, line)
    return np.stack([(left, right), (top, bottom), (-right, -left), (-bottom, -top)][quarter], axis=1)


def _across(characters: PageCharacters, line: NDArray[np.intp]) -> NDArray[np.float32]:
    """(k, 2) the same across the line."""
    sides = (1, 3) if _quarter_of(characters, line) % 2 == 0 else (0, 2)
    return characters.boxes[line][:, sides]


def _spaces_of_line(characters: PageCharacters, line: NDArray[np.intp], spaces: Boxes) -> list[float]:
    """Which of (k, 2) spaces are on a line of text from left to right or right to left, by where they are along it."""
    boxes = characters.boxes[line][characters.object_number[line] >= 0]
    if not len(boxes) or _quarter_of(characters, line):
        return []
    left, top, right, bottom = extent_of(boxes).tolist()
    x, y = spaces.T
    return sorted(x[(x > left) & (x < right) & (y > top) & (y < bottom)].tolist())


def _quarter_of(characters: PageCharacters, line: NDArray[np.intp]) -> int:
    numbers = characters.object_number[line]
    numbers = numbers[numbers >= 0]
    return round(float(characters.objects.angles[numbers[0]]) / 90) % 4 if len(numbers) else 0


def _font_sizes(characters: PageCharacters, line: NDArray[np.intp]) -> NDArray[np.float32]:
    """(k,) size of the font of each character in pixels, the line's middle one for those without."""
    sizes = np.zeros(len(line), np.float32)
    numbers = characters.object_number[line]
    sizes[numbers >= 0] = characters.objects.font_sizes[numbers[numbers >= 0]]
    known = sizes[sizes > 0]
    return np.where(sizes > 0, sizes, np.median(known) if len(known) else 1).astype(np.float32)


def are_ligatures_turned(characters: PageCharacters, numbers: NDArray[np.intp]) -> bool:
    """Whether PDFium turned the letters of ligatures: it did, but where most of lam and alef have the lam first."""
    boxes, codes = characters.boxes[numbers], characters.codes[numbers]
    same = (boxes[1:] == boxes[:-1]).all(axis=1) & (boxes[1:, 2] > boxes[1:, 0])
    inside = np.concatenate([[False], same, [False]])
    pairs = np.flatnonzero(same & ~inside[:-2] & ~inside[2:])
    is_alef = np.isin(codes, [ord(letter) for letter in _ALEF])
    is_lam = codes == ord("ل")
    lam_first = int((is_lam[pairs] & is_alef[pairs + 1]).sum())
    return lam_first <= int((is_alef[pairs] & is_lam[pairs + 1]).sum())


def _ligature(text: str, added: str, *, are_turned: bool) -> str:
    """Letters of one glyph in logical order, lam before alef; PDFium turns no Latin ones."""
    is_latin = unicodedata.bidirectional(added) == "L"
    is_in_order = is_latin or not are_turned or (text[-1] == "ل" and added in _ALEF)
    return text + added if is_in_order else added + text


def _outside(glyph: Glyph, place: list[float]) -> float:
    """How far a mark's middle is from a glyph, in pixels; 0 over or under it."""
    centre = (place[0] + place[1]) / 2
    return max(glyph.left - centre, centre - glyph.right, 0.0)


def _order_of_mark(mark: str) -> tuple[int, int]:
    """As they are typed: shadda and dagesh before the vowel, joiners last."""
    return 2 if mark == JOINER else 0 if mark in _TYPED_FIRST else 1, unicodedata.combining(mark)
