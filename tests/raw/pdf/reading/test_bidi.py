"""From printed order back to reading order, against what the Unicode algorithm prints."""

import pytest

from wdstream.raw.pdf.reading.bidi import MIRROR, element_of, logical_order


def read(printed: str, *, from_right: bool = True) -> str:
    ordered = logical_order([element_of(character) for character in printed], from_right=from_right)
    return "".join(MIRROR.get(element.text, element.text) if right else element.text for element, right in ordered)


@pytest.mark.parametrize(
    ("printed", "wanted"),
    [
        ("תויוותחמ ls :םלוע", "עולם: ls מחתוויות"),
        ("تسا (هک رد) دوبان ۴۵۲۲ و ۴۵۲۱ هرامش", "شماره ۴۵۲۱ و ۴۵۲۲ نابود (در که) است"),
        ("اهنألو .4522 يواسي pid", "pid يساوي 4522. ولأنها"),
        ("فوسف ،4374# ةيلمعلل", "للعملية #4374، فسوف"),
        ("לקש 5-ב", "ב-5 שקל"),
        ("ךותמ 50% הז", "זה 50% מתוך"),
        ("تسا Python 3 هخسن", "نسخه Python 3 است"),
        ("نیبب ار open(2)", "open(2) را ببین"),
        ("نتم -5", "5- متن"),
        ("يف 01-05-2011 خيرات", "تاريخ 2011-05-01 في"),
        ("היה 1990-1995 תנשב", "בשנת 1990-1995 היה"),
        ("היה 12:30 העש", "שעה 12:30 היה"),
        ("ןאכ /etc/passwd ץבוק", "קובץ /etc/passwd כאן"),
        ("تسا \\mainmatter نتم", "متن \\mainmatter است"),
        ("دیهدب --help هنیزگ", "گزینه --help بدهید"),
        ("زا http://fa.wikipedia.org/wiki/ تسا", "است http://fa.wikipedia.org/wiki/ از"),
        ("هک ،(glibc) C درادناتسا", "استاندارد C (glibc)، که"),
        ("Then .2024 תנשב", "בשנת 2024. Then"),
        ("ףוס ++C ,123 רפסמ", "מספר 123, C++ סוף"),
        ("Use .NET 5 םלוע", "עולם Use .NET 5"),
        ("ףוס x .5 y םלוע", "עולם x .5 y סוף"),
        ("ףוס [x0 ;a] םלוע", "עולם [x0 ;a] סוף"),
        ("ףוס [a ;10] םלוע", "עולם [a ;10] סוף"),
    ],
)
def test_a_line_is_read_from_the_right(printed: str, wanted: str) -> None:
    assert read(printed) == wanted


@pytest.mark.parametrize(
    ("printed", "wanted"),
    [
        ("ףוס ABC 12.5% )2024( םלוע", "עולם (2024) ABC 12.5% סוף"),
        ("123 ]test[ מכילע", "עליכמ [test] 123"),
        ("ףוס ABC (2024) םלוע", "עולם ABC (2024) סוף"),  # of the shapes that are printed: part of the Latin words
    ],
)
def test_brackets_with_codes_of_the_other_shape_are_right_to_left_text(printed: str, wanted: str) -> None:
    """Browsers name brackets in right-to-left text (`/ActualText`): there they have the codes that were written."""
    ordered = logical_order([element_of(character) for character in printed])
    assert "".join(element.text for element, _ in ordered) == wanted


def test_a_latin_line_keeps_its_order_and_turns_what_it_quotes() -> None:
    assert read("The word םולש (םולש םלוע) means 5 things.", from_right=False) == (
        "The word שלום (עולם שלום) means 5 things."
    )
    assert read("plain (text) 1, 2", from_right=False) == "plain (text) 1, 2"


def test_brackets_of_the_other_shape_are_right_to_left_text_in_a_latin_line_too() -> None:
    """Browsers, LibreOffice and Pango print `English with עברית (בדיקה) inside` so."""
    printed = [element_of(character) for character in "English with )הקידב( תירבע inside"]
    ordered = logical_order(printed, from_right=False)
    assert "".join(element.text for element, _ in ordered) == "English with עברית (בדיקה) inside"


@pytest.mark.parametrize(
    ("printed", "wanted"),
    [
        ("6:149), and its first (as in הל, 2:115", "6:149), and its first (as in לה, 2:115"),
        ("a name) by a word (in letters) תט (תט are", "a name) by a word (in letters) טת (טת are"),
    ],
)
def test_a_latin_line_may_begin_in_one_bracket_and_end_in_another(printed: str, wanted: str) -> None:
    assert read(printed, from_right=False) == wanted
