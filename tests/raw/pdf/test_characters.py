from pathlib import Path

import numpy as np
import pytest

from tests.helpers.paths import DATA
from tests.helpers.pdf_files import form, line, write_pdf
from wdstream.raw.pdf import shown_text
from wdstream.raw.pdf.calls import pdfium_calls, pointer_to
from wdstream.raw.pdf.characters import PageCharacters
from wdstream.raw.pdf.document import PdfPage, open_pdf
from wdstream.records import Size

PDF, CASES = DATA / "pages" / "pdf", DATA / "cases" / "pdf"


def characters_of(path: Path) -> PageCharacters:
    with open_pdf(path) as pdf, pdf.page(1) as page:
        return characters_at(page, page.pixel_size(page.scale(150, 10**9)))


def characters_at(page: PdfPage, size: Size) -> PageCharacters:
    with page.text_layer(size) as layer:
        return layer.characters


def text_of(characters: PageCharacters) -> str:
    return "".join(map(chr, characters.codes[characters.codes > 0]))


@pytest.mark.parametrize("path", sorted(PDF.glob("*.pdf")), ids=lambda path: path.stem)
def test_the_codes_are_the_text_layer(path: Path) -> None:
    characters = characters_of(path)
    with open_pdf(path) as pdf, pdf.page(1) as page:
        assert text_of(characters) == page.text().replace("\ufffe", "\x02")
    columns = (characters.boxes, characters.is_generated, characters.is_mapped, characters.object_number)
    assert {len(column) for column in columns} == {len(characters)}
    assert characters.object_number.max() == len(characters.objects.handles) - 1


def test_what_is_known_of_a_character_and_its_object() -> None:
    characters = characters_of(CASES / "tables-data_dtype-en.pdf")
    outside = ((characters.boxes[:, :2] >= (1091, 509)) | (characters.boxes[:, 2:] <= 0)).any(axis=1)
    assert (outside & ~characters.is_generated).sum() > 1500
    assert {*characters.objects.render_modes.tolist(), *characters.objects.angles.tolist()} == {0}
    assert (characters.object_number[characters.is_generated] == -1).all()
    assert characters_of(CASES / "slides-packaging-tutorial.ru.pdf").is_mapped.sum() == 100


@pytest.mark.parametrize(
    ("rotation", "box", "angle"),
    [(0, (20, 60, 41, 68), 0), (90, (32, 20, 40, 41), 90), (180, (59, 32, 80, 40), 180), (270, (60, 59, 68, 80), 270)],
)
def test_boxes_and_angles_on_a_turned_and_cropped_page(
    tmp_path: Path, rotation: int, box: tuple[int, ...], angle: int
) -> None:
    content = "BT /F 12 Tf 0.5 0 0 1 120 132 Tm (HHHHHH) Tj ET"
    path = tmp_path / "x.pdf"
    path.write_text(
        "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        f"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/CropBox[100 100 200 200]/Rotate {rotation}"
        "/Resources<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Courier-Bold>>>>>>/Contents 4 0 R>>endobj\n"
        f"4 0 obj<</Length {len(content)}>>stream\n{content}\nendstream endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    )
    with open_pdf(path) as pdf, pdf.page(1) as page:
        characters = characters_at(page, (100, 100))
    ink = np.concatenate([characters.boxes[:, :2].min(axis=0), characters.boxes[:, 2:].max(axis=0)])
    assert np.abs(ink - box).max() < 2
    assert characters.objects.angles.tolist() == [angle]
    assert characters.objects.font_sizes.tolist() == [12]
    assert characters.objects.colours.tolist() == [[0, 0, 0, 255]]


def test_the_smallest_font_of_a_page_counts_the_form_that_has_it(tmp_path: Path) -> None:
    half = {10: form(line("small", 0, 0, 12), "/Matrix[.7 0 0 .5 0 0]")}
    path = write_pdf(tmp_path / "x.pdf", f"{line('large')} /X Do", resources="/XObject<</X 10 0 R>>", objects=half)
    with open_pdf(path) as pdf, pdf.page(1) as page:
        assert page.objects(page.pixel_size(2)).least_font_size() == pytest.approx(12)
    with open_pdf(write_pdf(tmp_path / "empty.pdf")) as pdf, pdf.page(1) as page:
        assert page.objects(page.pixel_size(2)).least_font_size() == float("inf")


@pytest.mark.parametrize("path", [*sorted(PDF.glob("*.pdf")), *sorted(CASES.glob("*.pdf"))], ids=lambda path: path.name)
def test_the_codes_are_those_of_pdfium(path: Path) -> None:
    with open_pdf(path) as pdf, pdf.page(1) as page, page.text_layer(page.pixel_size(1)) as layer:
        handle = pointer_to(layer._text_page.raw)
        codes = [pdfium_calls().code(handle, number) for number in range(layer.num_characters)]
        assert layer.unplaced.codes.tolist() == codes


@pytest.mark.parametrize("name", ["type3_nomap.pdf", "slides-packaging-tutorial.ru.pdf"])
def test_a_label_without_places_is_the_label_with_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def label() -> tuple[str, object, bool]:
        path = CASES / name
        with (
            open_pdf(path) as pdf,
            pdf.page(1) as page,
            page.text_layer(page.pixel_size(2)) as layer,
            page.drawn(2) as picture,
        ):
            found = shown_text.read_shown_text(page, layer, picture, 2, "file")
            return found.text, found.meta, "characters" in layer.__dict__

    text, meta, is_whole = label()
    assert text and not is_whole  # their places are not read
    monkeypatch.setattr(shown_text, "_text_without_places", lambda layer, keep: None)
    assert label() == (text, meta, True)
