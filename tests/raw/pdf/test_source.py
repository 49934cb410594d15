from pathlib import Path

import pikepdf
import pytest

from tests.helpers.paths import DATA
from tests.helpers.pdf_files import unicode_map, write_pdf
from wdstream.errors import SourceError
from wdstream.raw.pdf.source import PdfSource
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import PageRange, RawFile, StoredPage
from wdstream.records import TextSegment

CASES = DATA / "cases" / "pdf"


def read(path: Path, number: int = 1, **settings: bool | float | str) -> StoredPage:
    """A page as make-shards stores it."""
    source = PdfSource()
    num_pages, _ = source.survey(path)
    file = RawFile(path=path.name, kind="pdf", stem=path.stem, num_bytes=1, num_pages=num_pages)
    with source.open(
        PageRange(file=file, first=1, count=num_pages), path, RawSettings.model_validate(settings)
    ) as reader:
        return reader.read(number)


def text_of(page: StoredPage) -> str:
    return "".join(segment.text for segment in page.page.segments if isinstance(segment, TextSegment))


def test_a_page_in_larger_units_has_the_size_that_viewers_show() -> None:
    assert read(CASES / "userunit.pdf").sizes == ((1667, 1250),)


def test_a_page_above_the_limit_is_fitted_when_asked() -> None:
    with pytest.raises(SourceError, match=r"page of 30000x30000 pixels at 150 dpi .* --fit draws it as large as fits"):
        read(CASES / "huge.pdf")
    page = read(CASES / "huge.pdf", fit=True, max_pixels=1_000_000)
    assert (page.sizes, text_of(page)) == (((1000, 1000),), "A poster of two hundred inches")


def test_the_placeholder_of_an_xfa_form_is_no_page() -> None:
    with pytest.raises(SourceError, match="page is the placeholder of an XFA form"):
        read(CASES / "xfa.pdf")


def with_xfa(path: Path, out: Path, *, needs_rendering: bool, lines: int = 0) -> Path:
    """A copy of a document with an XFA form, and more lines on its page."""
    with pikepdf.open(path) as document:
        template = document.make_stream(b'<template xmlns="http://www.xfa.org/schema/xfa-template/2.8/"/>')
        document.Root.AcroForm.XFA = pikepdf.Array([pikepdf.String("template"), template])
        document.Root.NeedsRendering = needs_rendering
        content = "".join(
            f"BT /F1 8 Tf 72 {600 - 12 * at} Td ({'a line of words ' * 4}) Tj ET\n" for at in range(lines)
        )
        document.pages[0].contents_add(content.encode())
        document.save(out)
    return out


def test_the_placeholder_of_an_xfa_form_is_known_by_its_notice_alone(tmp_path: Path) -> None:
    path = with_xfa(CASES / "xfa.pdf", tmp_path / "x.pdf", needs_rendering=False)
    with pytest.raises(SourceError, match="page is the placeholder of an XFA form"):
        read(path)


@pytest.mark.parametrize(("needs_rendering", "lines"), [(False, 0), (True, 20)])
def test_pages_of_an_xfa_form_are_drawn_with_their_fields(tmp_path: Path, needs_rendering: bool, lines: int) -> None:
    path = with_xfa(CASES / "form_ap.pdf", tmp_path / "x.pdf", needs_rendering=needs_rendering, lines=lines)
    page = read(path)
    assert "Jane Example, 12 Sample Street" in text_of(page)
    plain = with_xfa(CASES / "form_ap.pdf", tmp_path / "y.pdf", needs_rendering=False, lines=lines)
    with pikepdf.open(plain, allow_overwriting_input=True) as document:
        del document.Root.AcroForm.XFA
        document.save(plain)
    assert page.page.images == read(plain).page.images


INVOICE = "Invoice of the Example Company for paper\nTotal amount: 485 EUR"


@pytest.mark.parametrize(
    ("name", "text", "visible", "dropped"),
    [
        ("cropbox", "Visible chapter text on the trimmed page", 0.3148, {"outside the page": 74}),
        ("hidden_tr3", INVOICE, 0.5977, {"invisible": 35}),
        ("hidden_white", INVOICE, 0.5977, {"no contrast": 35}),
        ("hidden_tiny", INVOICE, 0.5977, {"too small to read": 35}),
        ("redacted", INVOICE, 0.5778, {"covered": 38}),
    ],
)
def test_text_that_nobody_sees_is_not_in_the_label(
    name: str, text: str, visible: float, dropped: dict[str, int]
) -> None:
    page = read(CASES / f"{name}.pdf")
    assert text_of(page) == text
    assert page.page.meta["text_visible"] == visible
    assert page.page.meta["text_dropped"] == dropped
    assert page.page.meta["text_from"] == "text layer"


def test_two_ocr_layers_are_one_and_the_page_is_marked() -> None:
    page = read(CASES / "ocr_twice.pdf")
    assert text_of(page) == (
        "The flight left at nine in the morning\nwith four passengers and one pilot\nbound for the southern island"
    )
    meta = page.page.meta
    assert (meta["text_from"], meta["text_doubled"], meta["text_visible"]) == ("ocr layer", 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "visible", "outside"),
    [
        ("handbook-de-sect.apparmor", 0.985, 28),
        ("handbook-en-sect.apparmor", 0.9851, 28),
        ("handbook-es-sect.apparmor", 0.985, 28),
        ("handbook-fr-sect.apparmor", 0.9852, 28),
        ("tables-12s0324-en", 1.0, 0),
        ("reportlab-reportlab-userguide-en", 1.0, 0),
        ("diagram-ssh-L", 1.0, 0),
        ("guide-maint-guide.ru", 1.0, 0),
        ("tables-refcard.pt_BR", 1.0, 0),
    ],
)
def test_pages_of_the_project(name: str, visible: float, outside: int) -> None:
    """Without blanks; with them 36 characters are outside."""
    meta = read(DATA / "pages" / "pdf" / f"{name}.pdf").page.meta
    assert meta["text_visible"] == visible
    assert meta.get("text_dropped", {}) == ({"outside the page": outside} if outside else {})


def test_a_table_cut_out_of_a_form_has_only_its_own_text() -> None:
    """With blanks 2,042 of 2,796 characters are outside."""
    page = read(CASES / "tables-data_dtype-en.pdf")
    assert page.page.meta["text_visible"] == 0.2716
    assert page.page.meta["text_dropped"] == {"outside the page": 1655}
    assert text_of(page).startswith("Energia Elétrica kWh 5.253 17.880 0,96383639 17.233,37\n")
    assert "Nota Fiscal" not in text_of(page)


def test_the_whole_layer_is_kept_when_asked() -> None:
    page = read(CASES / "hidden_white.pdf", text_layer="all")
    assert text_of(page).startswith(INVOICE)
    assert len(text_of(page)) == 105
    assert "text_visible" not in page.page.meta


@pytest.mark.parametrize("name", ["form_ap", "form_noap"])
def test_the_value_of_a_drawn_field_is_in_the_label(name: str) -> None:
    page = read(CASES / f"{name}.pdf")
    assert text_of(page) == "Name and address of the applicant:\nJane Example, 12 Sample Street"
    assert page.page.meta["text_visible"] == 1.0


def test_the_text_of_a_drawn_stamp_is_in_the_label() -> None:
    assert text_of(read(CASES / "annot_freetext.pdf")) == f"{INVOICE}\nAPPROVED with changes"


@pytest.mark.parametrize(
    ("path", "share"),
    [(CASES / "type3_nomap.pdf", "0.0%"), (CASES / "slides-packaging-tutorial.ru.pdf", "43.4%")],
)
def test_a_page_whose_fonts_do_not_map_to_unicode_is_quarantined(path: Path, share: str) -> None:
    with pytest.raises(SourceError, match=f"its fonts map only {share} of it to Unicode"):
        read(path)
    assert f"{read(path, min_mapped=0.0).page.meta['text_mapped']:.1%}" == share


@pytest.mark.parametrize("units", ["0000", "D835", "E000"])
def test_a_map_of_a_letter_to_nothing_is_no_map(tmp_path: Path, units: str) -> None:
    """PDFium's text has U+0000 as a hyphen at a line's end, and half a pair of surrogates not at all."""
    mapped = {code: f"{code:04x}" for code in b"Thequickbrownfxs"} | {ord("o"): units}
    font = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding/ToUnicode 11 0 R>>"
    content = "BT /M 14 Tf 20 150 Td (The quick brown foxes know themselves) Tj ET"
    path = write_pdf(
        tmp_path / "x.pdf", content, resources="/Font<</M 10 0 R>>", objects={10: font, 11: unicode_map(mapped)}
    )
    with pytest.raises(SourceError, match=r"its fonts map only 90\.6% of it"):
        read(path)


def test_the_script_is_metadata() -> None:
    for path, script in (
        (DATA / "pages" / "pdf" / "slides-packaging-tutorial.ja.pdf", "Latn"),  # 231 of 290 letters
        (CASES / "hebrew_visual.pdf", "Hebr"),
        (CASES / "bottom_up.pdf", "Latn"),
    ):
        meta = read(path).page.meta
        assert (meta["script"], meta["text_mapped"]) == (script, 1.0)


def test_the_order_is_the_files_unless_layout_is_asked_for() -> None:
    lines = [f"Line {number} drawn bottom up" for number in range(4)]
    assert text_of(read(CASES / "bottom_up.pdf")).split("\n") == lines
    assert text_of(read(CASES / "bottom_up.pdf", reading_order="layout")).split("\n") == lines[::-1]


def test_persian_words_of_a_browser_are_in_logical_order_with_their_non_joiners() -> None:
    """It names some words (`/ActualText`), which PDFium then has in order, and others not, which it has as printed."""
    assert text_of(read(CASES / "persian_browser.pdf")).splitlines() == [
        "می\u200cخواهم کتاب\u200cهای خانه\u200cها را ببینم. نمی\u200cشود رفت.",
        "این یک متن فارسی است که برای آزمایش نوشته شده و نیم\u200cفاصله\u200cها باید بمانند.",
    ]
