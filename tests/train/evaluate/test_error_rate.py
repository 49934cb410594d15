"""CER and WER against figures counted by hand, and against a plain dynamic programme."""

import random
from collections.abc import Sequence

import pytest

from wdstream.train.evaluate.error_rate import ErrorCounts, count_errors, normalise


@pytest.mark.parametrize(
    ("reference", "prediction", "counts"),
    [
        ("kitten sat", "sitting sat", (3, 10, 1, 2)),
        ("a b c", "a c", (2, 5, 1, 3)),  # a word left out, and its space
        ("a b", "a x b", (2, 3, 1, 2)),
        ("same", "same", (0, 4, 0, 1)),
        ("gone", "", (4, 4, 1, 1)),
        ("", "added words", (11, 0, 2, 0)),
        ("Case", "case", (1, 4, 1, 1)),
        ("end.", "end", (1, 4, 1, 1)),
        ("漢字を", "漢字", (1, 3, 1, 1)),
        ("two\nlines\t here ", " two lines\u00a0here", (0, 14, 0, 3)),
        ("Cafe\u0301", "Caf\u00e9", (0, 4, 0, 1)),  # e and accent, or both in one
        ("Cafe", "Caf\u00e9", (1, 4, 1, 1)),
        ("\U0001d49c", "x", (1, 1, 1, 1)),  # outside the basic plane, still one character
    ],
)
def test_counts(reference: str, prediction: str, counts: tuple[int, int, int, int]) -> None:
    found = count_errors(reference, prediction)
    assert (found.char_errors, found.num_chars, found.word_errors, found.num_words) == counts


def test_rates_are_micro_averages() -> None:
    long = ErrorCounts(char_errors=1, num_chars=98, word_errors=1, num_words=19)
    short = ErrorCounts(char_errors=2, num_chars=2, word_errors=1, num_words=1)
    total = sum([long, short], ErrorCounts())
    assert (total.cer, total.wer) == (0.03, 0.1)  # the mean of the two pages' rates would be 0.51 and 0.53
    assert ErrorCounts(char_errors=3, word_errors=2).cer == 3.0
    assert ErrorCounts().wer == 0.0


def plain_distance(first: Sequence[str], second: Sequence[str]) -> int:
    row = list(range(len(second) + 1))
    for i, left in enumerate(first, 1):
        above, row[0] = row[0], i
        for j, right in enumerate(second, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (left != right))
    return row[-1]


def test_distances_are_levenshteins() -> None:
    draw = random.Random(3)
    for _ in range(200):
        wanted, found = ("".join(draw.choices("ab é漢\n", k=draw.randint(0, 30))) for _ in range(2))
        counts = count_errors(wanted, found)
        assert counts.char_errors == plain_distance(normalise(wanted), normalise(found))
        assert counts.word_errors == plain_distance(wanted.split(), found.split())
