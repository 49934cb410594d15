"""Columns that are written downwards, and ruby, as a browser, an office program and TeX draw them."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.paths import DATA
from wdstream.raw.pdf.document import open_pdf
from wdstream.raw.pdf.logical import page_text
from wdstream.raw.pdf.reading.east_asian import may_need_order, order_east_asian
from wdstream.raw.settings import LineOrder

CASES, PAGES = DATA / "cases" / "pdf", DATA / "pages" / "pdf"
LEVEL = ["横書きの段落です。猫（ねこ）と見当（けんとう）、 WWW（ワールドワイドウェブ） 。"]
DOWN = [
    "吾輩（わがはい）は猫（ねこ）である。名前はまだ無い。どこ",
    "で生れたかとんと見当がつかぬ。",
    "一九〇五年、Natsume Sosekiは「吾輩は",
    "猫である」を書いた。価格は12月に百",
    "円。",
]
AFTER = ["縦書きのあとの横書きの段落です。"]
BOX = ["縦書きの箱の中の文章", "です。二行目に続くは", "ずです。漢字（かんじ）もある。"]


def lines_of(path: Path, order: LineOrder = "file") -> list[str]:
    with open_pdf(path) as pdf, pdf.page(1) as page, page.text_layer(page.pixel_size(150 / 72)) as layer:
        every = np.ones(layer.num_characters, np.bool_)
        characters, keep, is_down = order_east_asian(layer.characters, every)
        return page_text(characters, keep, order=order, is_down=is_down).split("\r\n")


def test_columns_of_a_browser_go_from_right_to_left_between_lines() -> None:
    assert lines_of(CASES / "vertical_browser.pdf") == [*LEVEL, *DOWN, *AFTER]


def test_columns_of_an_office_program_keep_turned_words() -> None:
    assert lines_of(CASES / "vertical_office.pdf") == [
        "吾輩（わがはい）は猫（ねこ）である。名前はまだ無い。どこで生れたか",
        "とんと見当（けんとう）がつかぬ。Debian GNU/Linux 12である。",
    ]


def test_columns_one_em_apart_do_not_mix_where_points_are_off_the_middle() -> None:
    assert lines_of(CASES / "vertical_tight.pdf") == [
        "平成25年12月、PDFはLinuxで読める。NHKは2020",
        "年に「放送」を始めた。価格は1,000円（税込）です。",
    ]


def test_a_box_of_columns_does_not_part_the_line_before() -> None:
    assert lines_of(CASES / "vertical_tex.pdf") == [
        "吾輩（わがはい）は猫（ねこ）である。 名前はまだ無い。",
        *BOX,
        "箱のあとの横書き。",
    ]


def test_layout_has_columns_as_one_part_of_the_page() -> None:
    lines = lines_of(CASES / "vertical_browser.pdf", "layout")
    assert lines[: len(DOWN)] == DOWN  # most of the page
    assert lines[-1:] == AFTER
    assert lines_of(CASES / "vertical_tex.pdf", "layout")[-3:] == BOX


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        (CASES / "vertical_browser.pdf", True),
        (CASES / "vertical_office.pdf", True),
        (CASES / "vertical_tex.pdf", True),
        (PAGES / "slides-packaging-tutorial.ja.pdf", False),
        (PAGES / "handbook-en-sect.apparmor.pdf", False),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_only_pages_that_may_have_columns_or_ruby_are_looked_at(path: Path, needed: bool) -> None:
    with open_pdf(path) as pdf, pdf.page(1) as page, page.text_layer(page.pixel_size(150 / 72)) as layer:
        assert may_need_order(layer.text, lambda: layer.spans) is needed


def test_a_page_without_columns_and_ruby_keeps_its_characters() -> None:
    path = PAGES / "slides-packaging-tutorial.ja.pdf"
    with open_pdf(path) as pdf, pdf.page(1) as page, page.text_layer(page.pixel_size(150 / 72)) as layer:
        every = np.ones(layer.num_characters, np.bool_)
        characters, keep, is_down = order_east_asian(layer.characters, every)
        assert characters is layer.characters and keep is every and not is_down.any()
