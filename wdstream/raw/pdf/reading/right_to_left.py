"""Lines of right-to-left scripts in logical order, from where their characters are on the page.

PDFium orders such lines itself: it takes all text for visual, mirrors brackets and quotes as it turns them, and takes
marks for words and lines. Here each line is laid out by its boxes and read from right to left (bidi.py), with what
only the whole page can tell: whether words were laid the wrong way round, how brackets are meant, where letters do not
join.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.places import Boxes
from wdstream.raw.pdf.reading.bidi import CLOSING, MIRROR, OPENING, Element, logical_order, partners
from wdstream.raw.pdf.reading.joining import JOINER, joins_next, joins_previous, reads_well
from wdstream.raw.pdf.reading.words import GlyphRun, PrintedLine, are_ligatures_turned
from wdstream.text.script import right_to_left_letters

_JOIN_GAP = 0.03  # of the em: ink of letters that join overlaps or touches
_SHORT = 4.0  # of the em: right-to-left lines begin at the right
_ENDS_A_SENTENCE = frozenset(".,;:!?…")
_INSIDE = Element("a", "L")
_Ordered = list[tuple[Element, bool]]


def logical_texts(
    characters: PageCharacters, lines: Sequence[NDArray[np.intp]], spaces: Boxes | None = None
) -> list[str]:
    """Texts of the right-to-left lines of one page, in logical order.

    Args:
        characters: of the page.
        lines: for each, the numbers of its characters in PDFium's order, line ends left out.
        spaces: (k, 2) middles of spaces of the file that are none of the characters, where these are known.
    """
    are_turned = bool(lines) and are_ligatures_turned(characters, np.concatenate(lines))
    printed = [PrintedLine(characters, line, are_ligatures_turned=are_turned, spaces=spaces) for line in lines]
    _turn_words(printed)
    unjoined = _unjoined([line.runs for line in printed])
    is_page_right = _is_mostly_right(characters.codes)
    end = max((line.right for line in printed), default=0.0)
    ordered = []
    for line, numbers in zip(printed, lines, strict=True):
        elements = list(line.elements())
        from_right = is_page_right or _is_mostly_right(characters.codes[numbers])
        ends_at_right = line.right < end - _SHORT * line.em or _is_sentence(elements)
        is_code = ends_at_right and _begins_at_left(elements)
        elements = _with_closed_brackets(elements) if is_code else elements
        ordered.append(logical_order(elements, from_right=from_right and not is_code))
    mirrors = _mirrors_brackets(ordered)
    return [_text(line, unjoined, mirrors) for line in ordered]


def _is_mostly_right(codes: NDArray[np.uint32]) -> bool:
    """Whether at least as many letters are right-to-left as Latin."""
    latin = ((codes | 0x20) >= 0x61) & ((codes | 0x20) <= 0x7A)
    return bool(right_to_left_letters(codes).sum() >= latin.sum())


def _begins_at_left(elements: Sequence[Element]) -> bool:
    """Whether a line that ends early is one of code: Latin letters first, right-to-left ones in braces or no more."""
    depth, letters = 0, {True: 0, False: 0}
    for element in elements:
        depth += (element.text == "{") - (element.text == "}")
        if element.kind in {"L", "R", "AL"}:
            if element.kind != "L" and not letters[False]:
                return False
            letters[element.kind != "L"] += element.kind == "L" or depth == 0
    return letters[False] >= max(1, letters[True])


def _is_sentence(elements: Sequence[Element]) -> bool:
    """Whether a line ends at the right as sentences that are read from the left do: no line begins with such a sign."""
    return len(elements) > 1 and elements[-1].text in _ENDS_A_SENTENCE and elements[-2].kind == "L"


def _with_closed_brackets(elements: Sequence[Element]) -> list[Element]:
    """A line of code whose brackets close again: PDFium turns those that follow right-to-left letters."""
    found = list(elements)
    for at, element in enumerate(found):
        closing = MIRROR.get(element.text, "") if element.text in OPENING else ""
        is_open = closing and element.text in {before.text for before in found[:at]}
        if is_open and closing not in {other.text for other in found}:
            found[at] = replace(element, text=closing)
    return found


def _turn_words(lines: Sequence[PrintedLine]) -> None:
    """Turn words whose letters were laid from left to right as they are read, as naive OCR layers do.

    Letters that only end words, and the Arabic article that only begins them, tell, by line where they are clear, else
    by page.
    """
    votes = [_votes(line.runs) for line in lines]
    page = np.sum(votes, axis=0) if votes else (0, 0)
    for line, (printed, turned) in zip(lines, votes, strict=True):
        if (turned >= 2 and not printed) or (turned >= printed and page[1] > 2 * page[0]):
            line.runs = [run.turned() for run in line.runs]


def _votes(runs: Sequence[GlyphRun]) -> tuple[int, int]:
    """How many words read well as they are printed, from the right, and how many from the left."""
    words = ["".join(glyph.text for glyph in run.glyphs) for run in runs if run.is_word and len(run.glyphs) > 1]
    return sum(reads_well(word[::-1]) for word in words), sum(reads_well(word) for word in words)


def _unjoined(lines: Sequence[Sequence[GlyphRun]]) -> set[int]:
    """Numbers of the letters that would join the next one and do not: there a zero-width non-joiner was written.

    The joiner leaves nothing in a PDF but the shapes of the letters: a letter in its final form inside a word ends
    before the next begins. Taken only from pages whose other letters touch.
    """
    joined, apart = 0, set()
    for run in (run for runs in lines for run in runs if run.is_word):
        for after, letter in pairwise(run.glyphs):
            if not (joins_next(letter.text) and joins_previous(after.text)):
                continue
            if letter.left - after.right > _JOIN_GAP * letter.em:
                apart.add(letter.number)
            else:
                joined += 1
    return apart if 3 * len(apart) < joined else set()


def _mirrors_brackets(lines: Sequence[_Ordered]) -> bool:
    """Whether the page's brackets have the codes of their printed shapes, so that right-to-left text mirrors them."""
    votes = 0
    for ordered in lines:
        opening = _opening(ordered)
        votes += sum(1 if (ordered[at][0].text in CLOSING) == opens else -1 for at, opens in opening.items())
    return votes >= 0


def _opening(ordered: _Ordered) -> dict[int, bool]:
    """Which brackets of right-to-left text open, by place in the line, where partners or spaces around them say so."""
    found = {}
    pairs = partners([element if is_right else _INSIDE for element, is_right in ordered])
    for at, (element, is_right) in enumerate(ordered):
        if not is_right or element.text not in MIRROR:
            continue
        before = at == 0 or ordered[at - 1][0].kind == "WS"
        after = at + 1 == len(ordered) or ordered[at + 1][0].kind == "WS"
        if at in pairs:
            found[at] = pairs[at] > at
        elif before != after:
            found[at] = before
    return found


def _text(ordered: _Ordered, unjoined: set[int], mirrors: bool) -> str:
    opening = _opening(ordered)
    pieces = []
    for at, (element, is_right) in enumerate(ordered):
        text = element.text
        if is_right and text in MIRROR:
            turns = (text in OPENING) != opening[at] if at in opening else mirrors
            text = MIRROR[text] if turns else text
        is_unjoined = element.number in unjoined and not text.endswith(JOINER)  # some files write it, too
        pieces.append(text + JOINER if is_unjoined else text)
    return "".join(pieces).strip(" ")
