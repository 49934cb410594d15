"""tools/truth/words.py: words that count, and the language data that a text asks for."""

import pytest

from truth.words import language_of, normalise, script_of, words_of


@pytest.mark.parametrize(
    ("text", "words", "left_out"),
    [
        ("The ﬁrst “Page” — of 12, a b 3", ("the", "first", "page", "of", "12"), 3),
        ("soft\u00adhyphen, می\u200cشود", ("softhyphen", "میشود"), 0),
        ("الكِتَاب ٢٠٢٤", ("الکتاب", "2024"), 0),  # vowel marks go, kaf is one letter, digits are ASCII
        ("שָׁלוֹם", ("שלום",), 0),
        ("हिन्दी में", ("हिन्दी", "में"), 0),
        ("日本語 vim を使う", ("日", "本", "語", "vim", "を", "使", "う"), 0),
        ("snake_case e.g. 3.14", ("snake", "case", "14"), 3),
        ("... • -", (), 0),
        ("", (), 0),
    ],
)
def test_words(text: str, words: tuple[str, ...], left_out: int) -> None:
    found = words_of(text)
    assert (found.words, found.left_out) == (words, left_out)


def test_one_form_for_letters_that_look_alike() -> None:
    assert normalise("ﻛﺘﺎﺏ") == normalise("کتاب")  # presentation forms
    assert normalise("E\u0301") == "é"
    assert normalise("Straße") == "strasse"
    assert normalise("Ïëàí") != normalise("План")  # a wrong map stays wrong


@pytest.mark.parametrize(
    ("text", "script", "language"),
    [
        ("the quick brown fox", "Latin", "eng"),
        ("Das ist nicht die Lösung", "Latin", "deu+eng"),
        ("Приложение для работы", "Cyrillic", "rus+eng"),
        ("Дякую, це її стаття", "Cyrillic", "ukr+eng"),
        ("این یک متن فارسی است", "Arabic", "fas+eng"),
        ("هذا نص عربي", "Arabic", "ara+eng"),
        ("これは日本語の文章です", "Japanese", "jpn+eng"),
        ("这是简体中文的说明书", "Han", "chi_sim+eng"),
        ("這是繁體中文說明書", "Han", "chi_tra+eng"),
        ("한국어 문서입니다", "Korean", "kor+eng"),
        ("debian/watch: the upstream version 上流バージョン", "Latin", "eng+jpn"),
        ("မြန်မာဘာသာ and", "Myanmar", "mya+eng"),
        ("ܠܫܢܐ ܣܘܪܝܝܐ", "Syriac", "syriac+eng"),
        ("the element x ∈ 𝔸 of the other, with the letter ʰ", "Latin", "eng"),
        ("1234", "", "eng"),
    ],
)
def test_script_and_language(text: str, script: str, language: str) -> None:
    assert (script_of(text), language_of(text)) == (script, language)
