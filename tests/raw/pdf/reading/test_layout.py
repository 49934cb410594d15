"""Pages in the order of their layout, whatever order their files have."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.paths import DATA
from tests.helpers.pdf_files import line, write_pdf
from wdstream.raw.pdf.document import open_pdf
from wdstream.raw.pdf.logical import page_text
from wdstream.raw.settings import LineOrder

PDF, CASES = DATA / "pages" / "pdf", DATA / "cases" / "pdf"
COLUMNS = "/MediaBox[0 0 500 300]"


def lines_of(path: Path, order: LineOrder) -> list[str]:
    with open_pdf(path) as pdf, pdf.page(1) as page, page.text_layer(page.pixel_size(1)) as layer:
        text = page_text(layer.characters, np.ones(layer.num_characters, np.bool_), order=order)
    return [line.replace("\ufffe", "-").strip() for line in text.split("\r\n")]


def test_a_page_drawn_from_the_bottom_is_read_from_the_top() -> None:
    lines = [f"Line {number} drawn bottom up" for number in range(4)]
    assert lines_of(CASES / "bottom_up.pdf", "file") == lines
    assert lines_of(CASES / "bottom_up.pdf", "layout") == lines[::-1]


def test_columns_come_one_after_the_other_below_their_header(tmp_path: Path) -> None:
    left = [f"left {word} words here" for word in ("one", "two", "three", "four")]
    right = [f"right {word} words here" for word in ("one", "two", "three", "four")]
    rows = [
        line(text, x=x, y=200 - 16 * at, size=12)
        for at, pair in enumerate(zip(left, right, strict=True))
        for text, x in zip(pair, (40, 270), strict=True)
    ]
    footer, header = line("Page 7", x=220, y=20, size=12), line("A header over both of the columns", y=270, size=16)
    path = write_pdf(tmp_path / "x.pdf", "".join([footer, *rows, header]), page=COLUMNS)
    assert lines_of(path, "layout") == ["A header over both of the columns", *left, *right, "Page 7"]


def test_columns_of_a_right_to_left_page_come_from_the_right(tmp_path: Path) -> None:
    lines = lines_of(PDF / "handbook-ar-sect.user-space.pdf", "layout")
    assert lines[0].startswith("المجلد الحالي. نظراً لأن ls يكتب على مجرى خرجه القياسي")
    assert lines[2].endswith("منتجة عملية bash جديدة لها pid يساوي 4522. ولأنها")


def test_of_blocks_that_are_equally_near_the_first_is_joined_wherever_python_keeps_them(tmp_path: Path) -> None:
    """Of a small block in two large ones, pdfminer's own choice is that of the lower address."""
    lines_of(write_pdf(tmp_path / "x.pdf", line("A"), page=COLUMNS), "layout")  # changes pdfminer
    layout = pytest.importorskip("pdfminer.layout")
    for is_first_lower in (True, False):
        low, high = sorted([layout.LTTextBoxHorizontal(), layout.LTTextBoxHorizontal()], key=id)
        first, second = (low, high) if is_first_lower else (high, low)
        small = layout.LTTextBoxHorizontal()
        first.set_bbox((0, 0, 100, 100))
        second.set_bbox((50, 50, 190, 190))
        small.set_bbox((60, 60, 64, 64))
        (group,) = layout.LTPage(1, (0, 0, 200, 200)).group_textboxes(layout.LAParams(), [first, second, small])
        assert [list(part) for part in group if isinstance(part, layout.LTTextGroup)] == [[first, small]]


def test_leaders_and_spaces_stay_in_their_line(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "x.pdf", line("Contents . . . . . . . 12", y=100) + line("First part, 1.", y=150))
    assert lines_of(path, "layout") == ["First part, 1.", "Contents . . . . . . . 12"]


@pytest.mark.parametrize("name", ["handbook-en-sect.apparmor", "tables-12s0324-en", "slides-packaging-tutorial.ja"])
def test_no_word_is_lost_or_torn(name: str) -> None:
    file, layout = (sorted(" ".join(lines_of(PDF / f"{name}.pdf", order)).split()) for order in ("file", "layout"))
    assert layout == file


def test_the_library_that_is_missing_is_named() -> None:
    program = (
        "import sys; sys.modules['pdfminer'] = None\n"
        "from pathlib import Path; from tests.raw.pdf.reading.test_layout import lines_of\n"
        f"lines_of(Path({str(CASES / 'bottom_up.pdf')!r}), 'layout')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("wdstream.errors.ConfigError: reading order by layout needs")
