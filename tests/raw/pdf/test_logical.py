"""Text of pages as it is read: literal values of the cases, the true texts of the shipped Arabic and Persian pages."""

from pathlib import Path

import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein

from tests.helpers.paths import DATA
from wdstream.raw.pdf.document import open_pdf
from wdstream.raw.pdf.logical import page_text
from wdstream.text.characters import normalise_text

PDF, CASES = DATA / "pages" / "pdf", DATA / "cases" / "pdf"
RIGHT_TO_LEFT = {"handbook-ar-sect.user-space", "handbook-fa-sect.user-space"}


def text_of(path: Path, number: int = 1) -> str:
    with open_pdf(path) as pdf, pdf.page(number) as page, page.text_layer(page.pixel_size(150 / 72)) as layer:
        return page_text(layer.characters, np.ones(layer.num_characters, np.bool_))


@pytest.mark.parametrize(
    "path", [path for path in sorted(PDF.glob("*.pdf")) if path.stem not in RIGHT_TO_LEFT], ids=lambda path: path.stem
)
def test_a_left_to_right_page_keeps_the_text_that_pdfium_gives(path: Path) -> None:
    with open_pdf(path) as pdf, pdf.page(1) as page:
        assert text_of(path) == page.text()


@pytest.mark.parametrize("name", ["heb_ocr_logical_words", "hebrew_visual"])
def test_hebrew_reads_in_logical_order_however_its_words_were_laid(name: str) -> None:
    assert text_of(CASES / f"{name}.pdf") == "שלום עולם מספר זהות"


def test_persian_has_its_brackets_quotes_and_joiners() -> None:
    text = text_of(PDF / "handbook-fa-sect.user-space.pdf")
    lines = text.split("\r\n")
    assert lines[0].startswith("اکنون تمام قطعه\u200cهای پازل در جای خود قرار گرفته\u200cاند: ls محتویات")
    assert "۴۵۲۲ نابود می\u200cشوند و ۴۳۷۴ (که در طی این مدت منتظر آن\u200cها بود) کنترل" in lines[2]
    assert "پیام\u200cهای کنترلی مانند “توقف اجرا” یا “ادامه اجرا” می\u200cباشند. یونیکس (و لینوکس)" in text
    assert "کتابخانه استاندارد C (glibc)، که" in text
    assert "B.5.4. کتابخانه\u200cها" in lines
    assert "اطلاعاتی که نیاز" in text  # lam before alef in the ligature
    assert text.count("\u200c") == 72  # 3 more in the true text are before hyphens, where nothing shows them


def test_arabic_has_its_brackets_numbers_and_marks() -> None:
    text = text_of(PDF / "handbook-ar-sect.user-space.pdf")
    lines = text.split("\r\n")
    assert lines[0].startswith("المجلد الحالي. نظراً لأن ls يكتب على مجرى خرجه القياسي")
    assert lines[0].endswith("سيتم إرسال النتائج عمليًا إلى")
    assert lines[2].endswith("منتجة عملية bash جديدة لها pid يساوي 4522. ولأنها")
    assert lines[4].startswith("sort (وتستبدل نفسها به)، الذي يرتب دخله")
    assert "تنتهي العمليات ذات الأرقام #4521 و #4522 بعدها، والعملية #4374 (التي كانت تنتظرهم" in text
    assert "”أوقف التنفيذ مؤقتاً“ أو ”تابع التنفيذ“. يقدم يونكس (ولينكس) آلية تُعرَف باسم" in text
    assert "\u200c" not in text


@pytest.mark.parametrize(
    ("name", "number", "most"),
    [
        ("handbook-ar-sect.user-space", 2, 0),
        ("handbook-fa-sect.user-space", 2, 0),
        ("handbook-ar-sect.user-space", 1, 25),  # 22 are an English sentence that is printed in the wrong order
        ("handbook-fa-sect.user-space", 1, 27),
    ],
)
def test_the_text_is_the_page_as_its_author_wrote_it(name: str, number: int, most: int) -> None:
    truth = (PDF / f"{name}.{number}.txt").read_text(encoding="utf-8")
    found = normalise_text(text_of(PDF / f"{name}.pdf", number)).replace("•", "")
    assert Levenshtein.distance(" ".join(found.split()), " ".join(truth.replace("•", "").split())) <= most
