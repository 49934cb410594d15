"""tools/truth/report.py: figures by script, the worst pages, and hostile text in what is shown."""

import io

import pytest
from PIL import Image
from rich.console import Console

from truth.page import PageTruth
from truth.report import figures_by_script, marked, pages_html, print_worst, worst


def page(key: str, script: str = "Latin", *, words: int = 100, unseen: int = 0, lacking: int = 0) -> PageTruth:
    return PageTruth(
        key=key,
        script=script,
        language="eng",
        label="<script>alert(1)</script> hidden \x1b[31mred",
        read="what was read",
        words=words,
        left_out=25,
        unseen=("hidden",) * unseen,
        asked=50,
        lacking=(("was", (0.25, 0.5, 0.5, 0.75)),) * lacking,
        order=0.9,
    )


def test_each_word_counts_alike() -> None:
    figures = figures_by_script([page("a"), page("b", words=300, unseen=40), page("c", "Greek", lacking=10)])
    assert [*figures] == ["Greek", "Latin", "all"]
    latin = figures["Latin"]
    assert (latin.pages, latin.words, latin.precision, latin.recall) == (2, 400, 0.9, 1.0)
    assert figures["all"].precision == 0.92
    assert figures["all"].recall == pytest.approx(140 / 150)
    assert latin.left_out == 50 / 450
    assert figures_by_script([])["all"].precision == 1.0


def test_worst_first_and_sound_ones_not_at_all() -> None:
    pages = [page("sound"), page("one of three", words=3, unseen=1), page("half", unseen=50), page("lacks", lacking=9)]
    assert [found.key for found in worst(pages, 5)] == ["half", "one of three"]
    assert [found.key for found in worst(pages, 1)] == ["half"]
    assert [found.key for found in worst(pages, 5, by="recall")] == ["lacks"]


def test_words_are_marked_as_often_as_they_are_listed() -> None:
    assert marked("a Hidden, hidden line", ["hidden"]) == [
        ("a", False),
        (" ", False),
        ("Hidden,", True),
        (" ", False),
        ("hidden", False),
        (" ", False),
        ("line", False),
    ]


def test_nothing_from_a_page_acts() -> None:
    picture = io.BytesIO()
    Image.new("RGB", (2400, 100)).save(picture, "PNG")
    html = pages_html([page("<b>key\x1b", unseen=1, lacking=1)], lambda key: picture.getvalue())
    assert "<script>" not in html and "\x1b" not in html and "<b>key" not in html
    assert "<mark>hidden</mark>" in html and "<mark>was</mark>" in html
    assert "left:25.0%;top:50.0%;width:25.0%;height:25.0%" in html
    out = io.StringIO()
    print_worst([page("key\x1b[2J", unseen=1)], Console(file=out, width=200))
    assert "\x1b" not in out.getvalue()
    assert "not in the picture: hidden" in out.getvalue()
