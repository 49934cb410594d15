"""Which script a text is written in, and characters by script, from Unicode's own tables."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import regex
from numpy.typing import NDArray

from wdstream.text.characters import kinds_of

_CODES = {
    "Latn": "Latin", "Cyrl": "Cyrillic", "Grek": "Greek", "Armn": "Armenian", "Geor": "Georgian", "Hebr": "Hebrew",
    "Arab": "Arabic", "Syrc": "Syriac", "Thaa": "Thaana", "Nkoo": "Nko", "Deva": "Devanagari", "Beng": "Bengali",
    "Guru": "Gurmukhi", "Gujr": "Gujarati", "Orya": "Oriya", "Taml": "Tamil", "Telu": "Telugu", "Knda": "Kannada",
    "Mlym": "Malayalam", "Sinh": "Sinhala", "Thai": "Thai", "Laoo": "Lao", "Tibt": "Tibetan", "Mymr": "Myanmar",
    "Khmr": "Khmer", "Mong": "Mongolian", "Ethi": "Ethiopic", "Cher": "Cherokee", "Cans": "Canadian_Aboriginal",
    "Hang": "Hangul", "Hani": "Han", "Hira": "Hiragana", "Kana": "Katakana", "Bopo": "Bopomofo", "Copt": "Coptic",
    "Tfng": "Tifinagh", "Java": "Javanese", "Goth": "Gothic", "Runr": "Runic", "Ogam": "Ogham",
}  # fmt: skip
_EAST = ("Hani", "Hira", "Kana", "Hang")
_MIXED = 0.05  # of the letters of East Asia are kana or Hangul where Han letters are Japanese or Korean
_PAST_MARKS = 0x1F000
_LETTER = regex.compile(r"\p{L}")
_RIGHT_TO_LEFT = ((0x591, 0x8FF), (0xFB1D, 0xFDFF), (0xFE70, 0xFEFC), (0x10800, 0x10FFF), (0x1E800, 0x1EFFF))
_EAST_ASIAN = (
    *((0x2E80, 0x9FFF), (0xF900, 0xFAFF), (0xFE10, 0xFE1F)),
    *((0xFE30, 0xFE4F), (0xFF01, 0xFF9F), (0x20000, 0x2FFFF)),
)


def one_of(*ranges: tuple[int, int]) -> re.Pattern[str]:
    """What finds a character whose code point is in one of these ranges, both ends counted."""
    return re.compile("[" + "".join(f"{chr(low)}-{chr(high)}" for low, high in ranges) + "]")


RIGHT_TO_LEFT = one_of(*_RIGHT_TO_LEFT)
"""Finds one of `right_to_left_letters` in a text."""
EAST_ASIAN = one_of(*_EAST_ASIAN)
"""Finds one that `is_east_asian`."""


@lru_cache
def _patterns() -> tuple[tuple[str, "regex.Pattern[str]"], ...]:
    return tuple((code, regex.compile(rf"\p{{Script={name}}}")) for code, name in _CODES.items())


@lru_cache(maxsize=8192)
def script_of_letter(letter: str) -> str:
    """ISO 15924 code of one letter's script: `Zyyy` for what is in several scripts, `Zzzz` for scripts not listed."""
    if not _LETTER.fullmatch(letter):
        return "Zyyy"
    if letter.isascii():
        return "Latn"
    found = next((code for code, pattern in _patterns() if pattern.fullmatch(letter)), None)
    if found is None:
        return "Zyyy" if regex.fullmatch(r"[\p{Script=Common}\p{Script=Inherited}]", letter) else "Zzzz"
    return found


def scripts_of(text: str) -> Counter[str]:
    """Letters of each script, by ISO 15924 code; signs, digits and marks are not counted."""
    scripts: Counter[str] = Counter()
    for letter, count in Counter(text).items():
        scripts[script_of_letter(letter)] += count
    del scripts["Zyyy"]
    return scripts


def script_of(text: str) -> str:
    """The script of most letters, as an ISO 15924 code.

    Han letters with kana among them are Japanese (`Jpan`), with Hangul Korean (`Kore`); `Zyyy` for a text without
    letters.
    """
    kinds = {script_of_letter(kind) for kind in kinds_of(text)} - {"Zyyy"}
    if len(kinds) <= 1 and kinds.isdisjoint(_EAST):  # as most texts: nothing has to be counted
        return kinds.pop() if kinds else "Zyyy"
    scripts = scripts_of(text)
    east = {code: scripts.pop(code, 0) for code in _EAST}
    letters = sum(east.values())
    if letters and letters >= max(scripts.values(), default=0):
        if east["Hang"] > _MIXED * letters:
            return "Kore"
        return "Jpan" if east["Hira"] + east["Kana"] > _MIXED * letters else "Hani"
    return min(scripts, key=lambda code: (-scripts[code], code), default="Zyyy")


def right_to_left_letters(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """(n,) which code points are of Hebrew, Arabic and the other scripts that read from right to left."""
    return _are_in(codes, _RIGHT_TO_LEFT)


def is_east_asian(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """(n,) which code points are Han letters, kana and their signs, between which no spaces are written."""
    return _are_in(codes, _EAST_ASIAN)


def _are_in(codes: NDArray[np.uint32], ranges: Iterable[tuple[int, int]]) -> NDArray[np.bool_]:
    """(n,) which code points are in one of these ranges."""
    found = np.zeros(codes.shape, np.bool_)
    for low, high in ranges:
        found |= (codes >= low) & (codes <= high)
    return found


def combining_marks(codes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """(n,) which code points are vowel signs and other marks of the right-to-left scripts."""
    marks: NDArray[np.bool_] = _are_marks()[np.minimum(codes, _PAST_MARKS)]
    return marks


@lru_cache
def _are_marks() -> NDArray[np.bool_]:
    codes = np.arange(_PAST_MARKS + 1, dtype=np.uint32)
    marks = right_to_left_letters(codes)
    marks[marks] = [unicodedata.category(chr(code)) == "Mn" for code in codes[marks].tolist()]
    return marks
