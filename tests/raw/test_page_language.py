"""The language of a page: declared, found or none; never a guess over too little."""

import builtins
from itertools import combinations
from typing import Any

import pytest

from wdstream.errors import ConfigError
from wdstream.raw import page_language
from wdstream.raw.page_language import PageLanguages, find_language, finder_version
from wdstream.raw.settings import RawSettings
from wdstream.raw.texts.language import whole_language
from wdstream.records import Page, TextSegment

GERMAN = "Die Linsen waschen und in einem Liter Wasser einen Tag lang weichen lassen."
FRENCH = "Laver les lentilles et les laisser tremper dans un litre d'eau pendant un jour."
ENGLISH = "Wash the lentils and leave them in a litre of water for the whole of one day."
JAPANESE = "レンズ豆を洗って一リットルの水に一日つけておきます。"
RUSSIAN = "Промыть чечевицу и оставить её в литре воды на целый день."
ARABIC = "اغسل العدس واتركه في لتر من الماء لمدة يوم كامل ثم صف الماء."


def page(text: str, **meta: Any) -> Page:
    return Page(key="k", images=(), segments=(TextSegment(text=text),), meta=meta)


@pytest.mark.parametrize(
    ("text", "language"),
    [(GERMAN, "de"), (FRENCH, "fr"), (ENGLISH, "en"), (JAPANESE, "ja"), (RUSSIAN, "ru"), (ARABIC, "ar")],
)
def test_found_in_a_line(text: str, language: str) -> None:
    found = find_language(text)
    assert found["language"] == language
    assert isinstance(score := found["language_score"], float) and 0.8 <= score <= 1
    assert find_language(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Rechnung",
        "12,50 €\n" * 400,
        "Inv. 4711 / 2022",
        "\ud800\x00" * 30,
        "<otsl><fcel><loc_12><nl></otsl>" * 40,
        "x" * 60,
        "𝕬𝖇𝖈𝖉𝖊𝖋𝖌𝖍𝖎𝖏𝖐𝖑𝖒𝖓𝖔𝖕𝖖𝖗𝖘𝖙𝖚𝖛𝖜𝖝𝖞𝖟",
    ],
)
def test_no_language_rather_than_a_wrong_one(text: str) -> None:
    assert find_language(text) == {}
    assert PageLanguages("auto").named(page(text)) == (page(text), "")


def test_a_text_of_two_languages_has_one_of_them_or_none() -> None:
    """As docs/shards.md says: which one is the library's choice, and its score does not tell."""
    lines = {"de": GERMAN, "fr": FRENCH, "en": ENGLISH, "ru": RUSSIAN, "ja": JAPANESE, "ar": ARABIC}
    pairs = [(one, other, times) for one, other in combinations(lines, 2) for times in (1, 10)]
    found = [find_language(f"{lines[one]}\n{lines[other]}\n" * times).get("language") for one, other, times in pairs]
    assert all(tag in (None, one, other) for tag, (one, other, _) in zip(found, pairs, strict=True))
    assert (len(found), sum(tag is not None for tag in found)) == (30, 25)


def test_markup_is_not_read() -> None:
    tagged = "".join(f"<loc_12><td>{word}</td>" for word in GERMAN.split())
    assert find_language(tagged)["language"] == "de"


def test_what_metadata_say_stays_and_a_difference_is_named() -> None:
    languages = PageLanguages("auto")
    for tag in ("de", "de-DE"):
        assert languages.named(page(GERMAN, language=tag)) == (page(GERMAN, language=tag), "")
    for declared, tag in (("deu", "de"), ("German", "de"), ("de_DE", "de-DE"), (["de"], "de")):
        expected = page(GERMAN, language=tag, language_declared=declared)
        assert languages.named(page(GERMAN, language=declared)) == (expected, "")
    assert languages.named(page(ENGLISH, language="de-DE")) == (page(ENGLISH, language="de-DE"), "de-DE read as en")
    assert languages.named(page("OK", language="de"))[1] == ""
    for unclear in ("?", 7, ["de", "en"]):
        named, difference = languages.named(page(ENGLISH, language=unclear))
        assert (named.meta["language"], named.meta["language_declared"], difference) == ("en", unclear, "")
        assert languages.named(page("OK", language=unclear))[0].meta == {"language_declared": unclear}
    named, difference = languages.named(page(ENGLISH, lang="fra", n=1))
    assert (named.meta, difference) == ({"lang": "fra", "n": 1, "language": "fr"}, "fr read as en")
    for absent in (None, ""):  # as Arrow fills rows up
        named, difference = languages.named(page(FRENCH, language=absent, source="a"))
        assert (named.meta["language"], named.meta["source"], difference) == ("fr", "a", "")


def test_one_language_for_all_that_name_none() -> None:
    languages = PageLanguages("de-AT")
    assert languages.named(page("OK"))[0].meta == {"language": "de-AT"}
    assert languages.named(page(ENGLISH, language="en")) == (page(ENGLISH, language="en"), "")
    assert PageLanguages("none").named(page(ENGLISH)) == (page(ENGLISH), "")


def test_settings_take_codes_and_names() -> None:
    assert [RawSettings(language=name).language for name in ("none", "auto", "deu", "pt-br", "German")] == [
        *("none", "auto", "de", "pt-BR", "de")
    ]
    for wrong in ("", "automatic", "xx-yy", "und"):
        with pytest.raises(ConfigError, match="is not a language; expected auto, none or a code such as de"):
            RawSettings(language=wrong)


def test_kinds_of_a_language_are_one() -> None:
    assert [whole_language(tag) for tag in ("nb", "nn", "no", "arz", "zh-Hant", "de-AT", "nl")] == [
        *("no", "no", "no", "ar", "zh", "de", "nl")
    ]


def test_absent_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("py3langid"):
            raise ModuleNotFoundError("No module named 'py3langid'", name="py3langid")
        return real(name, *rest)

    page_language._open_finder.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"--language auto needs py3langid .*pip install 'wdstream\[language\]'"):
        PageLanguages("auto")
    monkeypatch.undo()
    assert finder_version().startswith("py3langid 0.")
