import gzip
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from tests.helpers.paths import DATA
from tests.helpers.pdf_files import line, write_pdf
from wdstream.errors import SourceError
from wdstream.raw.pdf import document as pdf_module
from wdstream.raw.pdf.document import open_pdf
from wdstream.text.characters import normalise_text

PDF = DATA / "pages" / "pdf"
CASES = DATA / "cases" / "pdf"
LIMIT = 200_000_000


def test_a_page_is_drawn_at_the_resolution_asked_for() -> None:
    with open_pdf(PDF / "slides-packaging-tutorial-en.pdf") as pdf, pdf.page(1) as page:
        assert pdf.num_pages == 1
        assert page.pixel_size(page.scale(150, LIMIT)) == (756, 567)
        image = page.render(dpi=150, jpeg_quality=90, max_pixels=LIMIT)
        small = page.render(dpi=75, jpeg_quality=90, max_pixels=LIMIT)
    assert (image.size, small.size) == ((756, 567), (378, 284))
    pixels = simplejpeg.decode_jpeg(image.data)
    assert pixels.shape == (567, 756, 3)
    assert np.abs(pixels[560, 375].astype(int) - 255).max() < 8  # white paper


def test_the_text_layer_and_its_hyphens() -> None:
    with open_pdf(PDF / "diagram-ssh-L.pdf") as pdf, pdf.page(1) as page:
        text = normalise_text(page.text())
    assert "Tjener-\nmaskin" in text
    assert "SSH-\nforbindelse\n80" in text
    with open_pdf(PDF / "slides-packaging-tutorial.ja.pdf") as pdf, pdf.page(1) as page:
        assert "パッケージ" in page.text()


def test_a_page_without_colour_is_grey() -> None:
    with open_pdf(PDF / "tables-12s0324-en.pdf") as pdf, pdf.page(1) as page:
        jpeg = page.render(dpi=72, jpeg_quality=90, max_pixels=LIMIT).data
    assert simplejpeg.decode_jpeg_header(jpeg)[2] == "Gray"


def test_a_scan_has_no_text() -> None:
    with open_pdf(DATA / "pages/scans/c03-29.pdf") as pdf, pdf.page(1) as page:
        assert page.text() == ""


def test_compressed_pdf(tmp_path: Path) -> None:
    packed = tmp_path / "x.pdf.gz"
    packed.write_bytes(gzip.compress((PDF / "diagram-ssh-L.pdf").read_bytes()))
    with open_pdf(packed) as pdf:
        assert pdf.num_pages == 1
    packed.write_bytes(packed.read_bytes()[:-100])
    with pytest.raises(SourceError, match="file cannot be read: Compressed file ended"), open_pdf(packed):
        pass


def test_a_large_file_is_read_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_module, "_READ_WHOLE_BYTES", 100)
    with open_pdf(PDF / "diagram-ssh-L.pdf") as pdf, pdf.page(1) as page:
        assert "Tjener" in page.text()
    with pytest.raises(SourceError, match="not a readable PDF"), open_pdf(DATA / "bad/qpdf-issue-99.pdf"):
        pass


def test_rotation_counts_in_the_size(tmp_path: Path) -> None:
    with open_pdf(write_pdf(tmp_path / "x.pdf", page="/MediaBox[0 0 200 100]/Rotate 90")) as pdf, pdf.page(1) as page:
        assert page.pixel_size(page.scale(72, LIMIT)) == (100, 200)
        assert page.render(dpi=72, jpeg_quality=90, max_pixels=LIMIT).size == (100, 200)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ocrmypdf-invalid.pdf", "not a readable PDF: Data format error"),
        ("pypdf-encrypted-file.pdf", "PDF needs a password; save it without one"),
        ("qpdf-bad1.pdf", "not a readable PDF: Data format error"),
        ("qpdf-issue-99.pdf", "not a readable PDF: Data format error"),
        ("qpdf-issue-148.pdf", "not a readable PDF: Data format error"),
        ("qpdf-fuzz-16214.pdf", "not a readable PDF: Data format error"),
        ("absent.pdf", "file cannot be read: No such file or directory"),
    ],
)
def test_files_that_cannot_be_opened(name: str, reason: str) -> None:
    with pytest.raises(SourceError) as caught, open_pdf(DATA / "bad" / name):
        pass
    assert str(caught.value) == reason


def test_a_page_of_huge_size_is_refused_before_it_is_drawn(tmp_path: Path) -> None:
    with open_pdf(DATA / "bad/ocrmypdf-hugemono.pdf") as pdf, pdf.page(1) as page:
        with pytest.raises(SourceError, match="page of 17500x17500 pixels at 150 dpi is above the limit of 200000000"):
            page.render(dpi=150, jpeg_quality=90, max_pixels=LIMIT)
        assert page.pixel_size(page.scale(72, LIMIT)) == (8400, 8400)
    tall = write_pdf(tmp_path / "tall.pdf", page="/MediaBox[0 0 10 2100000000]")
    with open_pdf(tall) as pdf, pdf.page(1) as page, pytest.raises(SourceError, match="above the limit"):
        page.pixel_size(page.scale(150, LIMIT))


def test_pages_that_are_not_there() -> None:
    one_page = PDF / "diagram-ssh-L.pdf"
    with open_pdf(one_page) as pdf, pytest.raises(SourceError, match="page cannot be loaded"), pdf.page(2):
        pass


@pytest.mark.parametrize(
    ("boxes", "size"),
    [
        ("/MediaBox[0 0 200 100]/CropBox[300 300 400 400]", (200, 100)),  # outside: as if there were none
        ("/MediaBox[0 0 200 100]/CropBox[200 0 300 100]", (200, 100)),  # only an edge in common
        ("/MediaBox[0 0 200 100]/CropBox[150 80 10 10]", (140, 70)),  # inverted
        ("/MediaBox[0 0 200 100]/CropBox[10 10 10 10]", (200, 100)),  # empty
        ("/MediaBox[200 100 0 0]/CropBox[-50 -50 120 400]", (120, 100)),
        ("/MediaBox[0 0 200 100]/CropBox[300 300 400 400]/Rotate 270", (100, 200)),
        ("/MediaBox[-100 -100 100 100]/CropBox[-100 0 0 50]/UserUnit 3", (300, 150)),
        ("/MediaBox[0 0 200 100]/UserUnit 0", (200, 100)),
        ("/MediaBox[0 0 200 100]/UserUnit/Much", (200, 100)),
    ],
)
def test_boxes_and_units_as_viewers_take_them(tmp_path: Path, boxes: str, size: tuple[int, int]) -> None:
    path = write_pdf(tmp_path / "x.pdf", line("Hello", 10, 40), page=boxes)
    with open_pdf(path) as pdf, pdf.page(1) as page:
        image = page.render(dpi=72, jpeg_quality=90, max_pixels=LIMIT)
    assert image.size == size


@pytest.mark.parametrize(
    ("box", "max_pixels", "size"),
    [
        ("0 0 200 100", 200, (20, 10)),
        ("0 0 100 300", 1000, (18, 54)),
        ("0 0 10 2100000000", LIMIT, (1, 65500)),
        ("0 0 14400 14400", LIMIT, (14142, 14142)),
        ("0 0 200 100", 1, (1, 1)),
    ],
)
def test_a_page_that_is_too_large_is_fitted_when_asked(
    tmp_path: Path, box: str, max_pixels: int, size: tuple[int, int]
) -> None:
    with open_pdf(write_pdf(tmp_path / "x.pdf", page=f"/MediaBox[{box}]")) as pdf, pdf.page(1) as page:
        with pytest.raises(SourceError, match="--fit draws it as large as fits"):
            page.scale(150, max_pixels)
        assert page.pixel_size(page.scale(150, max_pixels, fit=True)) == size


def test_filled_fields_are_drawn() -> None:
    dark = {}
    for name in ("form_ap", "form_noap"):
        with open_pdf(CASES / f"{name}.pdf") as pdf, pdf.page(1) as page, page.drawn(150 / 72) as pixels:
            dark[name] = int((pixels[..., :3].min(axis=2) < 128).sum())
    assert dark == {"form_ap": 6023, "form_noap": 6018}  # 2,907 without the field


def test_pages_that_are_bound_on_the_right_keep_the_order_of_latin_words(tmp_path: Path) -> None:
    content = "BT /F 12 Tf 40 150 Td (Header words) Tj 0 -30 Td (Second line, with a comma) Tj ET"
    path = write_pdf(tmp_path / "bound.pdf", content, catalog="/ViewerPreferences<</Direction/R2L/HideMenubar true>>")
    with open_pdf(path) as pdf, pdf.page(1) as page:
        assert page.text() == "Header words\r\nSecond line, with a comma"
