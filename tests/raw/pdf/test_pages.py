"""Characters of a PDF that show nothing, or another letter."""

from pathlib import Path

import pytest

from tests.helpers.pdf_files import FONTS, unicode_map, write_pdf
from tests.raw.pdf.test_source import read, text_of


@pytest.mark.parametrize("mark", ["202E", "202B", "202C", "2066", "2069", "200E", "200F"])
def test_marks_of_direction_are_no_text_of_a_picture(tmp_path: Path, mark: str) -> None:
    font = FONTS["F"].replace(">>", "/ToUnicode 11 0 R>>")
    path = write_pdf(
        tmp_path / "x.pdf",
        "BT /B 14 Tf 40 100 Td (gpj.aexe) Tj /Span<</ActualText<FEFF202E006F006B>>>BDC ( ok) Tj EMC ET",
        resources="/Font<</B 10 0 R>>",
        objects={10: font, 11: unicode_map({0x61: mark})},
    )
    assert text_of(read(path)) == "gpj.exeok"


def test_radicals_are_the_letters_that_look_the_same(tmp_path: Path) -> None:
    names = {0x61: "2F47", 0x62: "672C", 0x63: "2F42", 0x64: "2ED1", 0x65: "2EE2"}
    path = write_pdf(
        tmp_path / "x.pdf",
        "BT /B 14 Tf 40 100 Td (abcde) Tj ET",
        resources="/Font<</B 10 0 R>>",
        objects={10: FONTS["F"].replace(">>", "/ToUnicode 11 0 R>>"), 11: unicode_map(names)},
    )
    assert text_of(read(path)) == "日本文長马"
