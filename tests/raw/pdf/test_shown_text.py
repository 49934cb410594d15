"""Names of text (`/ActualText`): what is drawn counts where a name says other words."""

from pathlib import Path

import pytest

from tests.helpers.pdf_files import FONTS, form, line, stream, unicode_map, write_pdf
from tests.raw.pdf.test_source import read, text_of

SEEN = line("Seen by all", 40, 150)
DRAWN = line("Drawn words", 40, 100)


def named(name: str, content: str) -> str:
    """Content with a name, in UTF-16."""
    return f"/Span<</ActualText<FEFF{name.encode('utf-16-be').hex()}>>>BDC {content} EMC "


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (named("Other lies", DRAWN), "Drawn words"),
        (named("A text that is much longer than what is drawn", line("x", 40, 100)), "x"),
        (named("One name for both", line("First", 40, 100) + line("Second", 40, 80)), "First\nSecond"),
        (named("Other lies", line("Drawn", 40, 100)) + named("words", line("words", 40, 60)), "Drawn\nwords"),
        (f"/Span/P BDC {DRAWN} EMC", "Drawn words"),
        ("q 0.5 0 0 0.5 30 90 cm /X Do Q", "Drawn words"),
    ],
)
def test_a_name_of_other_words_is_not_what_is_drawn(tmp_path: Path, content: str, text: str) -> None:
    more = "/Properties<</P<</ActualText(Other lies)>>>>/XObject<</X 10 0 R>>"
    inside = {10: form(named("Other lies", line("Drawn words", 20, 20, 28)))}
    found = text_of(read(write_pdf(tmp_path / "x.pdf", f"{SEEN} {content}", resources=more, objects=inside)))
    assert found == f"Seen by all\n{text}"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (named("Drawn words", DRAWN), "Drawn words"),
        (named("drawn Words", DRAWN), "drawn Words"),
        (f"BT /F 14 Tf 40 100 Td (o) Tj {named('ffi', '(f) Tj')} (ce) Tj ET", "office"),
        (f"BT /F 14 Tf 40 100 Td {named('office', '(oce) Tj')} ET", "office"),
        (named("\u2022", line("-", 40, 100)), "\u2022"),
        (named("", DRAWN), "Drawn words"),
        (named("\u0939\u093f\u0928\u094d\u0926\u0940", line("ABCD", 40, 100)), "\u0939\u093f\u0928\u094d\u0926\u0940"),
        (named("\u05e9\u05dc\u05d5\u05dd", line("ABCD", 40, 100)), "\u05e9\u05dc\u05d5\u05dd"),
        (named("1/2", line("\275", 40, 100)), "1/2"),
        (named("Dr\u00e4wn words", DRAWN), "Dr\u00e4wn words"),
        (f"q 40 0 0 40 40 60 cm {named('Words of a figure', '0 0 1 1 re f')} Q", ""),
    ],
)
def test_names_of_what_is_drawn_stay(tmp_path: Path, content: str, text: str) -> None:
    found = text_of(read(write_pdf(tmp_path / "x.pdf", f"{SEEN} {content}")))
    assert found == f"Seen by all\n{text}".rstrip()


def test_a_name_counts_where_the_map_of_its_font_is_not_seen_elsewhere(tmp_path: Path) -> None:
    """A file may name the text of a font in it whose map is wrong."""
    codes = {65 + at: f"{ord(wrong):04x}" for at, wrong in enumerate("Gudzqrgv")}
    procs = "".join(f"/{chr(65 + at)} {20 + at} 0 R" for at in range(8))
    font = (
        "<</Type/Font/Subtype/Type3/FontBBox[0 0 8 8]/FontMatrix[0.125 0 0 0.125 0 0]/FirstChar 65/LastChar 72"
        f"/Widths[{'9 ' * 8}]/Encoding<</Type/Encoding/Differences[65/A/B/C/D/E/F/G/H]>>/CharProcs<<{procs}>>"
        "/ToUnicode 11 0 R>>"
    )
    path = write_pdf(
        tmp_path / "x.pdf",
        SEEN + named("Drawnods", "BT /G 14 Tf 40 100 Td (ABCDEFGH) Tj ET"),
        resources="/Font<</G 10 0 R/F 12 0 R>>",
        objects={
            10: font,
            11: unicode_map(codes),
            12: FONTS["F"],
            **{20 + at: stream(f"9 0 0 0 8 8 d1 0 0 {1 + at % 3 * 3} 8 re {at} 6 1 2 re f") for at in range(8)},
        },
    )
    assert text_of(read(path)) == "Seen by all\nDrawnods"
