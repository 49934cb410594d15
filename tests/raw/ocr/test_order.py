"""The reading order of lines from their places alone."""

import math

import numpy as np
import pytest

from wdstream.errors import SourceError
from wdstream.raw.ocr.order import ReadLine, reading_order

HEIGHT = 30.0


def line(text: str, left: float, top: float, width: float, height: float = HEIGHT, turn: float = 0.0) -> ReadLine:
    """A line at a place, the page turned by some degrees around its corner."""
    corners = np.array([(left, top), (left + width, top), (left + width, top + height), (left, top + height)])
    angle = math.radians(turn)
    matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return ReadLine(text=text, corners=corners @ matrix, confidence=0.9)


def column(name: str, left: float, count: int, *, top: float = 200.0, turn: float = 0.0) -> list[ReadLine]:
    """Lines of text, some shorter, 36 pixels apart."""
    widths = (480.0, 470.0, 500.0, 320.0)
    return [line(f"{name}{n}", left, top + 36 * n, widths[n % 4], turn=turn) for n in range(count)]


def texts(lines: list[ReadLine]) -> list[list[str]]:
    backwards = sorted(lines, key=lambda line: float(line.corners[0] @ (7, -3)))  # an order of no meaning
    return [[text for text, _ in block] for block in reading_order(backwards)]


def names(name: str, count: int) -> list[str]:
    return [f"{name}{n}" for n in range(count)]


def test_lines_from_the_top_in_paragraphs() -> None:
    assert texts([]) == []
    assert texts([line("only", 5, 5, 100)]) == [["only"]]
    below = [line(f"b{n}", 100, 400 + 36 * n, 480) for n in range(3)]
    assert texts(column("a", 100, 4) + below) == [names("a", 4), names("b", 3)]


@pytest.mark.parametrize("turn", [0.0, 1.5, -2.0, 5.0])
def test_columns_under_a_title_and_over_a_footer(turn: float) -> None:
    page = [line("Title over both", 150, 100, 900, turn=turn), line("foot across the page", 200, 900, 850, turn=turn)]
    page += column("a", 100, 15, turn=turn) + column("b", 640, 15, turn=turn)
    assert texts(page) == [["Title over both"], names("a", 15), names("b", 15), ["foot across the page"]]


def test_columns_after_a_page_that_is_mostly_one_column() -> None:
    wide = [line(f"w{n}", 100, 36.0 * n, 1040) for n in range(40)]
    page = wide + column("a", 100, 6, top=1440) + column("b", 640, 6, top=1440)
    assert texts(page) == [names("w", 40), names("a", 6), names("b", 6)]


def test_three_columns_and_a_heading_between() -> None:
    page = column("a", 100, 8) + column("b", 640, 8) + column("c", 1180, 8)
    page += [line("A heading over all of the columns", 100, 520, 1500)]
    page += column("d", 100, 8, top=600) + column("e", 640, 8, top=600) + column("f", 1180, 8, top=600)
    order = [*map(names, "abc", (8, 8, 8)), ["A heading over all of the columns"], *map(names, "def", (8, 8, 8))]
    assert texts(page) == order


def test_rows_of_a_table_are_read_across() -> None:
    rows = [("Quantity", "Description", "Total"), ("2", "Item one", "19.90"), ("5", "Item two", "100.00")] * 3
    page = [
        line(cell, left, 100 + 40 * n, 11.0 * len(cell)) for n, row in enumerate(rows)
        for left, cell in zip((100, 400, 900), row, strict=True)
    ]  # fmt: skip
    assert texts(page) == [[" ".join(row) for row in rows]]


def test_pieces_of_a_line_are_joined_with_one_box() -> None:
    pieces = [line("left half", 100, 100, 200), line("right half", 320, 104, 220), line("next", 100, 140, 300)]
    assert reading_order(pieces[::-1]) == [
        [("left half right half", (100.0, 100.0, 540.0, 134.0)), ("next", (100.0, 140.0, 400.0, 170.0))]
    ]


def test_lines_over_each_other_stay_apart() -> None:
    page = [line("one", 100, 100, 300), line("two", 110, 112, 300), line("three", 100, 124, 300)]
    assert [text for block in texts(page) for text in block] == ["one", "two", "three"]


def test_lines_that_run_down_have_no_order() -> None:
    page = [line(f"turned {n}", 40.0 * n, 10, 30, 400) for n in range(8)]
    with pytest.raises(SourceError, match="8 of 8 lines that were read run from top to bottom: a scan that is turned"):
        reading_order(page)
    assert texts([*page[:2], *column("a", 200, 6)])  # a side note or two do not matter
    assert texts([line("1", 10, 40.0 * n, 10, 30) for n in range(8)]) == [["1"] * 8]  # single letters are high


def test_same_place_twice_and_no_size() -> None:
    assert texts([line("a", 10, 10, 50), line("b", 10, 10, 50)]) in ([["a", "b"]], [["b", "a"]], [["a"], ["b"]])
    assert texts([line("nothing", 10, 10, 0, 0)] * 3) != []
