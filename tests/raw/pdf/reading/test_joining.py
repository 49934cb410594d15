from wdstream.raw.pdf.reading.joining import joins_next, joins_previous, reads_well


def test_how_arabic_letters_join_and_words_end() -> None:
    assert [joins_next(letter) for letter in "بدا"] == [True, False, False]
    assert [joins_previous(letter) for letter in "بدء"] == [True, True, False]
    assert joins_next("لا") is False
    assert [reads_well(word) for word in ("שלום", "םולש", "المكتبة", "ةبتكملا", "kk")] == [
        True,
        False,
        True,
        False,
        False,
    ]
