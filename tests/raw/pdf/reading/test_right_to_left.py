"""Lines of right-to-left pages from characters at chosen places: ligatures, marks without a map, lines of code."""

from dataclasses import replace

import numpy as np

from wdstream.raw.pdf.characters import PageCharacters, TextObjects
from wdstream.raw.pdf.reading.mended import mended_strokes
from wdstream.raw.pdf.reading.right_to_left import logical_texts

_EM = 20.0


def page_of(lines: list[list[tuple[str, float, float]]]) -> tuple[PageCharacters, list[np.ndarray]]:
    """Characters with their left and right ends, line by line, in the order in which PDFium has them."""
    placed = [
        (text, (left, 40.0 * at, right, 40.0 * at + 15)) for at, line in enumerate(lines) for text, left, right in line
    ]
    count = len(placed)
    objects = TextObjects(
        handles=(1,),
        first=np.zeros(1, np.int32),
        render_modes=np.zeros(1, np.int8),
        font_sizes=np.full(1, _EM, np.float32),
        colours=np.zeros((1, 4), np.uint8),
        angles=np.zeros(1, np.float32),
    )
    characters = PageCharacters(
        codes=np.array([ord(text) for text, _ in placed], np.uint32),
        boxes=np.array([box for _, box in placed], np.float32),
        is_generated=np.zeros(count, np.bool_),
        is_mapped=np.array([text != "\x02" for text, _ in placed]),
        object_number=np.zeros(count, np.int32),
        objects=objects,
    )
    ends = np.cumsum([len(line) for line in lines])[:-1]
    return characters, np.split(np.arange(count), ends)


def spaced(text: str, right: float) -> list[tuple[str, float, float]]:
    """Characters of equal width from the right."""
    return [(letter, right - 10 * at - 10, right - 10 * at) for at, letter in enumerate(text)]


def test_ligatures_keep_the_order_of_their_map_where_lam_and_alef_do() -> None:
    allah = [*((letter, 470.0, 500.0) for letter in "الله"), (" ", 460.0, 470.0)]
    lam_alef = [*spaced("ج", 460), ("ل", 440.0, 450.0), ("ا", 440.0, 450.0), *spaced("ل", 440)]
    assert logical_texts(*page_of([[*allah, *lam_alef]])) == ["الله جلال"]


def test_ligatures_that_pdfium_turned_are_turned_back() -> None:
    turned = [("ر", 480.0, 500.0), ("ب", 480.0, 500.0)]
    assert logical_texts(*page_of([[*turned, *spaced("ن", 480)]])) == ["برن"]


def test_marks_without_a_map_are_not_hyphens() -> None:
    line = [("א", 70.0, 80.0), ("\x02", 88.0, 92.0), ("ר", 81.0, 90.0), ("\x02", 98.0, 102.0), ("ב", 91.0, 100.0)]
    assert logical_texts(*page_of([line])) == ["ברא"]


def test_a_line_of_code_on_a_right_to_left_page_is_read_from_the_left() -> None:
    prose = spaced("برای این کار ویرایش کنید و از منوی وارد شوید", 500)
    code = [(letter, 20.0 + 10 * at, 30.0 + 10 * at) for at, letter in enumerate("title={")]
    quoted = [*spaced("فضای", 130), ("{", 130.0, 140.0), (",", 140.0, 145.0)]  # the brace as PDFium turns it
    texts = logical_texts(*page_of([prose, [*code, *quoted]]))
    assert texts[1] == "title={فضای},"


def from_left(text: str, left: float) -> list[tuple[str, float, float]]:
    """Characters of equal width from the left."""
    return [(letter, left + 10 * at, left + 10 * at + 10) for at, letter in enumerate(text)]


def test_a_sentence_that_ends_at_the_right_is_read_from_the_left() -> None:
    prose = spaced("برای این کار ویرایش کنید و از منوی وارد شوید", 500)
    sentence = [
        *from_left("All its words are in the ", 20),
        *spaced("شوید", 310),
        *from_left(" of a menu item too.", 310),
    ]
    assert logical_texts(*page_of([prose, sentence]))[1] == "All its words are in the شوید of a menu item too."


def test_words_that_end_as_no_and_but_do_not_turn_a_line() -> None:
    line = [letter for at, word in enumerate(("لا", "إله", "إلا", "هو")) for letter in spaced(word, 400 - 50 * at)]
    printed = sorted(line, key=lambda letter: letter[1])  # as Pango and cairo write it
    assert logical_texts(*page_of([printed])) == ["لا إله إلا هو"]


def test_a_joiner_that_a_file_writes_is_not_there_twice() -> None:
    apart = [
        ("م", 480.0, 490.0),
        ("ی", 470.0, 480.0),
        ("\u200c", 470.0, 470.0),
        ("ش", 455.0, 467.0),
        ("و", 445.0, 455.0),
    ]
    texts = logical_texts(*page_of([[*apart, ("د", 435.0, 445.0)], spaced("نتیجه", 500), spaced("نتیجه", 500)]))
    assert texts[0] == "می\u200cشود"


def test_strokes_that_draw_letters_out_are_part_of_them() -> None:
    word = [("م", 90.0, 100.0), ("ر", 80.0, 90.0), ("ح", 70.0, 80.0), ("ب", 60.0, 70.0)]
    line = [
        *word,
        ("\x03", 53.0, 60.5),
        ("\x03", 50.0, 57.0),
        ("ا", 45.0, 50.5),
        (" ", 41.0, 45.0),
        ("\x03", 30.0, 38.0),
    ]
    characters, lines = page_of([line])
    boxes, is_mapped = characters.boxes.copy(), characters.codes != 3
    boxes[characters.codes == 3, 1] = 13.5
    mended = mended_strokes(replace(characters, boxes=boxes, is_mapped=is_mapped))
    assert mended.is_mapped.tolist() == [True] * 8 + [False]  # the last is at the end of a word: a letter, perhaps
    assert logical_texts(mended, [lines[0][:-1]]) == ["مرحبا"]
