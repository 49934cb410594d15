"""Text of pages is shown, never acted on; long text keeps its beginning and its end."""

from hypothesis import given, settings
from hypothesis import strategies as st

from wdstream.report.words import counted, edged, percent, short_ids, shorten


def test_line_ends_at_the_edges_are_written_out() -> None:
    assert edged("\n\nA line.\nAnother.\n") == "⏎⏎A line.\nAnother.⏎"
    assert edged("\n\n") == "⏎⏎"
    assert edged("") == ""


def test_a_long_text_is_cut_between_lines_else_words() -> None:
    lines = "".join(f"line number {number:02}\n" for number in range(20))
    short = shorten(lines, head=40, tail=20)
    assert short.head == "line number 00\nline number 01\nline number 02\n"[:30]
    assert short.tail == "line number 19\n"
    words = shorten("one two three four five six seven eight nine ten", head=10, tail=5)
    assert (words.head, words.tail) == ("one two ", "e ten")


def test_a_letter_keeps_its_marks() -> None:
    short = shorten("e\u0301" * 50, head=9, tail=10)
    assert short.head == "e\u0301" * 4
    assert short.tail == "e\u0301" * 5


@settings(deadline=None)
@given(st.text(max_size=300), st.integers(1, 60), st.integers(1, 60))
def test_nothing_is_lost(text: str, head: int, tail: int) -> None:
    short = shorten(text, head=head, tail=tail)
    assert short.head + short.middle + short.tail == text


def test_numbers() -> None:
    assert (counted(1, "tile"), counted(2, "tile"), counted(12_345, "tile")) == ("1 tile", "2 tiles", "12,345 tiles")
    assert (percent(8190, 8192), percent(8192, 8192), percent(0, 5)) == ("99.9 %", "100.0 %", "0.0 %")


def test_ids_of_a_split_image_are_shortened() -> None:
    assert short_ids("<start> <image> x 64 <end>") == "<start> <image> x 64 <end>"
    many = " ".join(f"<row_{row}> <image> x 64" for row in range(12))
    assert short_ids(many) == (
        "<row_0> <image> x 64 <row_1> <image> x 64 <row_2> <image> x 64 <row_3> <image> x 64 "
        "... <image> x 64 <row_10> <image> x 64 <row_11> <image> x 64"
    )
    assert short_ids(many, full=True) == many
