"""How letters of Hebrew and Arabic are set in words: which join, which only end a word."""

from functools import lru_cache

import regex

JOINER = "\u200c"
"""Zero-width non-joiner: the letters around it do not join, as in Persian plurals."""

_JOINS_NEXT = regex.compile(r"\p{Joining_Type=D}")
_JOINS_PREVIOUS = regex.compile(r"[\p{Joining_Type=D}\p{Joining_Type=R}]")
_ENDS = frozenset("ךםןףץةى")
_ARTICLE = "ال"
_LONGEST_NOT = 3


@lru_cache(maxsize=512)
def _is(pattern: "regex.Pattern[str]", letter: str) -> bool:
    return pattern.fullmatch(letter) is not None


def joins_next(text: str) -> bool:
    """Whether the last letter of `text` joins the letter after it."""
    return _is(_JOINS_NEXT, text[-1])


def joins_previous(text: str) -> bool:
    """Whether the first letter of `text` joins the letter before it."""
    return _is(_JOINS_PREVIOUS, text[0])


def reads_well(word: str) -> bool:
    """Whether `word` ends with a letter that only ends words, or begins with the Arabic article.

    Of words as short as "not" and "but" (لا, إلا) the article is what they end with, the other way round.
    """
    return word[0] not in _ENDS and (word[-1] in _ENDS or (word.startswith(_ARTICLE) and len(word) > _LONGEST_NOT))
