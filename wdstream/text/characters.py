"""Text as it is stored: line ends, hyphen marks and control characters of PDF text layers, lone surrogates."""

import re
import unicodedata

# PDFium ends a line broken inside a word with U+0002, in some encodings with U+FFFE, and drops the line end after it.
_LINE_END_HYPHEN = re.compile("[\u0002\ufffe](?:\r\n|\r|\n)?")
_LINE_END = re.compile("\r\n|\r|\x0b|\x0c|\u2028|\u2029")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\uffff]")
_SPACE_AT_LINE_END = re.compile("[ \t\u00a0]+(?=\n|$)")
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNREADABLE_CATEGORIES = frozenset({"Cc", "Cn", "Co", "Cs"})
_READABLE_CONTROLS = frozenset("\t\n\r\x0c\x02\ufffe")


def replace_surrogates(text: str) -> str:
    """Make text storable as UTF-8: every lone surrogate becomes U+FFFD, every other character stays."""
    return _SURROGATE.sub("\ufffd", text)


def normalise_text(text: str) -> str:
    """Clean the text of a page: what a reader of the page would see, in lines ended by one newline.

    A hyphen mark at a line end becomes a hyphen and a line end; CR LF, CR, form feed and the Unicode separators become
    a newline; other control characters, byte order marks and space before a line end go; lone surrogates become U+FFFD;
    empty lines at both ends go. Applying it twice changes nothing more.
    """
    text = _LINE_END_HYPHEN.sub("-\n", text)
    text = _LINE_END.sub("\n", text)
    text = _CONTROL.sub("", text)
    text = _SPACE_AT_LINE_END.sub("", text)
    return replace_surrogates(text).strip("\n")


def unreadable_share(text: str) -> float:
    """Share of the characters that no reader could see: controls, private use, unassigned, surrogates; 0 for no text.

    Taken before `normalise_text`. A PDF whose fonts lack a good Unicode map shows here (facts: above 0.01 is not text).
    """
    if not text:
        return 0.0
    if text.isascii() and text.isprintable():
        return 0.0
    unreadable = sum(
        1
        for character in text
        if unicodedata.category(character) in _UNREADABLE_CATEGORIES and character not in _READABLE_CONTROLS
    )
    return unreadable / len(text)
