"""Text as it is stored (line ends, hyphen marks and controls of PDF text layers, lone surrogates), and as it is shown.

Nothing that comes from a file reaches a terminal as it is: names, suffixes, keys and errors of libraries are shown by
`printable`, and where they are one word of a line by `short_name`.
"""

import re
import unicodedata
from functools import lru_cache

# PDFium ends a line broken inside a word with U+0002, in some encodings with U+FFFE, and drops the line end after it.
_LINE_END_HYPHENS = "\u0002\ufffe"
_LINE_END = re.compile("\r\n|\r|\x0b|\x0c|\u2028|\u2029")
_OTHER_LINE_END = re.compile("[\x0b\x0c\u2028\u2029]")
_LAST_OF_PLANES = "".join(chr(plane + 0xFFFE) + chr(plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000))
_CONTROL = re.compile(f"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ufdd0-\ufdef{_LAST_OF_PLANES}]")
_SOFT_HYPHEN_AT_LINE_END = re.compile("\u00ad+(?=[ \t\u00a0]*(?:[\r\n\x0b\x0c\u2028\u2029]|$))")
# Latin and Armenian ligatures, Hebrew and Arabic presentation forms; signs that stand for a phrase or a currency stay.
_FORMS = re.compile("[\ufb00-\ufb06\ufb13-\ufb17\ufb1d-\ufbb1\ufbd3-\ufd3d\ufd50-\ufdc7\ufdf0-\ufdf9\ufe70-\ufefc]")
_BLANKS = " \t\u00a0"
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNREADABLE_CATEGORIES = frozenset({"Cc", "Cn", "Co", "Cs"})
_READABLE_CONTROLS = frozenset("\t\n\r\x0c\x02\ufffe")
_SHOWN_CONTROLS = "\n\t"
# Written out, because they reorder or hide what is around them: marks of direction that open a range, and others that
# have no width. Those that right-to-left text needs (U+200E, U+200F, joiners) stay.
_WRITTEN_OUT = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF, 0x2028, 0x2029, *range(0xE0000, 0xE0080)}
_FIRST_CONTROL_PICTURE = 0x2400
_MAX_NAME = 160
_ASCII = bytes(range(0x80))


def replace_surrogates(text: str) -> str:
    """Make text storable as UTF-8: every lone surrogate becomes U+FFFD, every other character stays."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


@lru_cache(maxsize=2)
def kinds_of(text: str) -> str:
    """The different characters of a text, in any order: some dozens of thousands, which several questions are about."""
    absent = _ASCII.translate(None, text.encode("ascii", "ignore"))
    return _ASCII.translate(None, absent).decode() + beyond_ascii(text)


@lru_cache(maxsize=2)
def beyond_ascii(text: str) -> str:
    """Those of `kinds_of` a text that are not of ASCII: mostly so few that they tell at once what it does not have."""
    others = text.encode("utf-8", "surrogatepass").translate(None, _ASCII)
    return "".join(set(others.decode("utf-8", "surrogatepass")))


def normalise_text(text: str) -> str:
    """Clean the text of a page: what a reader of the page would see, in lines ended by one newline.

    A hyphen mark at a line end becomes a hyphen and a line end; CR LF, CR, form feed and the Unicode separators become
    a newline; other control characters, byte order marks and space before a line end go; lone surrogates become U+FFFD;
    empty lines at both ends go. Ligatures and presentation forms become letters; a soft hyphen becomes a hyphen at a
    line end, where it is drawn, and goes elsewhere. Applying it twice changes nothing more.
    """
    if text.isascii():
        plain = text.replace("\r\n", "\n")
        if plain.replace("\n", "").isprintable() and " \n" not in plain:  # as most: nothing to clean, but its ends
            return plain.rstrip(" ").strip("\n")
    kinds = kinds_of(text)  # what a text does not have is not looked for in all of it
    if "\u00ad" in kinds:
        text = _SOFT_HYPHEN_AT_LINE_END.sub("-", text).replace("\u00ad", "")
    if _FORMS.search(kinds):
        text = plain_letters(text)
    for hyphen in _LINE_END_HYPHENS:
        if hyphen in kinds:
            for end in ("\r\n", "\r", "\n", ""):
                text = text.replace(hyphen + end, "-\n")
    if _LINE_END.search(kinds):
        plain = text.replace("\r\n", "\n")  # as PDFium ends all lines
        text = _LINE_END.sub("\n", text) if "\r" in plain or _OTHER_LINE_END.search(kinds) else plain
    if _CONTROL.search(kinds):
        text = _CONTROL.sub("", text)
    if any(blank + "\n" in text or text.endswith(blank) for blank in _BLANKS):
        text = "\n".join([line.rstrip(_BLANKS) for line in text.split("\n")])
    if _SURROGATE.search(kinds):
        text = replace_surrogates(text)
    return text.strip("\n")


def plain_letters(text: str) -> str:
    """Ligatures (`ﬁ`) and presentation forms of Hebrew and Arabic as the letters that they show."""
    return _FORMS.sub(lambda form: unicodedata.normalize("NFKC", form[0]).strip() or form[0], text)


def unreadable_share(text: str) -> float:
    """Share of the characters that mean nothing: controls, private use, unassigned, surrogates, U+FFFD; 0 for no text.

    Taken before `normalise_text`. A PDF whose fonts lack a good Unicode map shows here (facts: above 0.01 is not text).
    """
    if not text:
        return 0.0
    if text.isascii() and text.isprintable():
        return 0.0
    return sum(text.count(kind) for kind in kinds_of(text) if _is_unreadable(kind)) / len(text)


def _is_unreadable(character: str) -> bool:
    is_odd = unicodedata.category(character) in _UNREADABLE_CATEGORIES and character not in _READABLE_CONTROLS
    return is_odd or character == "\ufffd"


def printable(text: str) -> str:
    """A text with every control character written out: U+001B becomes ␛, U+202E becomes <U+202E>."""
    return "".join(map(_printable_char, text)) if any(map(_acts, text)) else text


def one_line(text: str) -> str:
    """`printable`, and line ends and tabs written out too."""
    return printable(text).replace("\n", "⏎").replace("\t", "⇥")


def quoted(value: object, most: int = 60) -> str:
    """A value as Python writes it, for a message: cut where it is longer, with its quote closed."""
    shown = repr(value)
    if len(shown) <= most:
        return shown
    return f"{value[: most // 2]!r}..." if isinstance(value, str | bytes) else f"{shown[:most]}..."


def short_name(name: str, *, most: int = _MAX_NAME) -> str:
    """A name, key or suffix for a message: `one_line`, cut in the middle where it is longer than `most`."""
    shown = one_line(name)
    half = (most - 3) // 2
    return shown if len(shown) <= most else f"{shown[:half]}...{shown[-half:]}"


def _acts(char: str) -> bool:
    return (char not in _SHOWN_CONTROLS and unicodedata.category(char) in ("Cc", "Cs")) or ord(char) in _WRITTEN_OUT


def _printable_char(char: str) -> str:
    if not _acts(char):
        return char
    return chr(_FIRST_CONTROL_PICTURE + ord(char)) if ord(char) < 0x20 else f"<U+{ord(char):04X}>"
