"""tools/truth/match.py: what is matched, what is not, and the order."""

import random

import pytest

from truth.match import allowed_distance, match_words, order_share


def seen(label: str, read: str) -> list[str]:
    """Words of the label that are matched."""
    words = label.split()
    return [word for word, place in zip(words, match_words(words, read.split()).label, strict=True) if place >= 0]


def test_equal_words_are_matched_once_each() -> None:
    match = match_words(["to", "be", "or", "not", "to", "be"], ["not", "to", "be"])
    assert match.label == (1, 2, -1, 0, -1, -1)
    assert match.read == (3, 0, 1)


@pytest.mark.parametrize(
    ("label", "read", "wanted"),
    [
        ("configuration", "confìguratlon", ["configuration"]),  # 2 of 13 letters
        ("configuration", "c0nf1gurat10m", []),  # 5 of 13
        ("page", "pago", ["page"]),
        ("page", "pogo", []),
        ("to", "ta", []),
        ("på și", "pa si", ["på", "și"]),
        ("äîïîëíèòåëüíàÿ", "дополнительная", []),
        ("olleh", "hello", []),  # letters reversed
        ("secret words", "other text", []),
    ],
)
def test_small_distances(label: str, read: str, wanted: list[str]) -> None:
    assert seen(label, read) == wanted


def test_allowed_distance() -> None:
    assert [allowed_distance("x" * length) for length in (1, 2, 3, 7, 8, 12)] == [0, 0, 1, 1, 2, 3]


def test_nearest_words_first() -> None:
    """`lines` takes the exact word, `liner` the one at a distance, in whatever order they come."""
    assert match_words(["liner", "lines"], ["lines", "linen"]).label == (1, 0)


def test_words_split_and_joined() -> None:
    assert seen("documen tation of", "documentation of") == ["documen", "tation", "of"]
    assert seen("documentation of", "docu men tation of") == ["documentation", "of"]
    match = match_words(["ab", "cdef", "gh"], ["abcdefgh"])
    assert (match.label, match.read) == ((0, 0, 0), (0,))
    assert seen("far apart", "far x apart farapart") == ["far", "apart"]


def test_a_word_read_once_is_not_two_of_the_label() -> None:
    """A text layer that is there twice."""
    label = [f"word{number}" for number in range(100, 200)]
    match = match_words(label * 2, label)
    assert sum(place >= 0 for place in match.label) == 100


def test_order() -> None:
    words = [f"w{number}x{number * 7}" for number in range(1000, 1100)]
    assert order_share(words, words, match_words(words, words)) == 1.0
    columns = words[50:] + words[:50]
    assert order_share(words, columns, match_words(words, columns)) == 0.5
    shuffled = random.Random(1).sample(words, 100)
    assert order_share(words, shuffled, match_words(words, shuffled)) < 0.3
    backwards = words[::-1]
    assert order_share(words, backwards, match_words(words, backwards)) == 0.01
    assert order_share(words, [], match_words(words, [])) == 1.0
