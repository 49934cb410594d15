"""Which characters of a page mean what they say: wrong or missing maps from a font's codes to Unicode.

PDFium marks characters whose font has no map and gives their plain codes instead. Those are right where the font keeps
to ASCII, as many fonts of TeX do, and wrong everywhere else; only the text itself tells. So it is asked by font:
letters that come as often as in Latin text are such letters. Words that mix alphabets betray maps that are wrong.
"""

import numpy as np
import regex
from numpy.typing import NDArray

from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.reading.fonts import PageFonts
from wdstream.raw.pdf.reading.mended import misread_letters
from wdstream.text.characters import kinds_of
from wdstream.text.script import script_of_letter

_SPACE = 0x20
_MIN_LETTERS, _LIKE_LATIN = 40, 0.8
_ACCENTED_SHARE = 0.25
_MIN_KNOWN_WORDS = 2
_MIN_DIFFERENT_LETTERS, _MIN_LETTERS_SHARE = 4, 0.6
_MIN_PAIRS, _PAIRS_SHARE = 12, 0.6
_IN_NUMBERS, _MIN_DIGITS = tuple(map(ord, ".,-+/:")), 0.6
_MIN_KANA, _KANA_SHARE = 20, 0.2
_MIN_MIXED_WORDS, _MIXED_SHARE = 3, 0.05
_NO_CHARACTER = (0, 0xFFFD, 0xFEFF)
# How often each letter comes in running text, in 1,000: about the mean of English, French, German, Spanish, Portuguese,
# Dutch and Italian. These languages are near each other, compared with any other assignment of codes to letters.
_FREQUENCIES = {
    "e": 146, "t": 66, "a": 87, "o": 70, "i": 75, "n": 77, "s": 65, "r": 66, "h": 31, "l": 43, "d": 45, "c": 33,
    "u": 42, "m": 28, "f": 14, "p": 22, "g": 17, "w": 11, "y": 7, "b": 13, "v": 13, "k": 6, "x": 3, "j": 3, "q": 6,
    "z": 5,
}  # fmt: skip
_LATIN = np.array([_FREQUENCIES[letter] for letter in "abcdefghijklmnopqrstuvwxyz"], np.float64)
# The pairs of letters that come most often in words of these languages, about two thirds of all; in a text whose
# letters are exchanged for others it is chance, 15 %.
_PAIRS = frozenset(
    regex.findall(
        "..",
        "thheineranreonatenndtiesorteofedisitalarsttontngsehaasouiolevecomedehiriroicneearacelichllbemasiomurcael"
        "talansdifohopeecprnoctusacotiltrlyncetutsssorsunlowageiewheewiemadolrtpowenaulnitsmoowpaimmiaishuesuboda"
        "exck",
    )
)
_RUN = regex.compile("[A-Z]?[a-z]+|[A-Z]+")
_LONG_WORD = regex.compile("[A-Z]?[a-z]{3,}")
_LATIN_INSIDE = regex.compile(r"[\p{Arabic}\p{Hebrew}][A-Za-z]+[\p{Arabic}\p{Hebrew}]")
_SIGN = regex.compile("[\u2605-\u27be]")
_SIGNS = regex.compile("[\u2605-\u27be]{4,}")
_MIN_SIGNS_OF_WORD, _MIN_SIGNS = 3, 8
_WORD = regex.compile(r"[\p{L}\p{M}]{2,}")
_MISREAD = regex.compile("[\u00c0-\u00ff]{3}")
_LATIN_WORD = regex.compile("[A-Za-z\u00c0-\u00ff]{3,}")
_MISREAD_SHARE = 0.7
_TOGETHER = (
    frozenset({"Latn", "Grek"}),
    frozenset({"Hani", "Hira", "Kana", "Hang", "Bopo", "Latn", "Grek", "Cyrl"}),
    frozenset({"Copt", "Grek"}),
)


def mapped_share(characters: PageCharacters, keep: NDArray[np.bool_], fonts: PageFonts, text: str) -> float:
    """Share of the printed characters that mean what they say in Unicode, 0 to 1; 1 for a page without any.

    Args:
        characters: of the page, n of them in m text objects.
        keep: (n,) which characters count.
        fonts: of its text objects.
        text: of the page, in reading order.
    """
    printed = keep & ~characters.is_generated & (characters.codes != _SPACE)
    unmapped = printed & ~characters.is_mapped
    wrong = unmapped | (printed & _means_nothing(characters.codes))
    wrong |= printed & misread_letters(characters, fonts)
    if unmapped.any():
        wrong[unmapped] = ~_believed_characters(characters, printed, unmapped, fonts)[unmapped]
    return _share(int(printed.sum()), int(wrong.sum()), text)


def mapped_share_of_text(text: str) -> float:
    """The same of a text whose characters all have a map: it may still mean nothing, or mix alphabets in words."""
    if text.isascii():
        return 1.0
    kinds = np.frombuffer(kinds_of(text).encode("utf-32-le", "surrogatepass"), "<u4")
    num_blank, num_wrong = (
        sum(text.count(chr(code)) for code in some.tolist())
        for some in (kinds[kinds <= _SPACE], kinds[_means_nothing(kinds)])
    )
    return _share(len(text) - num_blank, num_wrong, text)


def _share(num_printed: int, num_wrong: int, text: str) -> float:
    if not num_printed:
        return 1.0
    mixed = 0 if not _has_mixture(text) else sum(map(len, mixed_words(text)))
    misread = sum(map(len, misread_words(text)))
    num_wrong = max(num_wrong, misread) + mixed + _length_of_signs(text)
    return 1 - min(num_wrong, num_printed) / num_printed


def _believed_characters(
    characters: PageCharacters, printed: NDArray[np.bool_], unmapped: NDArray[np.bool_], fonts: PageFonts
) -> NDArray[np.bool_]:
    """(n,) which characters without a map can be believed, by font; Type 3 fonts of one page vouch for each other."""
    codes = characters.codes
    numbers = np.where(characters.object_number >= 0, fonts.numbers[characters.object_number], -1)
    known = _words_of(characters, printed & characters.is_mapped)
    is_unnamed = np.isin(numbers, [number for number, name in enumerate(fonts.names) if not name])
    unnamed_read = _reads_as_words(characters, unmapped & is_unnamed)
    believed = np.zeros(len(codes), np.bool_)
    for font in np.unique(numbers[unmapped]):
        of_font = unmapped & (numbers == font)
        letters = _letter_counts(codes[of_font])
        num_text = letters.sum() + ((codes[of_font] >= 0x30) & (codes[of_font] <= 0x39)).sum()
        is_words = (letters > 0).sum() >= _MIN_DIFFERENT_LETTERS and num_text >= _MIN_LETTERS_SHARE * of_font.sum()
        is_vouched = unnamed_read and is_words and is_unnamed[of_font].any()
        is_read = is_vouched or _reads_as_words(characters, of_font)
        is_read = is_read or len(_words_of(characters, of_font) & known) >= _MIN_KNOWN_WORDS
        believed[of_font] = _believed(codes[of_font], is_read=is_read)
    return believed


def _words_of(characters: PageCharacters, which: NDArray[np.bool_]) -> set[str]:
    """Words of four ASCII letters and more among the characters chosen, in lower case; CamelCase is several."""
    codes = np.where(which, characters.codes, _SPACE)
    text = codes.astype("<u4").tobytes().decode("utf-32-le", "replace")
    return {word.lower() for word in _LONG_WORD.findall(text)}


def _means_nothing(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """(n,) replacement characters, U+0000, private use and codes that Unicode gives to no character."""
    is_private = (codes >= 0xE000) & (codes < 0xF900) | (codes >= 0xF0000)
    is_none = (codes == 0xFFFF) | ((codes > 0xFFFF) & ((codes & 0xFFFE) == 0xFFFE))
    found: NDArray[np.bool_] = is_private | is_none | np.isin(codes, _NO_CHARACTER)
    return found


def _letter_counts(codes: NDArray[np.uint32]) -> NDArray[np.float64]:
    """(26,) how often each letter of ASCII comes, in either case."""
    lower = codes | 0x20
    return np.bincount(lower[(lower >= 0x61) & (lower <= 0x7A)] - 0x61, minlength=26).astype(np.float64)


def _believed(codes: NDArray[np.uint32], *, is_read: bool) -> NDArray[np.bool_]:
    """(k,) which codes of one font without a map can be believed: ASCII, if the font is seen to keep to it.

    It is where it reads as words, where it has words that mapped fonts of the page have, too, or where it has digits
    alone. Letters of Latin-1 are believed with it where they are few, as accented ones are. A Japanese font with as
    many hiragana as a text has is believed: PDFium has its codes from the encoding that the font names.
    """
    is_hiragana = (codes >= 0x3041) & (codes <= 0x309F)
    if is_hiragana.sum() >= max(_MIN_KANA, _KANA_SHARE * len(codes)):
        return np.ones(len(codes), np.bool_)
    letters = _letter_counts(codes)
    is_ascii = (codes > _SPACE) & (codes < 0x7F)
    is_digit = (codes >= 0x30) & (codes <= 0x39)
    if not is_read:
        is_number = bool((is_digit | np.isin(codes, _IN_NUMBERS)).all()) and is_digit.mean() >= _MIN_DIGITS
        return is_digit | is_ascii if is_number else np.zeros(len(codes), np.bool_)
    is_accented = (codes >= 0xC0) & (codes <= 0xFF)
    return is_ascii | is_accented if is_accented.sum() <= _ACCENTED_SHARE * letters.sum() else is_ascii


def _reads_as_words(characters: PageCharacters, which: NDArray[np.bool_]) -> bool:
    """Whether the ASCII letters among some characters are Latin text, by how often each or each pair comes."""
    letters = _letter_counts(characters.codes[which])
    if letters.sum() < _MIN_PAIRS:
        return False
    likeness = letters @ _LATIN / (np.linalg.norm(letters) * np.linalg.norm(_LATIN))
    if letters.sum() >= _MIN_LETTERS and likeness >= _LIKE_LATIN:
        return True
    codes = np.where(which, characters.codes, _SPACE)
    words = _RUN.findall(codes.astype("<u4").tobytes().decode("utf-32-le", "replace"))
    pairs = [(word[at : at + 2]).lower() for word in words for at in range(len(word) - 1)]
    return len(set(pairs)) >= _MIN_PAIRS and sum(pair in _PAIRS for pair in pairs) >= _PAIRS_SHARE * len(pairs)


def _length_of_signs(text: str) -> int:
    """Characters of words that are made of different signs, `✄✆☎✞✝`: of Type 3 fonts whose letters have the names of
    Zapf's signs. Signs in the order of their codes are a table of them, and few different ones an ornament.
    """
    if text.isascii() or not _SIGN.search(kinds_of(text)):
        return 0
    words = [
        word for word in _SIGNS.findall(text) if list(word) != sorted(word) and len(set(word)) >= _MIN_SIGNS_OF_WORD
    ]
    return sum(map(len, words)) if len(set("".join(words))) >= _MIN_SIGNS else 0


def misread_words(text: str) -> list[str]:
    """Words of letters of Latin-1 that have accents nearly all, if they are more than a slip: of another script, whose
    fonts have the codes of one byte (`Ïðèâåò` for `Привет`). Letters in the order of their codes are a table."""
    if text.isascii() or not _MISREAD.search(text):
        return []
    words = _LATIN_WORD.findall(text)
    found = [
        word
        for word in words
        if sum(letter >= "\u00c0" for letter in word) >= _MISREAD_SHARE * len(word) and list(word) != sorted(word)
    ]
    return found if len(found) >= max(_MIN_MIXED_WORDS, _MIXED_SHARE * len(words)) else []


def _has_mixture(text: str) -> bool:
    """Whether a text has letters of alphabets that no language mixes; only then words need to be looked at."""
    return not text.isascii() and _is_mixed(kinds_of(text))


def mixed_words(text: str) -> list[str]:
    """Words that mix alphabets as no language does, if they are more than a slip.

    ASCII letters next to others are not a mixture (marks of footnotes, names in code, `i` for a Ukrainian letter) but
    inside a word of Arabic or Hebrew letters.
    """
    words = _WORD.findall(text)
    mixed = [word for word in words if not word.isascii() and (_is_mixed(word) or _LATIN_INSIDE.search(word))]
    return mixed if len(mixed) >= max(_MIN_MIXED_WORDS, _MIXED_SHARE * len(words)) else []


def _is_mixed(word: str) -> bool:
    scripts = {script_of_letter(letter) for letter in word if not letter.isascii()} - {"Zyyy"}
    return len(scripts) > 1 and not any(together >= scripts for together in _TOGETHER)
