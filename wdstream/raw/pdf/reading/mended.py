"""What the name of a font proves of characters without a map: signs and pieces of TeX's fonts for formulas."""

import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.reading.fonts import PageFonts

_LARGE = re.compile(r"(?:^|\+)(?:CM|LM|EU)EX\d|LMMathExtension")
_DELIMITERS = "()[]⌊⌋⌈⌉{}⟨⟩"
_SIGNS = (
    (re.compile(r"(?:^|\+)(?:CM|LM|EU)SY\d|LMMathSymbols"), {ord("h"): "⟨", ord("i"): "⟩"}),
    (re.compile(r"(?:^|\+)(?:CM|LM)MIB?\d|LMMathItalic"), {ord("~"): "\u20d7"}),  # the arrow over a vector
    (
        _LARGE,
        dict(zip(range(0x0C), _DELIMITERS, strict=True))
        | dict(zip(range(0x10, 0x1E), "()" + _DELIMITERS, strict=True))
        | dict(zip(range(0x20, 0x2C), _DELIMITERS, strict=True))
        | dict(zip(range(0x4A, 0x58), "⨀⨀⨁⨁⨂⨂∑∏∫⋃⋂⨄⋀⋁", strict=True))
        | dict(zip(range(0x58, 0x60), "∑∏∫⋃⋂⨄⋀⋁", strict=True))
        | dict(zip(range(0x68, 0x70), _DELIMITERS[2:10], strict=True))
        | {0x48: "∮", 0x49: "∮", 0x60: "∐", 0x61: "∐", 0x44: "⟨", 0x45: "⟩"}
        | dict.fromkeys(range(0x70, 0x75), "√"),
    ),
)
"""Codes of TeX's fonts that PDFium gives as they are, and the signs that they print."""
_MUSIC = re.compile(
    r"Emmentaler|^(?:\w+\+)?(?:feta|parmesan|musix|Bravura|Petaluma|Leland|Maestro|Opus|Gonville)", re.I
)
"""Fonts of notes: what has no map in them is a picture, no text."""
_PIECES = np.array([0x0C, 0x0D, *range(0x30, 0x44), *range(0x75, 0x80)], np.uint32)
_FIRST_PRIVATE = 0xE000
_FIRST_PIECE, _LAST_PIECE = 0xF8E5, 0xF8FE  # private use of Adobe's lists of glyphs


def mended_codes(characters: PageCharacters, fonts: PageFonts) -> PageCharacters:
    """The characters with the signs that the names of their fonts prove: h of TeX's symbols is a bracket, for one."""
    if characters.is_mapped.all():
        return characters
    codes, is_mapped = characters.codes.copy(), characters.is_mapped.copy()
    for pattern, signs in _SIGNS:
        of_font = _of_fonts(characters, fonts, pattern) & ~characters.is_mapped
        for code in np.unique(characters.codes[of_font]).tolist():
            if code in signs:
                at = of_font & (characters.codes == code)
                codes[at], is_mapped[at] = ord(signs[code]), True
    return replace(characters, codes=codes, is_mapped=is_mapped)


def bracket_pieces(characters: PageCharacters, fonts: PageFonts) -> NDArray[np.bool_]:
    """(n,) which characters are notes, and pieces of which large brackets and lines are made, not text."""
    found: NDArray[np.bool_] = (characters.codes >= _FIRST_PIECE) & (characters.codes <= _LAST_PIECE)
    is_private = (characters.codes >= _FIRST_PRIVATE) & (characters.codes <= _LAST_PIECE)
    if is_private.any() or not characters.is_mapped.all():
        found |= _of_fonts(characters, fonts, _LARGE) & ~characters.is_mapped & np.isin(characters.codes, _PIECES)
        found |= _of_fonts(characters, fonts, _MUSIC) & (~characters.is_mapped | is_private)
    return found


def _of_fonts(characters: PageCharacters, fonts: PageFonts, pattern: re.Pattern[str]) -> NDArray[np.bool_]:
    """(n,) which characters are of a font whose name has the pattern."""
    is_font = np.array([pattern.search(name) is not None for name in fonts.names] or [False])
    if not is_font.any():
        return np.zeros(len(characters), np.bool_)
    found: NDArray[np.bool_] = (characters.object_number >= 0) & is_font[fonts.numbers[characters.object_number]]
    return found
