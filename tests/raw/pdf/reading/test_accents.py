"""Accents that a page draws apart from their letters: one letter where one is over the other, two signs elsewhere."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.paths import DATA
from tests.helpers.pdf_files import line, write_pdf
from wdstream.raw.pdf.document import open_pdf
from wdstream.raw.pdf.logical import page_text
from wdstream.raw.pdf.reading.accent_marks import composed
from wdstream.raw.pdf.reading.accents import compose_accents, may_have_accents_apart

PAGES, CASES = DATA / "pages" / "pdf", DATA / "cases" / "pdf"
ACUTE, DIERESIS, CEDILLA, HAT, MACRON = (f"\\{code}" for code in ("264", "250", "270", "210", "257"))


def text_of(path: Path) -> str:
    with open_pdf(path) as pdf, pdf.page(1) as page, page.text_layer(page.pixel_size(150 / 72)) as layer:
        if not may_have_accents_apart(layer.codes, layer.boxes_of):
            return layer.text
        characters, keep = compose_accents(layer.characters, np.ones(layer.num_characters, np.bool_))
        return page_text(characters, keep)


def text_with(tmp_path: Path, pieces: list[tuple[str, float, float]]) -> str:
    """The text of pieces of Helvetica of 20 points at x, y; `e` is 11 points wide, the accents 7."""
    shown = "".join(line(text, x=x, y=y, size=20) for text, x, y in pieces)
    return text_of(write_pdf(tmp_path / "x.pdf", shown, page="/MediaBox[0 0 500 300]"))


@pytest.mark.parametrize(
    ("pieces", "wanted"),
    [
        ([("r", 94, 100), (ACUTE, 103, 100), ("e", 101, 100), ("p", 112, 100)], "rép"),
        ([("r", 94, 100), ("e", 101, 100), (ACUTE, 103, 100), ("p", 112, 100)], "rép"),  # the accent after it
        ([("gar", 40, 100), (HAT, 103, 100), ("e", 101, 100), ("t", 112, 100)], "gar êt"),  # the space stays
        ([(CEDILLA, 102, 100), ("c", 101, 100), ("ons", 111, 100)], "çons"),
        ([(HAT, 102, 105), ("E", 100, 100), ("t", 114, 100)], "Êt"),
        ([(DIERESIS, 101, 100), (ACUTE, 101, 105), ("u", 99, 100)], "ǘ"),
        ([(MACRON, 101, 100), ("x", 100, 100), ("y", 111, 100)], "x̄y"),  # Unicode has no such letter
        ([(".", 103, 94), ("h", 100, 100), ("a", 111, 100)], "ḥa"),
        ([("Moyen", 40, 100), ("Age", 112, 100), ("fin", 160, 100), (HAT, 116, 105)], "Moyen Âge fin"),
    ],
)
def test_an_accent_over_or_under_a_letter_is_one_letter(
    tmp_path: Path, pieces: list[tuple[str, float, float]], wanted: str
) -> None:
    assert text_with(tmp_path, pieces) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"a {ACUTE} {DIERESIS} {CEDILLA} {HAT} b", "a ´ ¨ ¸ ˆ b"),
        (f"x{HAT}2 {ACUTE}e e{ACUTE}", "xˆ2 ´e e´"),
        ("x^i ~j `l' d'a 25\\260C i.e., f\\222 T. V, y.", "x^i ~j `l' d'a 25°C i.e., f’ T. V, y."),
    ],
)
def test_an_accent_next_to_a_letter_stays(tmp_path: Path, text: str, wanted: str) -> None:
    assert text_with(tmp_path, [(text, 40, 100)]) == wanted


def test_letters_of_the_line_above_take_no_cedilla_of_a_table(tmp_path: Path) -> None:
    assert text_with(tmp_path, [("sample", 40, 125), (f"a {CEDILLA} {ACUTE} b", 40, 100)]) == "sample\r\na ¸ ´ b"


@pytest.mark.parametrize(
    ("letter", "accents", "wanted"),
    [
        ("ı", [("¨", True)], "ï"),
        ("o", [("˝", True)], "ő"),
        ("α", [("˜", True)], "ᾶ"),
        ("Α", [("῎", True)], "Ἄ"),
        ("e", [("ˆ", True), ("´", True)], "ế"),
        ("k", [(",", False)], "ķ"),
        ("s", [(",", False)], "ș"),
    ],
)
def test_letter_and_accents_are_composed(letter: str, accents: list[tuple[str, bool]], wanted: str) -> None:
    assert composed(letter, accents) == wanted


def test_a_french_page_of_tex_has_its_accents() -> None:
    path = CASES / "accents-fr-eyesj.pdf"
    assert "Une impulsions sonore captur´ee est montr´ee ci-dessous." in _layer_text(path)
    assert "Une impulsions sonore capturée est montrée ci-dessous." in text_of(path)


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.pdf")), ids=lambda path: path.stem)
def test_shipped_pages_have_none_apart(path: Path) -> None:
    assert text_of(path) == _layer_text(path)


def _layer_text(path: Path) -> str:
    with open_pdf(path) as pdf, pdf.page(1) as page:
        return page.text()
