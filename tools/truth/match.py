"""Which words of a label a reading has, and in which order.

Words are matched as multisets, so that the order of blocks, in which readers differ, counts in a figure of its own:

1. equal words, first with first; then words that are equal without accents, which engines lose where they lack the
   data of a language;
2. then words at a small edit distance, nearest first: an engine takes one letter in about 4 for another in a word that
   it reads badly, and a label that is wrong (another line, another alphabet) is farther away than that;
3. then words that one side writes as two to four: engines drop and invent spaces, labels break words at line ends.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import LCSseq, Levenshtein

_ACCENTS = re.compile("[\u0300-\u036f]")
MAX_JOINED = 4
MAX_LEFT = 3000
"""More words than this of either side are not compared at a distance; a page that leaves them matches in nothing."""


@dataclass(frozen=True, slots=True)
class Match:
    """How the words of a label and of a reading belong together.

    Attributes:
        label: for each word of the label the first word of the reading that shows it, -1 for none.
        read: for each word of the reading the first word of the label that has it, -1 for none.
    """

    label: tuple[int, ...]
    read: tuple[int, ...]


def match_words(label: Sequence[str], read: Sequence[str]) -> Match:
    """Match the words of a label with those of a reading, each at most once."""
    of_label, of_read = [-1] * len(label), [-1] * len(read)
    _match_equal(label, of_label, read, of_read)
    _match_equal([*map(_bare, label)], of_label, [*map(_bare, read)], of_read)
    _match_near(label, of_label, read, of_read)
    _match_joined(label, of_label, read, of_read)
    _match_joined(read, of_read, label, of_label)
    return Match(label=tuple(of_label), read=tuple(of_read))


def allowed_distance(word: str) -> int:
    """How many letters of a word an engine may get wrong: none in a word of 1 or 2, 1 of 3 to 7, then a quarter."""
    return 0 if len(word) < 3 else max(1, len(word) // 4)


def order_share(label: Sequence[str], read: Sequence[str], match: Match) -> float:
    """Share of the matched words of a label that the reading has in the same order; 1 where none is matched.

    The longest common subsequence of both, a word of the reading taken as the word of the label that it matches.
    """
    ours = [label[number] for number, place in enumerate(match.label) if place >= 0]
    theirs = [label[number] for number in match.read if number >= 0]
    return LCSseq.similarity(ours, theirs) / min(len(ours), len(theirs)) if ours and theirs else 1.0


def _match_equal(label: Sequence[str], of_label: list[int], read: Sequence[str], of_read: list[int]) -> None:
    """Match words that are left over and equal, first with first."""
    places: dict[str, list[int]] = defaultdict(list)
    for place in reversed(range(len(read))):
        if of_read[place] < 0:
            places[read[place]].append(place)
    for number, word in enumerate(label):
        if of_label[number] < 0 and places[word]:
            place = places[word].pop()
            of_label[number], of_read[place] = place, number


def _bare(word: str) -> str:
    """A word without accents."""
    if word.isascii():
        return word
    return _ACCENTS.sub("", unicodedata.normalize("NFD", word)) or word


def _match_near(label: Sequence[str], of_label: list[int], read: Sequence[str], of_read: list[int]) -> None:
    """Match words that are left over at a small distance, the nearest first, then those at nearest places."""
    numbers = [number for number, place in enumerate(of_label) if place < 0 and allowed_distance(label[number])]
    places = [place for place, number in enumerate(of_read) if number < 0 and allowed_distance(read[place])]
    if not numbers or not places or max(len(numbers), len(places)) > MAX_LEFT:
        return
    distances = process.cdist(
        [label[number] for number in numbers], [read[place] for place in places], scorer=Levenshtein.distance
    )
    allowed = np.array([allowed_distance(label[number]) for number in numbers])
    rows, columns = np.nonzero(distances <= allowed[:, None])
    scale = len(read) / len(label)
    apart = np.abs(np.array(numbers)[rows] * scale - np.array(places)[columns])
    for pair in np.lexsort((apart, distances[rows, columns])):
        number, place = numbers[rows[pair]], places[columns[pair]]
        if of_label[number] < 0 and of_read[place] < 0:
            of_label[number], of_read[place] = place, number


def _match_joined(whole: Sequence[str], of_whole: list[int], parts: Sequence[str], of_parts: list[int]) -> None:
    """Match words of `whole` that are left over with neighbours in `parts` that are left over, written as one."""
    joined: dict[str, list[range]] = defaultdict(list)
    for span in _spans(of_parts):
        joined["".join(parts[place] for place in span)].append(span)
    for number, word in enumerate(whole):
        near = None if of_whole[number] >= 0 else word if word in joined else _nearest(word, joined)
        for span in joined[near] if near else ():
            if all(of_parts[place] < 0 for place in span):
                of_whole[number] = span[0]
                for place in span:
                    of_parts[place] = number
                break


def _spans(of_parts: Sequence[int]) -> Iterator[range]:
    """Two to four neighbours that are all left over."""
    for start in range(len(of_parts)):
        for stop in range(start + 1, min(start + MAX_JOINED, len(of_parts)) + 1):
            if of_parts[stop - 1] >= 0:
                break
            if stop - start > 1:
                yield range(start, stop)


def _nearest(word: str, joined: dict[str, list[range]]) -> str | None:
    """The joined neighbours nearest to a word within the allowed distance."""
    limit = allowed_distance(word)
    if limit == 0:
        return None
    found = process.extractOne(word, joined.keys(), scorer=Levenshtein.distance, score_cutoff=limit)
    return found[0] if found else None
