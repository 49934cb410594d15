"""Line ends and spaces of PDFium's inside printed lines and words."""

from pathlib import Path

import pytest

from tests.helpers.pdf_files import line, write_pdf
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
            "of W I D E T I T L E",
        ),
        (f"{line('a b c d e', 40)}", "a b c d e"),
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
        "columns",
    ],
)
def test_nothing_is_between_glyphs_that_touch(tmp_path: Path, content: str, text: str) -> None:
    assert shown(tmp_path, content) == text


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
