"""Which signs are accents, and which combining marks of Unicode they are over and under a letter."""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

_PAST_MARKS = 0xAC00
_NO_MARK = chr(_PAST_MARKS)


class Accent(NamedTuple):
    """The combining marks that a sign is over a letter and under it; empty where it is none there."""

    over: str = ""
    under: str = ""


ACCENTS = {
    "´": Accent("\u0301"), "ˊ": Accent("\u0301"), "΄": Accent("\u0301"), "\u1ffd": Accent("\u0301"),
    "`": Accent("\u0300"), "ˋ": Accent("\u0300"), "\u1fef": Accent("\u0300"),
    "¨": Accent("\u0308", "\u0324"), "ˆ": Accent("\u0302", "\u032d"), "˜": Accent("\u0303", "\u0330"),
    "¯": Accent("\u0304", "\u0331"), "ˉ": Accent("\u0304", "\u0331"), "˘": Accent("\u0306", "\u032e"),
    "˙": Accent("\u0307", "\u0323"), "˚": Accent("\u030a", "\u0325"), "˝": Accent("\u030b"), "ˇ": Accent("\u030c"),
    "¸": Accent("", "\u0327"), "˛": Accent("", "\u0328"), "῀": Accent("\u0342"), "᾿": Accent("\u0313"),
    "῾": Accent("\u0314"), "΅": Accent("\u0308\u0301"),
    "῍": Accent("\u0313\u0300"), "῎": Accent("\u0313\u0301"), "῏": Accent("\u0313\u0342"),
    "῝": Accent("\u0314\u0300"), "῞": Accent("\u0314\u0301"), "῟": Accent("\u0314\u0342"),
    "῁": Accent("\u0308\u0342"), "῭": Accent("\u0308\u0300"), "\u20d7": Accent("\u20d7"),
    "^": Accent("\u0302", "\u032d"), "~": Accent("\u0303", "\u0330"), "'": Accent("\u0301"), '"': Accent("\u0308"),
    "°": Accent("\u030a", "\u0325"), "’": Accent("\u0313"), "‘": Accent("\u0312"),
    ",": Accent("", "\u0326"), ".": Accent("", "\u0323"),
}  # fmt: skip
"""Spacing signs, and what they are over and under a letter."""

_COMMON = "^~'\"°’‘,."
_HOOKED = "¸˛"
_TABLES = {
    kind: np.isin(np.arange(0x2100), [ord(sign) for sign in signs])
    for kind, signs in {
        "any": "".join(ACCENTS),
        "common": _COMMON,
        "hooked": _HOOKED,
        "over": "".join(sign for sign, accent in ACCENTS.items() if accent.over),
        "under": "".join(sign for sign, accent in ACCENTS.items() if accent.under),
    }.items()
}

SIGNS = frozenset(ACCENTS)
"""All of them; `is_sign` tells which of many characters are."""
GREEK_SIGNS = frozenset("΄᾿῾῍῎῏῝῞῟")
"""Accents that are printed before a capital."""
GREEK_CAPITALS = frozenset("ΑΕΗΙΟΥΩΡᾼῌῼ")

_DOTLESS = {"ı": "i", "ȷ": "j", "𝚤": "𝑖", "𝚥": "𝑗"}
_GREEK_VOWELS = frozenset("αηιυωΑΗΙΥΩ")


def is_sign(codes: NDArray[np.uint32], kind: Literal["any", "common", "hooked", "over", "under"]) -> NDArray[np.bool_]:
    """(n,) which codes are accents of a kind.

    Common ones are mostly something else, and accents only where they are in the middle over or under a letter; hooked
    ones hang from the foot of a letter; others can be over letters, under letters, or both.
    """
    found: NDArray[np.bool_] = _TABLES[kind][np.minimum(codes, len(_TABLES[kind]) - 1)]
    return found


def composed(letter: str, accents: Sequence[tuple[str, bool]]) -> str:
    """A letter with its accents, in NFC.

    Args:
        letter: one character.
        accents: signs with whether they are over it, from the nearest.
    """
    if any(is_over for _, is_over in accents):
        letter = _DOTLESS.get(letter, letter)
    return unicodedata.normalize("NFC", letter + "".join(_mark(letter, sign, is_over) for sign, is_over in accents))


def _mark(letter: str, sign: str, is_over: bool) -> str:
    """The combining mark; Unicode has Latvian letters with commas as letters with a cedilla."""
    if (sign in "’‘" and letter == "g") or (sign == "," and letter in "GgKkLlNnRr"):
        return "\u0327"
    if sign in "˜~" and letter in _GREEK_VOWELS:
        return "\u0342"
    return ACCENTS[sign].over if is_over else ACCENTS[sign].under


def are_marks(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """(n,) which codes are marks and vowel signs that are printed over, under or around a letter."""
    marks: NDArray[np.bool_] = _marks()[np.minimum(codes, _PAST_MARKS)]
    return marks


def has_mark(text: str) -> bool:
    """Whether a text has one of `are_marks`."""
    return any(kind < _NO_MARK and unicodedata.category(kind)[0] == "M" for kind in text)


@lru_cache
def _marks() -> NDArray[np.bool_]:
    return np.array([unicodedata.category(chr(code))[0] == "M" for code in range(_PAST_MARKS + 1)], np.bool_)
