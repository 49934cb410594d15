"""The words of a text as a judge counts them, and the script and language of a text.

A label and what an OCR engine reads differ in ways that say nothing about the label: case, quotes, dashes, ligatures,
bullets, digits of another script, vowel marks. Both are brought to one form before they are compared:

* NFKC (ligatures, full-width forms, presentation forms of Arabic) and casefold; format characters (joiners, soft
  hyphens, direction marks) go.
* Marks of Hebrew and Arabic go, since engines do not write them; two pairs of Arabic letters that look alike become
  one; digits of every script become ASCII.
* A word is a run of letters, digits and marks of at least two characters: engines miss isolated letters, numbers of
  lists and formulas, so that they would measure the engine. Where a script has no spaces (Han, kana, hangul as engines
  space it, Thai, ...), each letter is a word.
"""

import unicodedata
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass

MIN_LETTERS = 2
"""Shorter words are not counted, except in scripts without spaces."""

_SPACELESS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1100, 0x11FF),  # Hangul Jamo
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x9FFF),  # Han, kana, Bopomofo
    (0xA960, 0xA97F),
    (0xAC00, 0xD7FF),  # Hangul
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_SPACELESS_STARTS = [first for first, _ in _SPACELESS]
_MARKS_GO = ("HEBREW", "ARABIC")
_SAME_SHAPE = str.maketrans({"ي": "ی", "ى": "ی", "ك": "ک", "ـ": None})
_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC")

LANGUAGES = {
    "ARABIC": "ara",
    "ARMENIAN": "hye",
    "BENGALI": "ben",
    "CYRILLIC": "rus",
    "DEVANAGARI": "hin",
    "ETHIOPIC": "amh",
    "GEORGIAN": "kat",
    "GREEK": "ell",
    "GUJARATI": "guj",
    "HEBREW": "heb",
    "KHMER": "khm",
    "LAO": "lao",
    "LATIN": "eng",
    "MALAYALAM": "mal",
    "MYANMAR": "mya",
    "TAMIL": "tam",
    "TELUGU": "tel",
    "THAANA": "div",
    "THAI": "tha",
    "TIBETAN": "bod",
}
"""The name of tesseract's data for a script, where its letters do not say more."""
MIN_SHARE, MIN_UNKNOWN_SHARE = 0.01, 0.1
"""Of the letters of a text: scripts that are rarer do not choose language data; the second for those not listed, whose
names in Unicode may be of signs (MODIFIER, MATHEMATICAL)."""

_KNOWN = {*LANGUAGES, "HAN", "JAPANESE", "KOREAN"}
_STOP_WORDS = {
    "deu": "der die und das ist nicht mit werden eine von zu den für",
    "fra": "le les des et est une dans pour que sur vous du pas",
    "spa": "el los las una que por para con del como se es en",
    "ita": "il di che una per con del della sono gli non nel",
    "por": "os as uma que para com do da não em um são no",
    "pol": "się nie jest na do że oraz lub dla przez jak w i",
    "tur": "ve bir bu için ile olarak da de olan gibi",
    "vie": "và của là có các được cho trong không một này với",
    "eng": "the of and to is in that for with are this be",
}


@dataclass(frozen=True, slots=True)
class Text:
    """The words of a text in its order.

    Attributes:
        words: normalised.
        left_out: words of the text that are too short to count.
    """

    words: tuple[str, ...]
    left_out: int


def words_of(text: str) -> Text:
    """The words of a text that count, in order."""
    words: list[str] = []
    left_out = 0
    current: list[str] = []
    for char in [*normalise(text), " "]:
        if _is_spaceless(char):
            wanted, ends = char, True
        else:
            wanted, ends = "", unicodedata.category(char)[0] not in "LNM"
        if not ends:
            current.append(char)
            continue
        if len(current) >= MIN_LETTERS:
            words.append("".join(current))
        elif current:
            left_out += 1
        current = []
        if wanted and unicodedata.category(wanted)[0] in "LNM":
            words.append(wanted)
    return Text(words=tuple(words), left_out=left_out)


def normalise(text: str) -> str:
    """A text in the form in which labels and readings are compared; see the head of this file."""
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_SAME_SHAPE)
    return "".join(map(_plain, unicodedata.normalize("NFC", folded)))


def script_of(text: str) -> str:
    """The script of most letters of a text as a name in Unicode ("Latin"); Han with kana is "Japanese", "" for none."""
    counts = _scripts(text)
    return max(counts, key=lambda name: (counts[name], name)).capitalize() if counts else ""


def language_of(text: str) -> str:
    """The tesseract data to read a picture with that shows this text, such as `jpn+eng`; English for no text.

    One name for each script in the text, the commonest first; for Latin that of the language whose small words it has.
    A script that tesseract has no data for is named as such (`syriac`), so that its data are found to be lacking.
    """
    counts = _scripts(text)
    least = {True: MIN_SHARE * counts.total(), False: MIN_UNKNOWN_SHARE * counts.total()}
    common = [name for name, count in counts.most_common() if count >= least[name in _KNOWN]]
    names = [name for script in common for name in _languages(script, text)]
    return "+".join(dict.fromkeys([*names, "eng"]))


def _scripts(text: str) -> Counter[str]:
    """Letters of each script. East Asian ones are one: JAPANESE where there is kana, KOREAN with hangul, else HAN."""
    counts = Counter(unicodedata.name(char, "").partition(" ")[0] for char in text if char.isalpha())
    counts.pop("", None)
    parts = {name: counts.pop(name, 0) for name in _EAST_ASIAN}
    total = sum(parts.values())
    kana = parts["HIRAGANA"] + parts["KATAKANA"]
    if total:
        name = "KOREAN" if parts["HANGUL"] > 0.1 * total else "JAPANESE" if kana > 0.05 * total else "HAN"
        counts[name] = total
    return counts


def _languages(script: str, text: str) -> list[str]:
    """The language data for the letters of one script in a text."""
    if script == "LATIN":
        words = Counter(text.casefold().split())
        score = {name: sum(words[word] for word in listed.split()) for name, listed in _STOP_WORDS.items()}
        best = max(score, key=lambda name: (score[name], name))
        return [best] if score[best] else ["eng"]
    if script == "HAN":
        return ["chi_tra" if _is_traditional(text) else "chi_sim"]
    if script in ("JAPANESE", "KOREAN"):
        return ["jpn" if script == "JAPANESE" else "kor"]
    if script == "CYRILLIC" and any(char in "іїєґ" for char in text):
        return ["ukr"]
    if script == "ARABIC" and sum(char in "پچژگکی" for char in text) > 0.03 * len(text):
        return ["fas"]
    return [LANGUAGES.get(script, script.lower())]


def _is_traditional(text: str) -> bool:
    """Whether more of the letters are in Big5 only than in GB 2312 only."""
    big5, gb2312 = (sum(_encodes(char, name) for char in text) for name in ("big5", "gb2312"))
    return big5 > gb2312


def _encodes(char: str, encoding: str) -> bool:
    try:
        char.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _plain(char: str) -> str:
    """A character in the form of `normalise`; "" for one that goes."""
    category = unicodedata.category(char)
    if category == "Cf":
        return ""
    if category == "Nd":
        return str(unicodedata.digit(char))
    if category == "Mn" and unicodedata.name(char, "").startswith(_MARKS_GO):
        return ""
    return char


def _is_spaceless(char: str) -> bool:
    place = bisect_right(_SPACELESS_STARTS, ord(char)) - 1
    return place >= 0 and ord(char) <= _SPACELESS[place][1]
