"""What the name of a font proves of its characters.

Signs and pieces of TeX's fonts for formulas have no map; bullets and signs of Symbol and Wingdings have one to private
codes, or to the letters of their keys. Fonts of the time before Unicode have the letters of a script at the codes of
Latin ones: text in them is not what its codes say.
"""

import re
import unicodedata
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wdstream.raw.pdf.blanks import is_letter_code
from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.places import distinct
from wdstream.raw.pdf.reading.fonts import PageFonts
from wdstream.text.characters import beyond_ascii
from wdstream.text.script import combining_marks, one_of, right_to_left_letters

_LARGE = re.compile(r"(?:^|\+)(?:CM|LM|EU)EX\d|LMMathExtension")
_DELIMITERS = "()[]⌊⌋⌈⌉{}⟨⟩"
_SYMBOLS = re.compile(r"(?:^|\+)(?:CM|LM|EU)B?SY\d|LMMathSymbols")
_SIGNS = (
    (
        _SYMBOLS,
        dict(zip(range(0x01, 0x20), "·×∗÷⋄±∓⊕⊖⊗⊘⊙◯◦•≍≡⊆⊇≤≥⪯⪰∼≈⊂⊃≪≫≺≻", strict=True))
        | dict(zip(range(0x20, 0x41), "←→↑↓↔↗↘≃⇐⇒⇑⇓⇔↖↙∝′∞∈∋△▽\u0338↦∀∃¬∅ℜℑ⊤⊥ℵ", strict=True))
        | dict(zip(range(0x5B, 0x80), "∪∩⊎∧∨⊢⊣⌊⌋⌈⌉{}⟨⟩|∥↕⇕\\≀√⨿∇∫⊔⊓⊑⊒§†‡¶♣♢♡♠", strict=True)),
    ),
    (
        re.compile(r"(?:^|\+)(?:CM|LM)MIB?\d|LMMathItalic"),
        dict(zip(range(0x28, 0x30), "↼↽⇀⇁↪↩▷◁", strict=True))
        | dict(zip(range(0x5B, 0x61), "♭♮♯⌣⌢ℓ", strict=True))
        | {0x0F: "ϵ", 0x24: "ϖ", 0x25: "ϱ", 0x3F: "⋆", 0x7E: "\u20d7"},  # the last is the arrow over a vector
    ),
    (
        re.compile(r"(?:^|\+)MSAM\d"),
        dict(zip(range(0x01, 0x21), "⊞⊠□■▪◊⧫↻↺⇌⇋⊟⊩⊪⊨↠↞⇇⇉⇈⇊↾⇂↿⇃↣↢⇆⇄↰↱⇝", strict=True))
        | dict(zip(range(0x21, 0x39), "↭↫↬≗≿≳⪆⊸∴∵≑≜≾≲⪅⪕⪖⋞⋟≼≦⩽≶‵", strict=True))
        | dict(zip(range(0x3A, 0x4B), "≓≒≽≧⩾≷⊏⊐⊳⊲⊵⊴★≬▾▶◀", strict=True))
        | dict(zip(range(0x4D, 0x70), "▵▴▿≖⋚⋛⪋⪌¥⇛⇚✓⊻⊼⩞∠∡∢∝⌣⌢⋐⋑⋓⋒⋏⋎⋋⋌⫅⫆≏≎⋘⋙", strict=True))
        | dict(zip(range(0x70, 0x80), "⌜⌝®Ⓢ⋔∔∽⋍⌞⌟✠∁⊺⊚⊛⊝", strict=True)),
    ),
    (
        re.compile(r"(?:^|\+)MSBM\d"),
        dict(zip(range(0x01, 0x1E), "≩≰≱≮≯⊀⊁≨≩≰≱⪇⪈⋠⋡⋨⋩⋦⋧≰≱⪵⪶⪹⪺⪉⪊≁≇", strict=True))
        | dict(zip(range(0x24, 0x41), "⫋⫌⫋⫌⊊⊋⊈⊉∦∤∤∦⊬⊮⊭⊯⋭⋬⋪⋫↚↛⇍⇏⇎↮⋇∅∄", strict=True))
        | dict(zip(range(0x66, 0x74), "℧ð≂ℶℷℸ⋖⋗⋉⋊∣∥∖∼", strict=True))
        | dict(zip(range(0x74, 0x80), "≈≊⪸⪷↶↷ϝϰ𝕜ℏℏ϶", strict=True))
        | {0x21: "⊋", 0x60: "Ⅎ", 0x61: "⅁"},
    ),
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
_LIGATURES = ("ff", "fi", "fl", "fj", "ft", "fb", "fh", "fk", "tt", "ti", "tf", "ct", "st", "Th")
_OF_SIGNS = re.compile("|".join(pattern.pattern for pattern, _ in _SIGNS[:2]))
_SLASH, _CIRCLE = "\u0338", "◯"
_SEVERAL = re.compile(f"{_SLASH}[^\\s{_SLASH}]|↦−?→|→ ?↦(?!→)|↪−?→|←−?↩|◯[cR]|[cR]◯")
_WHOLE = {"↦−→": "⟼", "→↦": "↦", "→ ↦": "↦", "←↩": "↩", "←−↩": "↩", "◯c": "©", "c◯": "©", "◯R": "®", "R◯": "®"}
_OF_SEVERAL = [ord(_SLASH), *map(ord, "↦↪↩◯")]
"""Signs that are printed over or into others, before or after them, and what they are together."""
_SWAPPED = {
    **{"".join(chr(ord(letter) << 8) for letter in letters): letters for letters in _LIGATURES},
    **{chr(0x6600) + chr(0x6600 + (ord(last) << 8)): "ﬀ" + last for last in "il"},
}
_SWAPPED_PAIRS = re.compile("|".join(_SWAPPED))
_SWAPPED_FIRST = re.compile("[" + "".join(pair[0] for pair in _SWAPPED) + "]")
_FIRST_SWAPPED, _FIRST_BEFORE, _FIRST_AFTER = 0x5400, 0x600, 0x2000
"""What some versions of Ghostscript make of the letters of one glyph: each unit of UTF-16 but the first of all gets the
last byte of the one before in place of its first; those of Latin letters move by one byte, and of three the last two
are one sum: 昀椀 for fi, 昀케 for ffi."""
_MUSIC = re.compile(
    r"Emmentaler|^(?:\w+\+)?(?:feta|parmesan|musix|Bravura|Petaluma|Leland|Maestro|Opus|Gonville)", re.I
)
"""Fonts of notes: what has no map in them is a picture, no text."""
_PREFIX = r"^(?:[A-Z]{6}\+)?"
_SYMBOL = re.compile(_PREFIX + r"Symbol(?:MT|PS|Neu)?(?:[,-]|$)")
_SYMBOL_SIGNS = (
    dict(zip(range(0x20, 0x60), " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_", strict=True))
    | dict(zip(range(0x61, 0x7F), "αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼", strict=True))
    | dict(zip(range(0xA0, 0xBD), "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…", strict=True))
    | dict(zip(range(0xBF, 0xE6), "↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊⟨®©™∑", strict=True))
    | {0xF1: "⟩", 0xF2: "∫", 0xF3: "⌠", 0xF5: "⌡"}
)
_PICTURES = re.compile(_PREFIX + r"(?:Wingdings|Webdings)")
_WINGDINGS = re.compile(_PREFIX + r"Wingdings(?:-?Regular)?(?:,|$)")
_WINGDINGS_SIGNS = (
    dict(zip(range(0x21, 0x24), "✏✂✁", strict=True))
    | dict(zip(range(0x5D, 0x6A), "☸♈♉♊♋♌♍♎♏♐♑♒♓", strict=True))
    | dict(zip(range(0x6C, 0x70), "●❍■□", strict=True))
    | dict(zip(range(0x71, 0x7F), "❑❒⬧⧫◆❖⬥⌧⍓⌘❀✿❝❞", strict=True))
    | dict(zip(range(0x80, 0x96), "⓪①②③④⑤⑥⑦⑧⑨⑩⓿❶❷❸❹❺❻❼❽❾❿", strict=True))
    | dict(zip(range(0xDF, 0xE7), "←→↑↓↖↗↙↘", strict=True))
    | dict(zip(range(0xEF, 0xF3), "⇦⇨⇧⇩", strict=True))
    | dict(zip(range(0xFB, 0xFF), "✗✓☒☑", strict=True))
    | {0x28: "☎", 0x2A: "✉", 0x36: "⌛", 0x37: "⌨", 0x3F: "✍", 0x41: "✌", 0x45: "☜", 0x46: "☞", 0x47: "☝", 0x48: "☟"}
    | {0x4A: "☺", 0x4C: "☹", 0x51: "✈", 0x52: "☼", 0x54: "❄", 0x9E: "·", 0x9F: "•", 0xA7: "▪", 0xA8: "◻", 0xAB: "★"}
    | {0xD8: "➢", 0xDC: "➲", 0xE8: "➔"}
)
"""By code of one byte, as Unicode's own table has them; private codes are 0xF000 more."""
_OTHER_LETTERS = re.compile(  # not those that their makers call Unicode
    _PREFIX
    + r"(?!.*Uni)(?:Kruti ?Dev|DevLys|(?:Walkman-?)?Chanakya|Akruti|APS-DV|DVW?-TT|Shree-?(?:Dev|Guj|Tel|Kan|Tam)"
    r"|Shusha|Shivaji\d|Preeti|Kantipur|Himalb|Anmol(?:Lipi|Kalam)|Gurbani(?:Lipi|Akhar)|LMG-Arun|SutonnyC?MJ|Boishakhi"
    r"|Baa?mini|Vanavil-|Nudi ?(?:\d|Akshara?)|BRH ?(?:Kannada|Devanagari|Telugu|Malayalam)|F?ML-?TT"
    r"|FM-?(?:Abhaya|Malithi)|DL-Manel|Win ?Innwa|Limon ?[SRF]\d|Acad(?:Nusx|Mtavr)|LitNusx|(?:Power|Visual) ?Geez"
    r"|VG2000|TibetanMachine|E?[Dd]edris|SP(?:Ionic|Tiberian|Edessa|Damascus|Ezra|Achmim)"
    r"|Bw(?:grk|heb)|Teknia(?:Greek|Hebrew)|Graeca|Hebraica|(?:Super|Laser)(?:Greek|Hebrew)|NOORIN\d|serto\d"
    r"|dv(?:ng|nn|pn)\d|skt[a-z]*\d)"
)
_OTHER_ACCENTS = re.compile(
    _PREFIX + r"(?!.*Unicode)(?:\.Vn[A-Z]|VNI-|(?:Arial|Times) ?Armenian|ArTarumian|TSC_|DVBW?-TT)"
)
_DRAWN_AS_LATIN = (_PICTURES, _WINGDINGS, _OTHER_LETTERS, _OTHER_ACCENTS)
BY_NAME = re.compile(f"{_PICTURES.pattern}|{_OTHER_LETTERS.pattern}|{_OTHER_ACCENTS.pattern}")
"""Fonts whose characters are looked at although all have a map: where they are in the file, and so in the picture."""
_FLAT = 0.15  # of the em: a stroke between letters, not a letter
_PIECES = np.array([0x0C, 0x0D, *range(0x30, 0x44), *range(0x75, 0x80)], np.uint32)
_FIRST_PRIVATE = 0xE000
_KEYS = 0xF000
_FIRST_OTHER = 0x250  # after all of the Latin letters that fonts before Unicode had codes of
_FIRST_PIECE, _LAST_PIECE = 0xF8E5, 0xF8FE  # private use of Adobe's lists of glyphs
_MENDED_ALONE = one_of((ord(_SLASH), ord(_SLASH)), (_KEYS + 0x21, _KEYS + 0xFF), (_FIRST_PIECE, _LAST_PIECE))


def mended_codes(characters: PageCharacters, fonts: PageFonts) -> PageCharacters:
    """The characters with the signs that the names of their fonts prove: h of TeX's symbols is a bracket, for one."""
    unmapped = ~characters.is_mapped
    is_key = _is_key(characters.codes)
    found = [(pattern, signs, unmapped) for pattern, signs in _SIGNS] if unmapped.any() else []
    if is_key.any() or unmapped.any():
        found.append((_SYMBOL, _SYMBOL_SIGNS, is_key | unmapped))
    found.append((_WINGDINGS, _WINGDINGS_SIGNS, is_key | (characters.codes < _FIRST_OTHER)))
    codes, is_mapped = characters.codes.copy(), characters.is_mapped.copy()
    for pattern, signs, which in found:
        of_font = _of_fonts(characters, fonts, pattern) & which
        for code in distinct(characters.codes[of_font]).tolist():
            sign = signs.get(code - _KEYS if code >= _KEYS else code)
            if sign:
                at = of_font & (characters.codes == code)
                codes[at], is_mapped[at] = ord(sign), True
    _unswap(codes)
    if np.isin(codes, _OF_SEVERAL).any():
        _join_signs(codes, _of_fonts(characters, fonts, _OF_SIGNS))
    return replace(characters, codes=codes, is_mapped=is_mapped)


def _join_signs(codes: NDArray[np.uint32], of_signs: NDArray[np.bool_]) -> None:
    """Make one sign of those that TeX prints over or into each other: `≠` is a slash and `=` after it.

    Args:
        codes: (n,) of the characters; those that are part of another sign become pieces.
        of_signs: (n,) which are of TeX's fonts for formulas.
    """
    for match in _SEVERAL.finditer(_text_of(codes)):
        start, stop = match.span()
        if not of_signs[start:stop].any() or (_CIRCLE in match[0] and of_signs[start:stop].all()):
            continue  # a circle before a variable, as logic of time has it, is not around it
        signs = match[0]  # Unicode has the slash after its sign
        slashed = unicodedata.normalize("NFC", signs[1] + _SLASH)
        signs = slashed if signs[0] == _SLASH else _WHOLE.get(signs, signs[:1])
        codes[start:stop] = [*[_FIRST_PIECE] * (stop - start - len(signs)), *map(ord, signs)]


def _unswap(codes: NDArray[np.uint32]) -> None:
    """Put the letters of one glyph right whose bytes some versions of Ghostscript exchange."""
    for number in _units_after(codes).tolist():
        if codes[number] >> 8 == codes[number - 1] & 0xFF:  # not yet right
            codes[number] = codes[number - 1] & 0xFF00 | codes[number] & 0xFF
    if codes.max(initial=0) >= _FIRST_SWAPPED:
        for match in _SWAPPED_PAIRS.finditer(_text_of(codes)):
            codes[match.start() : match.end()] = [*map(ord, _SWAPPED[match[0]])]


def _units_after(codes: NDArray[np.uint32]) -> NDArray[np.intp]:
    """The characters, by number, that have the last byte of the one before as their first, after a letter of Arabic or
    of South or Southeast Asia."""
    if codes.max(initial=0) < _FIRST_AFTER:
        return np.arange(0)
    is_after = (codes[1:] >= _FIRST_AFTER) & (codes[1:] >> 8 == codes[:-1] & 0xFF)
    found = np.flatnonzero(is_after) + 1
    letters = codes[found - 1] if len(found) < 2 else np.where(np.isin(found - 1, found), 0x900, codes[found - 1])
    return found[(letters >= _FIRST_BEFORE) & (letters < 0x1800)]


def _text_of(codes: NDArray[np.uint32]) -> str:
    return codes.astype("<u4").tobytes().decode("utf-32-le", "replace")


def may_be_mended(text: str) -> bool:
    """Whether a text has private codes that fonts of signs have for keys or pieces, slashes through other signs, or
    letters whose bytes are exchanged."""
    others = beyond_ascii(text)
    if _MENDED_ALONE.search(others):
        return True
    codes = [*map(ord, others)]
    after = {code >> 8 for code in codes if code >= _FIRST_AFTER}
    if not after.isdisjoint(code & 0xFF for code in codes if code >= _FIRST_BEFORE):
        units = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        if len(_units_after(units)):
            return True
    return bool(_SWAPPED_FIRST.search(others) and _SWAPPED_PAIRS.search(text))


def mended_strokes(characters: PageCharacters) -> PageCharacters:
    """The characters with flat strokes without a map, between letters of Arabic that they draw out to fill a line, as
    parts of the letter before them: office programs have a glyph for these that has no code."""
    codes = characters.codes
    loose = np.flatnonzero(~characters.is_mapped & (characters.object_number >= 0))
    letters = np.flatnonzero(right_to_left_letters(codes) & ~combining_marks(codes))
    at = letters.searchsorted(loose)
    inside = (at > 0) & (at < len(letters))
    loose, before, after = loose[inside], letters[at[inside] - 1], letters[at[inside]]
    if not len(loose):
        return characters
    boxes, ems = characters.boxes, characters.objects.font_sizes[characters.object_number[loose]]
    is_flat = boxes[loose, 3] - boxes[loose, 1] < _FLAT * ems
    shared = np.minimum(boxes[before, 3], boxes[after, 3]) - np.maximum(boxes[before, 1], boxes[after, 1])
    gaps = np.maximum(boxes[before, 0], boxes[after, 0]) - np.minimum(boxes[before, 2], boxes[after, 2])
    wide = np.bincount(before, weights=boxes[loose, 2] - boxes[loose, 0], minlength=len(codes))[before]
    is_between = (shared > 0) & (gaps < wide + _FLAT * ems)
    num_between = np.bincount(before, minlength=len(codes))[before]
    found = loose[is_flat & is_between & (after - before == num_between + 1)]
    mended, is_mapped = codes.copy(), characters.is_mapped.copy()
    mended[found], is_mapped[found] = codes[letters[letters.searchsorted(found) - 1]], True
    return replace(characters, codes=mended, is_mapped=is_mapped)


def _is_key(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (codes > _KEYS + 0x20) & (codes <= _KEYS + 0xFF)
    return found


def misread_letters(characters: PageCharacters, fonts: PageFonts) -> NDArray[np.bool_]:
    """(n,) which characters are letters of another script than their codes say: of fonts before Unicode."""
    codes = characters.codes
    is_high = (codes >= 0x80) & (codes < _FIRST_OTHER)
    is_basic = ((codes | 0x20) >= 0x61) & ((codes | 0x20) <= 0x7A)
    found: NDArray[np.bool_] = _of_fonts(characters, fonts, _OTHER_LETTERS) & (is_basic | is_high)
    return found | (_of_fonts(characters, fonts, _OTHER_ACCENTS) & is_high)


def bracket_pieces(characters: PageCharacters, fonts: PageFonts) -> NDArray[np.bool_]:
    """(n,) which characters are notes, signs without a code of their own, and pieces of which large brackets and lines
    are made, not text."""
    found: NDArray[np.bool_] = (characters.codes >= _FIRST_PIECE) & (characters.codes <= _LAST_PIECE)
    is_private = (characters.codes >= _FIRST_PRIVATE) & (characters.codes <= _LAST_PIECE)
    if is_private.any() or not characters.is_mapped.all():
        found |= _of_fonts(characters, fonts, _LARGE) & ~characters.is_mapped & np.isin(characters.codes, _PIECES)
        found |= _of_fonts(characters, fonts, _MUSIC) & (~characters.is_mapped | is_private)
    is_letter = is_letter_code(characters.codes) & (characters.codes < _FIRST_OTHER)
    return found | (_of_fonts(characters, fonts, _PICTURES) & (is_letter | is_private | ~characters.is_mapped))


def _of_fonts(characters: PageCharacters, fonts: PageFonts, pattern: re.Pattern[str]) -> NDArray[np.bool_]:
    """(n,) which characters are of a font whose name has the pattern, and is in the file where that counts."""
    is_font = np.array(
        [
            pattern.search(name) is not None and (is_embedded or pattern not in _DRAWN_AS_LATIN)
            for name, is_embedded in zip(fonts.names, fonts.embedded, strict=True)
        ]
        or [False]
    )
    if not is_font.any():
        return np.zeros(len(characters), np.bool_)
    found: NDArray[np.bool_] = (characters.object_number >= 0) & is_font[fonts.numbers[characters.object_number]]
    return found
