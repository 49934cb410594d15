import numpy as np
import pytest

from wdstream.text.script import combining_marks, right_to_left_letters, script_of, scripts_of


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Documentation (2011)", "Latn"),
        ("Дополнительная документация GNU", "Cyrl"),
        ("שלום עולם", "Hebr"),
        ("المجلد الحالي", "Arab"),
        ("هندی हिन्दी भाषा", "Deva"),
        ("これは日本語の文章です", "Jpan"),
        ("軟體套件", "Hani"),
        ("한국어 문서", "Kore"),
        ("漢字 한국어", "Kore"),
        ("ไทย", "Thai"),
        ("Ελληνικά", "Grek"),
        ("1, 2, 3 — 4", "Zyyy"),
        ("", "Zyyy"),
        ("𐎠𐎡𐎢", "Zzzz"),
    ],
)
def test_the_script_of_most_letters(text: str, wanted: str) -> None:
    assert script_of(text) == wanted


def test_letters_are_counted_by_script_and_ties_go_by_name() -> None:
    assert dict(scripts_of("aб1яz ͡.")) == {"Latn": 2, "Cyrl": 2}
    assert script_of("aб") == "Cyrl"


def test_right_to_left_letters_and_their_marks() -> None:
    codes = np.array([ord(character) for character in "aאم\u064e5١י\u05b4"], np.uint32)
    assert right_to_left_letters(codes).tolist() == [False, True, True, True, False, True, True, True]
    assert combining_marks(codes).tolist() == [False, False, False, True, False, False, False, True]
