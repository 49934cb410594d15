"""How words of a line become its text, and what a line ends with: rules that all formats share.

Words are set apart by a space, but not Han letters and kana, between which none is printed though OCR programs make
each a word. A hyphen at the end of a line is part of the label, as the picture shows it.
"""

import re
from collections.abc import Sequence

_EAST_ASIAN = "[\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0002ffff]"  # as text/script.py's is_east_asian
_SPACE_BETWEEN_HAN = re.compile(f"(?<={_EAST_ASIAN}) (?={_EAST_ASIAN})")
_NOT_SIGN_AT_END = re.compile("(?<=\\w)[\u00ac\u00ad][ \t]*$")


def join_words(words: Sequence[str]) -> str:
    """The text of a line from its words, in order."""
    return _SPACE_BETWEEN_HAN.sub("", " ".join(" ".join(words).split()))


def hyphen_shown(text: str) -> str:
    """A line whose end is `¬` or a soft hyphen after a letter, by which transcriptions mean a printed hyphen."""
    return _NOT_SIGN_AT_END.sub("-", text)
