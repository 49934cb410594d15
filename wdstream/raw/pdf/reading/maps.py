"""Which characters of a page mean what they say: wrong or missing maps from a font's codes to Unicode.

PDFium marks characters whose font has no map and gives their plain codes instead. Those are right where the font keeps
to ASCII, as many fonts of TeX do, and wrong everywhere else; only the text itself tells. So it is asked by font:
letters that come as often as in Latin text are such letters. Words that mix alphabets betray maps that are wrong, and
so do letters that come as often as others in any language: `gur` for `the`, of files whose text shall not be copied.
"""

from collections.abc import Sequence

import numpy as np
import regex
from numpy.typing import NDArray

from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.ink import Picture
from wdstream.raw.pdf.layer import TextLayer
from wdstream.raw.pdf.places import Boxes, distinct, median_of
from wdstream.raw.pdf.reading.fonts import PageFonts
from wdstream.raw.pdf.reading.mended import misread_letters
from wdstream.text.characters import kinds_of
from wdstream.text.script import script_of_letter

_SPACE = 0x20
_FIRST_BOXED, _FEWEST_BOXES, _MOST_LOOKED_AT = 0x370, 8, 48
_SAME_SHAPE, _MOST_ALIKE = 0.04, 0.85
"""Of the height of boxes, between their widths; share of the letters of a page in boxes of one shape: 0.9 or more, or
up to 0.8 where they are letters (160 pages that browsers, TeX and others made)."""
_PARTS, _POINTS, _ALIKE = 6, 4, 0.08
"""Rows and columns of parts, of points in each, and the mean difference between parts, of the contrast of each: up to
0.06 for boxes of browsers, for letters 0.1 and more (210 pages)."""
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
_LATIN /= np.linalg.norm(_LATIN)
_MIN_EXCHANGED = 300
_UNLIKE, _FEW_PAIRS, _LIKE_SORTED = 0.8, 0.3, 0.95
"""Likeness to how often Latin letters come: pages in them have 0.66 and more, transcriptions and code, too, and 0.37 of
the pairs or more. Exchanged ones (`gur` for `the`) have 0.4 to 0.77, and 0.1 to 0.37. Keys in base64 have
all letters about equally often."""
_VOWELS, _FEW_VOWELS = [0, 4, 8, 14, 20], 0.33
"""Of the letters: languages have 0.35 to 0.6, but Welsh, which has the pairs; any other five have 0.2 or so."""
_PLAIN_WORD = regex.compile("(?<![A-Za-z0-9])(?:[A-Za-z]?[a-z]{2,19}|[A-Z]{3,20})(?![A-Za-z0-9])")
_MIN_IN_WORDS, _MIN_AGAIN = 0.6, 0.05
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
_HALVED = regex.compile(r"(?<!\S)[0-9:;<=>?@A-O]*[:;<=>?@][0-9:;<=>?@A-O]*(?=[.,]?(?!\S))")
_CYRILLIC = np.array(  # of 10,000 letters of Russian, those from а to я
    [
        [801, 159, 454, 170, 298, 845, 94, 165, 735, 121, 349, 440, 321, 670, 1097, 281],
        [473, 547, 626, 262, 26, 97, 48, 144, 73, 36, 4, 190, 174, 32, 64, 201],
    ],
    np.float64,
).ravel()
_CYRILLIC /= np.linalg.norm(_CYRILLIC)
_MIN_HALVED, _LIKE_CYRILLIC, _HALVED_SHARE = 60, 0.88, 0.02
"""Last bytes of Cyrillic letters, how much they come as often as these, and the share of two of them in a text."""
_FIRST_OTHER, _PAST_OTHERS = 0x590, 0x1D00  # scripts of which several glyphs may be one letter
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


def drawn_as_boxes(layer: TextLayer, keep: NDArray[np.bool_], picture: Picture) -> float:
    """The share of a page's characters that count, (n,), in whose place its picture has the box of a font without them.

    Browsers print that where no font of the machine has a script, and name each box as its letter. Only letters of
    other scripts than Latin are looked at, a few of them where these are not all of one shape.
    """
    if len(layer.others) < _FEWEST_BOXES:  # as of most pages
        return 0.0
    if sum(_FIRST_BOXED <= code < 0x2000 or code > 0x3040 for code in map(ord, layer.others)) < _FEWEST_BOXES:
        return 0.0
    numbers = np.flatnonzero(keep & _may_be_boxed(layer.codes))
    codes = layer.codes[numbers]
    scripts = np.where(codes < 0x2000, np.maximum(codes >> 8, 5), 0x20)  # Greek, Cyrillic and Hebrew; East Asia
    num_boxes = sum(_count_boxes(layer, numbers[scripts == script], picture) for script in distinct(scripts))
    return num_boxes / max(1, int(np.count_nonzero(keep & (layer.codes > _SPACE))))


def _count_boxes(layer: TextLayer, numbers: NDArray[np.intp], picture: Picture) -> int:
    """How many of some characters, of one script, are boxes; none, or nearly all."""
    first = {int(layer.codes[number]): number for number in numbers[:_MOST_LOOKED_AT].tolist()}
    if len(first) < _FEWEST_BOXES:
        return 0
    shown = layer.boxes_of(np.array([*first.values()]))
    shape = float(median_of(_shapes(shown)))
    are_boxes = np.abs(_shapes(shown) - shape) < _SAME_SHAPE
    if np.count_nonzero(are_boxes) >= _MOST_ALIKE * len(shown):
        is_like = _look_alike(picture, shown[are_boxes])
        return int((np.abs(_shapes(layer.boxes_of(numbers)) - shape) < _SAME_SHAPE).sum()) if is_like else 0
    heights = shown[:, 3] - shown[:, 1]
    height = float(median_of(heights))
    is_high = np.abs(heights - height) < _SAME_SHAPE * height
    if np.count_nonzero(is_high) < _MOST_ALIKE * len(shown):
        return 0
    shown[:, 2] = shown[:, 0] + (shown[:, 2] - shown[:, 0]).min()  # of names of several, each letter has a part
    return len(numbers) if _look_alike(picture, shown[is_high & _begin_names(layer, [*first.values()])]) else 0


def _begin_names(layer: TextLayer, numbers: Sequence[int]) -> NDArray[np.bool_]:
    """(k,) which characters, by number, do not share their box with the one before them."""
    chosen = np.array(numbers)
    boxes, before = layer.boxes_of(chosen), layer.boxes_of(np.maximum(chosen - 1, 0))
    return np.asarray((boxes[:, 0] > before[:, 2] + 0.01) | (boxes[:, 1] != before[:, 1]) | (chosen == 0))


def _may_be_boxed(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """(n,) letters from Greek on, without signs and private codes, which may have one shape."""
    return (codes >= _FIRST_BOXED) & ~((codes >= 0x2000) & (codes < 0x3041)) & ~((codes >= 0xD800) & (codes < 0xF900))


def _shapes(boxes: Boxes) -> NDArray[np.float32]:
    """(k,) how wide boxes are, of their height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(sides[:, 0] / np.maximum(sides[:, 1], 1e-3), np.float32)


def _look_alike(picture: Picture, boxes: Boxes) -> bool:
    """Whether a picture shows about the same in all of (k, 4) boxes, each cut into parts of a few points."""
    steps = (np.arange(_PARTS * _POINTS) + 0.5) / (_PARTS * _POINTS)
    x, y = (boxes[:, None, axis] + steps * (boxes[:, axis + 2] - boxes[:, axis])[:, None] for axis in (0, 1))
    rows = np.clip(y, 0, picture.shape[0] - 1).astype(np.intp)[:, :, None]
    columns = np.clip(x, 0, picture.shape[1] - 1).astype(np.intp)[:, None, :]
    points = picture[rows, columns, :3].astype(np.float32)
    least, most = points.min(axis=(1, 2)), points.max(axis=(1, 2))
    each, channels = np.arange(len(boxes)), (most - least).argmax(axis=1)  # that shows most of each, in its colours
    ground, contrasts = least[each, channels], (most - least)[each, channels]
    shown = (points[each, :, :, channels] - ground[:, None, None]) / np.maximum(contrasts, 1)[:, None, None]
    looks = shown.reshape(-1, _PARTS, _POINTS, _PARTS, _POINTS).mean(axis=(2, 4))
    return bool(np.abs(looks - np.median(looks, axis=0)).mean() < _ALIKE)


def mapped_share_of_text(text: str) -> float:
    """The same of a text whose characters all have a map: it may still mean nothing, or mix alphabets in words."""
    if text.isascii() and not _exchanged_letters(text) and not _halved_letters(text):
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
    num_wrong = (
        max(num_wrong, misread, _exchanged_letters(text), _halved_letters(text)) + mixed + _length_of_signs(text)
    )
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
    for font in distinct(numbers[unmapped]):
        of_font = unmapped & (numbers == font)
        is_known = (numbers == font) & characters.is_mapped & (codes > _SPACE)
        is_other = (codes[is_known] >= _FIRST_OTHER) & (codes[is_known] < _PAST_OTHERS)
        if 2 * np.count_nonzero(is_other) > np.count_nonzero(is_known):
            continue  # numbers of glyphs, which part of a cluster has no letters
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
    if codes.max(initial=0) < 0xE000:
        return np.equal(codes, 0)
    is_private = (codes >= 0xE000) & (codes < 0xF900) | (codes >= 0xF0000)
    is_none = (codes == 0xFFFF) | ((codes > 0xFFFF) & ((codes & 0xFFFE) == 0xFFFE))
    found: NDArray[np.bool_] = is_private | is_none | np.isin(codes, _NO_CHARACTER)
    return found


def _letter_counts(codes: NDArray[np.uint32] | NDArray[np.uint8]) -> NDArray[np.float64]:
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
    likeness = letters @ _LATIN / np.linalg.norm(letters)
    if letters.sum() >= _MIN_LETTERS and likeness >= _LIKE_LATIN:
        return True
    codes = np.where(which, characters.codes, _SPACE)
    pairs = _pairs_of(codes.astype("<u4").tobytes().decode("utf-32-le", "replace"))
    return len(set(pairs)) >= _MIN_PAIRS and sum(pair in _PAIRS for pair in pairs) >= _PAIRS_SHARE * len(pairs)


def _pairs_of(text: str) -> list[str]:
    """The pairs of ASCII letters in the words of a text, in lower case."""
    return [word[at : at + 2].lower() for word in _RUN.findall(text) for at in range(len(word) - 1)]


def _exchanged_letters(text: str) -> int:
    """How many ASCII letters a text has if they are exchanged for each other: they come as unequally often as in text,
    but others than in any language, and next to others, in words that come again.

    Chess games, proteins and codes of shares have such letters, but in no words; languages of few letters have vowels.
    """
    letters = _letter_counts(np.frombuffer(text.encode("latin-1", "replace"), np.uint8))
    count, length = int(letters.sum()), float(np.linalg.norm(letters))
    if count < _MIN_EXCHANGED or letters @ _LATIN > _UNLIKE * length:
        return 0
    pairs = _pairs_of(text)
    is_text = np.sort(letters) @ np.sort(_LATIN) > _LIKE_SORTED * length and _has_words(text, count)
    is_unlike = letters[_VOWELS].sum() < _FEW_VOWELS * count
    is_unlike = is_unlike and sum(pair in _PAIRS for pair in pairs) < _FEW_PAIRS * len(pairs)
    return count if is_text and is_unlike else 0


def _halved_letters(text: str) -> int:
    """How many characters of a text are last bytes of Cyrillic letters, `<=>38E` for `многих`, as some versions of
    Ghostscript map them."""
    if text.count(">") + text.count("=") < _HALVED_SHARE * len(text):
        return 0
    halves = np.frombuffer("".join(_HALVED.findall(text)).encode("ascii"), np.uint8)
    counts = np.bincount(halves, minlength=0x50)[0x30:0x50]
    is_like = counts @ _CYRILLIC >= _LIKE_CYRILLIC * float(np.linalg.norm(counts))
    return len(halves) if len(halves) >= _MIN_HALVED and is_like else 0


def _has_words(text: str, num_letters: int) -> bool:
    """Whether the letters are mostly in words, of which some come again, as in prose."""
    words = _PLAIN_WORD.findall(text)
    num_again = len(words) - len({*words})
    return sum(map(len, words)) >= _MIN_IN_WORDS * num_letters and num_again >= _MIN_AGAIN * len(words)


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
