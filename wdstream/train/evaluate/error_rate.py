"""CER and WER: how far a text that a model wrote is from the one it should have written.

    errors = least number of insertions, deletions and substitutions (Levenshtein) of characters, or of words
    rate   = errors over all pages / characters, or words, of all references         (a micro average; can exceed 1)

Both texts are first brought to Unicode's composed form (NFC); every run of whitespace, line breaks among it, becomes
one space, and none is left at the ends. Case and punctuation count. A word is what is between spaces, so in scripts
without spaces WER says little and CER is the figure to read.
"""

import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCounts:
    """Errors and what they are counted against, for one page or summed over many."""

    char_errors: int = 0
    num_chars: int = 0
    word_errors: int = 0
    num_words: int = 0

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(
            char_errors=self.char_errors + other.char_errors,
            num_chars=self.num_chars + other.num_chars,
            word_errors=self.word_errors + other.word_errors,
            num_words=self.num_words + other.num_words,
        )

    @property
    def cer(self) -> float:
        """Character errors per character of the references; with no character, the number of errors."""
        return self.char_errors / max(self.num_chars, 1)

    @property
    def wer(self) -> float:
        """Word errors per word of the references; with no word, the number of errors."""
        return self.word_errors / max(self.num_words, 1)


def normalise(text: str) -> str:
    """The form in which texts are compared: NFC, whitespace as single spaces between words."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def count_errors(reference: str, prediction: str) -> ErrorCounts:
    """Compare two texts after `normalise`."""
    from rapidfuzz.distance import Levenshtein

    wanted, found = normalise(reference), normalise(prediction)
    return ErrorCounts(
        char_errors=Levenshtein.distance(wanted, found),
        num_chars=len(wanted),
        word_errors=Levenshtein.distance(wanted.split(), found.split()),
        num_words=len(wanted.split()),
    )
