import pytest

from wdstream.errors import SourceError
from wdstream.raw.texts.formats import read_markup
from wdstream.raw.texts.page_text import FoundText

PAGE = '<div class="ocr_page" title="image &quot;x.png&quot;; bbox 0 0 200 100">'
LINE = '<span class="ocr_line" title="bbox 10 10 90 20">'


def read(body: str, head: str = "<html><body>", end: str = "</body></html>") -> FoundText:
    (page,) = read_markup(f"{head}{body}{end}".encode())
    return page


def test_paragraphs_lines_and_words() -> None:
    body = (
        f'{PAGE}<div class="ocr_carea"><p class="ocr_par" lang="deu">{LINE}'
        '<span class="ocrx_word" title="bbox 1 2 3 4; x_wconf 90">ein</span> '
        '<span class="ocrx_word" title="x_wconf 70"><strong>Wort</strong></span></span>\n'
        f'{LINE}<em>zwei</em>&nbsp;drei&shy;</span></p><p class="ocr_par">{LINE}vier</span></p></div></div>'
    )
    found = read(body)
    assert found.text == "ein Wort\nzwei drei-\n\nvier"
    assert found.on_image((400, 200)) == {
        "text_from": "hocr",
        "text_confidence": 0.8,
        "language": "de",
        "line_boxes": [[20, 20, 180, 40]] * 3,
    }


def test_words_without_anything_between_and_brackets_of_all_kinds() -> None:
    words = "".join(f"<span class='ocrx_word'>{word}</span>" for word in ("a", "b&amp;c", "&lt;d&gt;"))
    assert read(f"{PAGE}<p class='ocr_par'><span class=ocr_line>{words}</span></p></div>").text == "a b&c <d>"


def test_a_header_is_a_line_or_holds_lines() -> None:
    body = (
        f'{PAGE}<span class="ocr_header">1</span><div class="ocr_caption">{LINE}2</span>{LINE}3</span></div>'
        '<span class="ocr_textfloat">4</span></div>'
    )
    assert read(body).text == "1\n2\n3\n4"
    assert read(body).meta["text_tags"] == ["ocr_header", "ocr_textfloat"]


def test_elements_that_are_closed_at_once_hold_nothing() -> None:
    body = f'{PAGE}<div class="ocr_photo"/><p class="ocr_par"/><p class="ocr_par">{LINE}1<br>&nbsp;2</span></p></div>'
    assert read(body).text == "1 2"


def test_files_without_lines_pages_or_html() -> None:
    assert read(f'{PAGE}<p class="ocr_par">one\n two</p><p class="ocr_par">three</p></div>').text == "one two\n\nthree"
    assert read(f'<p class="ocr_par">{LINE}one</span></p>').text == "one"
    assert read(f"{PAGE}{LINE}one</span></div>", head="", end="").text == "one"


def test_two_pages_and_an_origin_that_is_not_zero() -> None:
    pages = read_markup(
        f'<html><div class="ocr_page" title="bbox 100 50 300 150"><span class="ocr_line" title="bbox 110 60 190 70">a'
        f"</span></div>{PAGE}</div></html>".encode()
    )
    assert [page.text for page in pages] == ["a", ""]
    assert pages[0].on_image((200, 100))["line_boxes"] == [[10, 10, 90, 20]]


@pytest.mark.parametrize(
    "box", ["bbox 5 5 5 9", "bbox 1 2 3", "bbox a b c d", "bbox -5 -5 -1 -1", "x_bbox 1 2 3 4", ""]
)
def test_boxes_that_are_none(box: str) -> None:
    body = f'{PAGE}<span class="ocr_line" title="{box}">one</span>{LINE}two</span></div>'
    assert read(body).on_image((200, 100))["line_boxes"] == [None, [10, 10, 90, 20]]


def test_encodings() -> None:
    body = f"{PAGE}{LINE}Käse</span></div></html>"
    assert read_markup(f"<html>{body}".encode())[0].text == "Käse", "UTF-8 where nothing is declared"
    declared = f'<html><head><meta charset="iso-8859-1"></head>{body}'
    assert read_markup(declared.encode("latin-1"))[0].text == "Käse"
    assert read_markup(f'<?xml version="1.0" encoding="UTF-16"?><html>{body}'.encode("utf-16"))[0].text == "Käse"
    with pytest.raises(SourceError, match="text is not utf-8, as it should be"):
        read_markup(f"<html>{body}".encode("latin-1"))


def test_a_file_that_is_cut_off() -> None:
    with pytest.raises(SourceError, match="HTML ends before its </html>: the file is cut off"):
        read_markup(f"<html><body>{PAGE}{LINE}one</span>".encode())


def test_hyphens_after_words_alternatives_and_marks_that_begin_no_element() -> None:
    word = '<span class="ocrx_word">{}</span>'
    other = '<span class="alternatives"><ins class="alt">gut</ins><del class="alt">gnt</del></span>'
    lines = [word.format("admini") + "\u00ad", word.format(other), "a <5 «b» <?c d> <!e> </ f <a<<e <!-- g"]
    body = "".join(f"{LINE}{line}</span>" for line in lines)
    assert read(f"{PAGE}{body}</div>").text == "admini-\ngut\na <5 «b» <?c d> <!e> </ f <a<<e <!-- g"


def test_paragraphs_and_tables_in_which_no_lines_are_marked_next_to_those_with_lines() -> None:
    table = '<table class="ocr_table"><tr><td>a</td><td>b</td></tr></table>'
    formula = f'{LINE}so <span class="ocr_math">x = 1</span> is</span>'
    body = f'{PAGE}<p class="ocr_par">loose</p><p class="ocr_par">{LINE}one</span>{formula}</p>{table}</div>'
    assert read(body).text == "loose\n\none\nso x = 1 is\n\na b"


def test_elements_and_attributes_in_capitals() -> None:
    assert read(f"<DIV CLASS='ocr_page'>{LINE.upper().replace('OCR_LINE', 'ocr_line')}one</SPAN></DIV>").text == "one"
    capitals = "<HTML><BODY><DIV CLASS='ocr_page'><SPAN CLASS='ocr_line'>one</SPAN></DIV></BODY></HTML>"
    assert read(capitals, head="", end="").text == "one"
