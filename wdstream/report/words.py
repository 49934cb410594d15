"""Text of pages made safe to show: nothing in it acts on a terminal or on a browser, and long text is shortened."""

import unicodedata
from dataclasses import dataclass

from wdstream.text.characters import one_line, printable

ZERO_WIDTH_JOINER = "\u200d"

HEAD_CHARS, TAIL_CHARS = 320, 120
LINE_REACH, WORD_REACH = 60, 24
"""Characters within which a cut looks for the end of a line, and else of a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortened:
    """A text in three parts; `middle` is what is left out of a short view, "" when nothing is."""

    head: str
    middle: str
    tail: str


def edged(text: str) -> str:
    """`printable`, and line ends at the beginning and at the end, which nobody would see, written out too."""
    shown = printable(text)
    inner = shown.strip("\n")
    if not inner:
        return "⏎" * len(shown)
    left = len(shown) - len(shown.lstrip("\n"))
    return "⏎" * left + inner + "⏎" * (len(shown) - left - len(inner))


def shorten(text: str, *, head: int = HEAD_CHARS, tail: int = TAIL_CHARS) -> Shortened:
    """A long text in a beginning of about `head` characters, an end of about `tail`, and what is between.

    It is cut between lines or words where there are any, and never before a mark that belongs to the letter before it.
    """
    if len(text) <= head + tail + tail // 2:
        return Shortened(head=text, middle="", tail="")
    left, right = _cut(text, head, -1, head), _cut(text, len(text) - tail, 1, tail)
    return Shortened(head=text[:left], middle=text[left:right], tail=text[right:])


def short_ids(text: str, *, full: bool = False) -> str:
    """The ids of an image block in one line; a split image has many runs of them, of which the middle is left out."""
    short = shorten(one_line(text), head=90, tail=60)
    return one_line(text) if full or not short.middle else f"{short.head}... {short.tail}"


def counted(count: int, noun: str) -> str:
    """A number of things: 1 tile, 2 tiles."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def percent(used: int, limit: int) -> str:
    """A share in percent, rounded down, so that only what is full is 100."""
    return f"{used * 1000 // limit / 10:.1f} %"


def _cut(text: str, cut: int, direction: int, room: int) -> int:
    """The best cut near `cut`, in the direction (1 or -1) and at most half of `room` away: between lines or words."""
    for is_end, reach in (("\n".__eq__, LINE_REACH), (str.isspace, WORD_REACH)):
        for near in range(cut, cut + min(reach, room // 2) * direction, direction):
            if is_end(text[near - 1]):
                return near
    while 0 < cut < len(text) and (unicodedata.combining(text[cut]) or text[cut] == ZERO_WIDTH_JOINER):
        cut += direction
    return cut
