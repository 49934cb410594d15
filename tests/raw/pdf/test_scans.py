"""Scans of a page with the text layer of an OCR program, its own or another's."""

from pathlib import Path
from textwrap import wrap

import pytest

from tests.helpers.pdf_files import line, stream, write_pdf
from tests.raw.pdf.test_source import read, text_of
from wdstream.errors import SourceError

PAGE = "/MediaBox[0 0 400 300]"
RIGHTS = wrap(
    "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and "
    "should act towards one another in a spirit of brotherhood. Everyone is entitled to all the rights and freedoms "
    "set forth in this Declaration, without distinction of any kind, such as race, colour, sex, language, religion, "
    "political or other opinion, national or social origin, property, birth or other status. Everyone has the right "
    "to life.",
    width=48,
)
TALE = wrap(
    "It was on a dreary night of November that I beheld the accomplishment of my toils. With an anxiety that almost "
    "amounted to agony, I collected the instruments of life around me, that I might infuse a spark of being into the "
    "lifeless thing that lay at my feet. It was already one in the morning; the rain pattered dismally against the "
    "panes, and my candle was nearly burnt out, when, by the glimmer of the light, I saw the dull yellow eye of the "
    "creature.",
    width=48,
)


def lines_of(text: list[str], down: float = 0.0, indent: float = 0.0) -> str:
    return "".join(line(part, 40 + indent, 270 - 22 * at - down, 12) for at, part in enumerate(text))


def scan(folder: Path, layer: str, *, shown: str) -> Path:
    """A scan of a page with this content, under an invisible layer."""
    picture = read(write_pdf(folder / "printed.pdf", shown, page=PAGE))
    [(width, height)] = picture.sizes
    entries = f"/Type/XObject/Subtype/Image/Width {width}/Height {height}/ColorSpace/DeviceGray/BitsPerComponent 8"
    return write_pdf(
        folder / "scan.pdf",
        f"q 400 0 0 300 0 0 cm /P Do Q 3 Tr {layer}",
        page=PAGE,
        resources="/XObject<</P 10 0 R>>",
        objects={10: stream(picture.page.images[0], entries + "/Filter/DCTDecode")},
    )


@pytest.mark.parametrize("layer", [lines_of(RIGHTS), lines_of(RIGHTS, 5), lines_of(RIGHTS, -5, 3)])
def test_the_layer_of_a_scan_is_its_label_where_it_is_about_in_place(tmp_path: Path, layer: str) -> None:
    assert text_of(read(scan(tmp_path, layer, shown=lines_of(RIGHTS)))) == "\n".join(RIGHTS)


@pytest.mark.parametrize(
    "layer",
    [lines_of(TALE), lines_of(RIGHTS, 22), lines_of(RIGHTS, -22), lines_of(RIGHTS[::-1]), lines_of(RIGHTS, 0, 100)],
)
def test_a_layer_of_another_page_or_a_line_away_is_refused(tmp_path: Path, layer: str) -> None:
    with pytest.raises(
        SourceError, match=r"text layer does not fit the picture: there is ink in .*, as where it is another"
    ):
        read(scan(tmp_path, layer, shown=lines_of(RIGHTS)))


def test_a_few_words_and_a_pale_scan_are_not_judged(tmp_path: Path) -> None:
    assert text_of(read(scan(tmp_path, lines_of(TALE[:5]), shown=lines_of(RIGHTS)))) == "\n".join(TALE[:5])
    pale = "0.88 g " + lines_of(RIGHTS)
    assert text_of(read(scan(tmp_path, lines_of(RIGHTS), shown=pale))) == "\n".join(RIGHTS)


def test_lines_on_squared_paper_are_in_place(tmp_path: Path) -> None:
    squares = "".join(f"0 {5 * at} 400 0.7 re f {5 * at} 0 0.7 300 re f\n" for at in range(80))
    shown = f"0.6 g {squares} 0 g {lines_of(RIGHTS)}"
    assert text_of(read(scan(tmp_path, lines_of(RIGHTS), shown=shown))) == "\n".join(RIGHTS)


BAR = "150 267 250 13 re f "
"""A box over the end of the first line, lower than a line and higher than its letters."""
LEFT = ["All human beings are", *RIGHTS[1:]]


@pytest.mark.parametrize(
    ("on_scan", "drawn", "expected"),
    [
        ("", f"0 g {BAR}", LEFT),
        ("", f"1 g {BAR}", LEFT),
        ("", f"0 g {BAR} 0 Tr 1 g {line('Exempt', 200, 270, 12)}", ["Exempt", *LEFT]),
        (f"0 g {BAR}", "", LEFT),
        ("", "1 g 36 255 400 10 re f ", RIGHTS),
        ("", f"/G gs 1 1 0 rg {BAR}", RIGHTS),
    ],
    ids=["black", "white", "with a word on it", "in the scan", "between lines", "a marker"],
)
def test_the_layer_of_a_scan_has_nothing_under_boxes(
    tmp_path: Path, on_scan: str, drawn: str, expected: list[str]
) -> None:
    path = scan(tmp_path, lines_of(RIGHTS) + drawn, shown=lines_of(RIGHTS) + on_scan)
    resources = b"/XObject<</P 10 0 R>>"
    path.write_bytes(path.read_bytes().replace(resources, resources + b"/ExtGState<</G<</BM/Multiply>>>>"))
    assert sorted(text_of(read(path)).splitlines()) == sorted(expected)


def outlines_of(text: list[str]) -> str:
    """Thin paths in place of the letters of lines in Courier."""
    return "".join(
        f"{42.2 + 7.2 * at} {270 - 22 * number} 2.5 7 re f\n"
        for number, part in enumerate(text)
        for at, letter in enumerate(part)
        if letter != " "
    )


def in_courier(text: list[str]) -> str:
    return "".join(f"BT /C 12 Tf 40 {270 - 22 * at} Td ({part}) Tj ET\n" for at, part in enumerate(text))


def test_a_layer_over_letters_that_are_paths_is_the_label(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "x.pdf", f"{outlines_of(RIGHTS)} 3 Tr {in_courier(RIGHTS)}", page=PAGE)
    assert text_of(read(path)) == "\n".join(RIGHTS)


def test_a_layer_over_other_letters_than_its_own_is_not_the_label(tmp_path: Path) -> None:
    elsewhere = [part[:3] for part in RIGHTS]
    path = write_pdf(
        tmp_path / "x.pdf", f"{outlines_of(elsewhere)} {line('Seen', 40, 20)} 3 Tr {in_courier(RIGHTS)}", page=PAGE
    )
    assert text_of(read(path)) == "Seen"
