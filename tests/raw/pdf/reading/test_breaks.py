"""Line ends and spaces of PDFium's inside printed lines and words."""

from pathlib import Path

import pytest

from tests.helpers.pdf_files import line, unicode_map, write_pdf
from tests.raw.pdf.test_source import read, text_of


def shown(path: Path, content: str) -> str:
    """The label of a page with this content."""
    return text_of(read(write_pdf(path / "x.pdf", content)))


def glyphs(text: str, font: str = "C 20", step: float = 12, start: str = "40 150 Td") -> str:
    """Each letter by an operator of its own, as browsers write them."""
    return f"BT /{font} Tf {start} " + f" {step} 0 Td ".join(f"({letter}) Tj" for letter in text) + " ET\n"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (f"{line('E=mc', 40, 150, 20)} BT /F 13 Tf 87 163 Td (2) Tj ET {line('is old', 102, 150, 20)}", "E=mc2 is old"),
        (glyphs("`L`^a"), "`L`^a"),
        (glyphs("Q`uar^ter", "C 20", 12, "0 1 -1 0 150 40 Tm"), "Q`uar^ter"),
        (
            glyphs("WIDE", "C 12", 12) + glyphs("TITLE", "C 12", 12, "100 150 Td") + line("under", 40, 60),
            "WIDE TITLE\nunder",
        ),
        (f"{line('12', 40)}{line('25', 40, 130)}{line('31', 40, 110)}", "12\n25\n31"),
        (f"{line('56', 40, 150, 20)}{line('78', 62.5, 135, 20)}", "56\n78"),
        (f"{line('7', 40, 165, 13)}{line('8', 47.5, 150, 20)}", "7 8"),
        (f"{line('SO', 40, 150, 20)}{line('4', 69.5, 145, 13)}{line('2-', 76.8, 154.5, 13)}", "SO42-"),
        (f"{line('x =', 40, 150, 20)}{line('1', 74, 164, 20)}{line('2', 74, 136, 20)}", "x =\n1\n2"),
        (f"{line('a', 40, 150, 12)} BT /F 60 Tf 47 140 Td (\\() Tj ET {line('1', 67, 170, 12)}", "a\n(\n1"),
        (
            line("of", 10) + glyphs("WIDE", "C 12", 12) + glyphs("TITLE", "C 12", 12, "100 150 Td"),
            "of WIDE TITLE",
        ),
        (f"{line('a b c d e', 40)}", "a b c d e"),
        (line("Ann", 10, 150, 12) + glyphs("BACAB", "C 12", 15, "70 150 Td"), "Ann B A C A B"),
        (line("Ann J", 10, 150, 12) + glyphs("BACAB", "C 12", 15, "70 150 Td"), "Ann J B A C A B"),
        (f"{line('left', 40)}{line('right', 160)}", "left right"),
    ],
    ids=[
        "raised",
        "code",
        "turned",
        "letters apart",
        "one under the other",
        "cells",
        "cells of other sizes",
        "ion",
        "fraction",
        "bracket",
        "part of a line",
        "letters",
        "grades",
        "grades after a letter",
        "columns",
    ],
)
def test_nothing_is_between_glyphs_that_touch(tmp_path: Path, content: str, text: str) -> None:
    assert shown(tmp_path, content) == text


def cell(text: str, left: float, width: float) -> str:
    """A cell of a table that cuts its text."""
    return f"q {left} 140 {width} 30 re W n {line(text, left + 1, 150, 20)} Q\n"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (cell("Identifier", 40, 60) + cell("Name", 101, 80), "Identifi Name"),
        (line("Name", 40, 150, 20) + f"q 96 140 80 30 re W n {line('Identifier', 90, 150, 20)} Q", "Name dentifier"),
    ],
    ids=["both", "the second"],
)
def test_cells_that_cut_their_texts_are_words_of_their_own(tmp_path: Path, content: str, text: str) -> None:
    assert shown(tmp_path, content) == text


@pytest.mark.parametrize(
    ("apart", "text"),
    [
        ([-300] * 13, "LONG TITLES 25"),
        ([*[-300] * 5, -180, *[-300] * 7], "LONG TITLES 25"),
        ([-300, -150, -450, -300, -100, -400, -200, *[-300] * 6], "L O N G T I T L E S 2 5"),
    ],
    ids=["even", "kerned", "uneven"],
)
def test_words_of_lines_that_are_spread_in_one_text_are_those_of_wider_gaps(
    tmp_path: Path, apart: list[int], text: str
) -> None:
    """WeasyPrint's `letter-spacing`: PDFium has a space of its own where the file has one, too."""
    letters = "".join(f"({letter}){gap}" for letter, gap in zip("LONG TITLES 25", [*apart, 0], strict=True))
    assert shown(tmp_path, f"BT /F 12 Tf 10 150 Td [{letters}] TJ ET") == text


def named(codes: str, glyphs_of: str) -> str:
    return f"/Span<</ActualText<FEFF{codes}>>>BDC {glyphs_of} EMC "


def test_letters_that_browsers_join_are_words(tmp_path: Path) -> None:
    """Glyphs of Helvetica in place of those of Devanagari; the names of joined ones are theirs."""
    ki, ra, blank = (
        named("0915093F", "(H) Tj 14 0 Td (H) Tj 14 0 Td"),
        named("0930", "(H) Tj 14 0 Td"),
        "( ) Tj 8 0 Td ",
    )
    content = f"BT /F 20 Tf 40 150 Td {ki}{ra}{blank}{ra}{ki} ET"
    assert shown(tmp_path, content) == "किर रकि"


def test_right_to_left_pages_keep_line_ends_where_formulas_have_gaps(tmp_path: Path) -> None:
    """Their lines are put in order by place: parts of a fraction in one line would mix."""
    formula = f"{line('x', 40, 150, 20)}{line('2', 56, 165, 13)}"
    hebrew = f"BT /F 20 Tf 40 60 Td {named('05D0', '(H) Tj 14 0 Td') * 8} ET"
    assert shown(tmp_path, formula) == "x 2"
    assert shown(tmp_path, formula + hebrew) == "x\n2\n" + "א" * 8


def test_short_words_of_a_spread_line_of_chinese_are_joined_as_its_long_ones(tmp_path: Path) -> None:
    """Lines of code spread to fill a column: three letters, a word of Latin ones, five letters."""
    font = "<</Type/Font/Subtype/Type1/BaseFont/Courier/ToUnicode 11 0 R>>"
    codes = {ord("a") + number: f"{ord(letter):04x}" for number, letter in enumerate("双曲线的右焦点为")}
    codes[0x20] = "0020"
    spread = ("[(a) -250 (b) -250 (c)] TJ", "62.5 150 Td [(d) -250 (e) -250 (f) -250 (g) -250 (h)] TJ")
    content = f"BT /C 10 Tf 20 150 Td {spread[0]} ET {line('is', 49.5, 150, 10)} BT /C 10 Tf {spread[1]} ET"
    path = write_pdf(
        tmp_path / "x.pdf",
        content,
        resources="/Font<</C 10 0 R/F 12 0 R>>",
        objects={10: font, 11: unicode_map(codes), 12: "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"},
    )
    assert text_of(read(path)) == "双曲线 is 的右焦点为"
