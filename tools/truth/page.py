"""The verdict on one page: what of its label the picture shows, and what of the picture its label has."""

from collections.abc import Callable
from dataclasses import dataclass

from truth.match import match_words, order_share
from truth.ocr import FIRST, FURTHER, Reading, View
from truth.words import language_of, script_of, words_of

SURE = 60.0
"""Words that the engine read with less confidence are not asked of a label."""
SATISFIED = 0.01
"""With at most this share of a label's words unseen, a picture is not looked at again."""
HOPELESS = 0.5
"""The picture is turned when at least this share, or a fifth of it on pages with text on its side, is unseen."""
SIDEWAYS = 0.05

Read = Callable[[str, View], Reading]
"""Reads the page's picture: language, view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTruth:
    """What the judge found on a page.

    Attributes:
        key: of the page.
        script: of the label's letters, "none" for a label without letters.
        language: the data that the engine read with.
        label: the label.
        read: what the engine read at first sight.
        words: words of the label that count.
        left_out: words of the label that are too short to count.
        unseen: places in the label's words that no view of the picture showed.
        asked: words of the picture that the engine is sure of.
        lacking: those of them that the label does not have, with their boxes.
        order: share of the matched words that label and reading have in the same order.
    """

    key: str
    script: str
    language: str
    label: str
    read: str
    words: int
    left_out: int
    unseen: tuple[str, ...]
    asked: int
    lacking: tuple[tuple[str, tuple[float, float, float, float]], ...]
    order: float

    @property
    def precision(self) -> float:
        """Share of the label's words that the picture shows; 1 where none counts."""
        return (self.words - len(self.unseen)) / self.words if self.words else 1.0

    @property
    def recall(self) -> float:
        """Share of the words that the engine is sure of which the label has; 1 where there are none."""
        return (self.asked - len(self.lacking)) / self.asked if self.asked else 1.0


def judge_page(key: str, label: str, read: Read, language: str | None = None) -> PageTruth:
    """Judge the label of one page.

    A word is seen when any view of the picture shows it: each view of an engine misses words that another reads, and a
    word that is not there is in none. What the picture shows beyond the label is taken from the first view alone.

    Args:
        key: of the page.
        label: its text.
        read: reads its picture.
        language: of the engine's data; None chooses by the label.
    """
    language = language or language_of(label)
    text = words_of(label)
    first = read(language, FIRST)
    match = match_words(text.words, first.words)
    seen = [place >= 0 for place in match.label]
    for view in FURTHER:
        unseen = seen.count(False) / len(seen) if seen else 0.0
        if unseen <= SATISFIED:
            break
        if view.turn and unseen < (HOPELESS if view.turn == 180 else SIDEWAYS):
            continue
        again = match_words(text.words, read(language, view).words)
        seen = [was or place >= 0 for was, place in zip(seen, again.label, strict=True)]
    sure = [place for place, confidence in enumerate(first.confidence) if confidence >= SURE]
    return PageTruth(
        key=key,
        script=script_of(label) or "none",
        language=language,
        label=label,
        read=first.text,
        words=len(text.words),
        left_out=text.left_out,
        unseen=tuple(word for word, is_seen in zip(text.words, seen, strict=True) if not is_seen),
        asked=len(sure),
        lacking=tuple((first.words[place], first.boxes[place]) for place in sure if match.read[place] < 0),
        order=order_share(text.words, first.words, match),
    )
