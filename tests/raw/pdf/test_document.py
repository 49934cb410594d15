import gzip
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from tests.helpers.paths import DATA
from wdstream.errors import SourceError
from wdstream.raw.pdf import document as pdf_module
from wdstream.raw.pdf.document import open_pdf
from wdstream.text.characters import normalise_text

PDF = DATA / "pages" / "pdf"
LIMIT = 200_000_000


def write_pdf(path: Path, box: str, more: str = "") -> Path:
    """A PDF of one page with this media box; PDFium mends the missing cross-reference table."""
    path.write_text(
        "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        "2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        f"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[{box}]{more}>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    )
    return path


def test_a_page_is_drawn_at_the_resolution_asked_for() -> None:
    with open_pdf(PDF / "slides-packaging-tutorial-en.pdf") as pdf, pdf.page(1) as page:
        assert pdf.num_pages == 1
        assert page.pixel_size(150, LIMIT) == (756, 567)
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
    with open_pdf(write_pdf(tmp_path / "x.pdf", "0 0 200 100", "/Rotate 90")) as pdf, pdf.page(1) as page:
        assert page.pixel_size(72, LIMIT) == (100, 200)
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
        assert page.pixel_size(72, LIMIT) == (8400, 8400)
    tall = write_pdf(tmp_path / "tall.pdf", "0 0 10 2100000000")
    with open_pdf(tall) as pdf, pdf.page(1) as page, pytest.raises(SourceError, match="above the limit"):
        page.pixel_size(150, LIMIT)


def test_pages_that_are_not_there() -> None:
    one_page = PDF / "diagram-ssh-L.pdf"
    with open_pdf(one_page) as pdf, pytest.raises(SourceError, match="page cannot be loaded"), pdf.page(2):
        pass
