"""Glyphs that a file writes one by one: text set closer or wider, letters that several glyphs make."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.pdf_files import unicode_map, write_pdf
from tests.raw.pdf.test_source import read, text_of

WIDTHS = dict(
    zip("abdefghilnoprstw ", [56, 56, 56, 56, 28, 56, 56, 22, 22, 56, 56, 56, 33, 50, 28, 72, 28], strict=True)
)
"""Of Helvetica, in hundredths of the em."""


def one_by_one(text: str, apart: float, y: int) -> Iterator[str]:
    """The operators that write each glyph of a text by itself, `apart` ems further than the font has them."""
    x = 20.0
    for letter in text:
        yield f"BT /F 14 Tf {x:.3f} {y} Td ({letter}) Tj ET\n"
        x += 14 * (WIDTHS[letter] / 100 + apart)


@pytest.mark.parametrize("apart", [-0.1, -0.06, -0.03, 0, 0.05, 0.2, 0.4])
def test_spaces_are_those_of_the_file_however_far_its_letters_are_set_apart(tmp_path: Path, apart: float) -> None:
    lines = "the word is not alone", "in a line of letters"
    content = "".join(part for at, text in enumerate(lines) for part in one_by_one(text, apart, 150 - 40 * at))
    path = write_pdf(tmp_path / "x.pdf", content, page="/MediaBox[0 0 400 200]")
    assert text_of(read(path)) == "\n".join(lines)


def test_spaces_are_those_of_the_file_next_to_lines_from_right_to_left(tmp_path: Path) -> None:
    hebrew = "BT /F 14 Tf 20 60 Td " + named_at("שלום", 8) + " ( ) Tj 4 0 Td " + named_at("עולם", 8) + "ET\n"
    content = "".join(one_by_one("the word is not alone", -0.1, 150)) + hebrew
    path = write_pdf(tmp_path / "x.pdf", content, page="/MediaBox[0 0 400 200]")
    assert text_of(read(path)).splitlines()[0] == "the word is not alone"


def named_at(letters: str, step: float) -> str:
    """Glyphs from left to right that are named as letters that are read from right to left."""
    names = (f"/Span<</ActualText<FEFF{ord(letter):04x}>>>BDC (n) Tj EMC" for letter in reversed(letters))
    return "".join(f"{name} {step} 0 Td " for name in names)


def test_letters_set_apart_in_cells_keep_their_spaces(tmp_path: Path) -> None:
    content = "".join(one_by_one("a b d", 0.05, 150)) + "".join(
        f"BT /F 14 Tf {120 + 30 * at} 150 Td (n) Tj ET\n" for at in range(4)
    )
    assert text_of(read(write_pdf(tmp_path / "x.pdf", content))) == "a b d n n n n"


def named(text: str, *glyphs: tuple[str, float, float]) -> str:
    """Glyphs at their places, which show one text together, as browsers write them."""
    shown = "".join(f"BT /F 14 Tf {x} {y} Td ({glyph}) Tj ET\n" for glyph, x, y in glyphs)
    return f"/Span<</ActualText<FEFF{text.encode('utf-16-be').hex()}>>>BDC\n{shown}EMC\n"


def test_letters_of_several_glyphs_are_said_once(tmp_path: Path) -> None:
    # The marks reach over the next letter, so PDFium finds that letter before them.
    content = named("ที่", ("n", 20, 150), ("'", 28.2, 150), ("'", 28.4, 150.9)) + named(
        "นี้", ("u", 28, 150), ("'", 36, 150)
    )
    content += "BT /F 14 Tf 36 150 Td ( ) Tj ET\n" + named("ก็", ("o", 40, 150), ("'", 46, 150))
    assert text_of(read(write_pdf(tmp_path / "x.pdf", content))) == "ที่นี้ ก็"


def test_a_gap_for_one_letter_alone_is_a_space_in_what_was_postscript(tmp_path: Path) -> None:
    content = "BT /F 14 Tf 20 150 Td (An) Tj 4.5 Tc 17.12 0 Td (yf) Tj 0 Tc 15.39 0 Td (unction is here) Tj ET\n"
    content += "BT /F 14 Tf 4.5 Tc 20 100 Td (letter) Tj ET"
    path = write_pdf(tmp_path / "x.pdf", content, objects={10: "<</Producer(GPL Ghostscript 10.00.0)>>"})
    path.write_bytes(path.read_bytes().replace(b"/Root 1 0 R", b"/Root 1 0 R/Info 10 0 R"))
    assert text_of(read(path)) == "Any function is here\nletter"


def at(text: str, x: float, y: float = 150, font: str = "F 14") -> str:
    return f"BT /{font} Tf {x} {y} Td ({text}) Tj ET\n"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("BT /F 14 Tf 20 150 Td [(T)-250(ng V)-800(t)] TJ ET\n" + at("i", 28.7) + at("ie", 60.9), "Ting Viet"),
        (
            "BT /F 14 Tf 20 150 Td [(an)-1200(d so)] TJ ET\n" + at("o", 41.5) + at("and below", 20, 120),
            "an o d so\nand below",
        ),
        ("BT /F 14 Tf 20 150 Td [(name)-5000(size)] TJ ET\n" + at("3", 90), "name size 3"),  # a cell of a table
    ],
    ids=["in a word", "a word", "cell"],
)
def test_letters_that_are_written_later_fill_their_holes(tmp_path: Path, content: str, text: str) -> None:
    """As LibreOffice writes letters of a line that its font does not have, from another one."""
    assert text_of(read(write_pdf(tmp_path / "x.pdf", content))) == text


def test_marks_at_a_height_of_their_own_stay_with_their_letters(tmp_path: Path) -> None:
    """PDFium has them at the end of the line; typst maps them to all letters of their cluster, too."""
    codes = {ord(letter): f"{ord(letter):04x}" for letter in "abct "} | {
        0x5E: "0300",
        0x74: "00740361",
        0x5F: "00740361",
    }
    font = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 11 0 R>>"
    objects: dict[int, str | bytes] = {10: font, 11: unicode_map(codes)}
    content = at("ab", 20, font="S 14") + at("^", 36, font="S 14") + at("c ab", 35.6, font="S 14")
    assert (
        text_of(read(write_pdf(tmp_path / "x.pdf", content, resources="/Font<</S 10 0 R>>", objects=objects)))
        == "ab\u0300c ab"
    )
    content = at("t", 20, font="S 14") + at("_", 20, 153, "S 14") + at("c", 28, font="S 14")
    assert (
        text_of(read(write_pdf(tmp_path / "y.pdf", content, resources="/Font<</S 10 0 R>>", objects=objects)))
        == "t\u0361c"
    )


def test_a_mark_after_right_to_left_letters_stays_on_its_line(tmp_path: Path) -> None:
    """What comes before it in the file and is read from left to right is on the line above."""
    at = [
        ("T", 20, 150, "It is."),
        ("A", 150, 100, "nn"),
        ("A", 150, 100, "'"),
        ("T", 160, 100, "12"),
        ("A", 130, 100, "n"),
    ]
    content = "".join(f"BT /{font} 14 Tf {x} {y} Td ({text}) Tj ET\n" for font, x, y, text in at)
    font = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica"
    objects: dict[int, str | bytes] = {
        10: f"{font}>>",
        11: unicode_map({0x6E: "0646", 0x27: "036C"}),
        12: f"{font}/ToUnicode 11 0 R>>",
    }
    path = write_pdf(tmp_path / "x.pdf", content, resources="/Font<</T 10 0 R/A 12 0 R>>", objects=objects)
    assert text_of(read(path)) == "It is.\n12\u0646\u0646\u036c \u0646"


def test_narrow_spaces_of_a_page_that_is_not_full_are_those_of_the_file(tmp_path: Path) -> None:
    """PDFium ends a line at each glyph where texts fill more of the height that they have than of the width."""
    narrow = "".join(part for number in range(4) for part in one_by_one("l", 0, 740 + 9 * number))
    x = 200.0
    for letter in "the word of it":
        narrow += at(letter, x, 749)
        x += 14 * WIDTHS[letter] * (0.004 if letter == " " else 0.01)
    path = write_pdf(tmp_path / "x.pdf", narrow, page="/MediaBox[0 0 400 792]")
    assert text_of(read(path)) == "llll the word of it"


def test_spaces_that_are_the_kerning_of_ghostscript_are_not_in_words(tmp_path: Path) -> None:
    """Word spacing below 0 leaves nothing of the space in `PA TTERN`; a narrow one of a justified line is wider."""
    content = "BT /F 10 Tf -0.9 Tc -1.6 Tw 40 150 Td (PA T) Tj 0 Tc 0 Tw 18.2 0 Td (TERN of words) Tj ET\n"
    content += "BT /F 10 Tf -0.8 Tw 40 100 Td (set in narrow lines) Tj ET\n"
    content += "BT /F 10 Tf 40 60 Td (f) Tj /C 10 Tf 2 Ts (o) Tj /F 10 Tf 0 Ts 2.3 Tc (xy) Tj ET"
    path = write_pdf(tmp_path / "x.pdf", content, objects={10: "<</Producer(GPL Ghostscript 10.00.0)>>"})
    path.write_bytes(path.read_bytes().replace(b"trailer<<", b"trailer<</Info 10 0 R"))
    assert text_of(read(path)) == "PATTERN of words\nset in narrow lines\nfox y"
