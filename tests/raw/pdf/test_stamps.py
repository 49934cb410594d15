from typing import Any, cast

import numpy as np
import pytest

from wdstream.raw.pdf.layer import TextLayer
from wdstream.raw.pdf.stamps import is_stamp, says_more

PAPER = np.full((100, 100, 4), 250, np.uint8)
PAPER[20:80:10, 10:90] = 0
WHOLE, PART = np.array([[0, 0, 100, 100, 1]], np.float32), np.array([[0, 0, 100, 70, 1]], np.float32)
CORNER, ALL = [[0, 90, 10, 100]], [[0, 0, 100, 100]]


class Layer:
    """What is looked at of a text layer."""

    def __init__(self, text: str, boxes: list[list[int]]) -> None:
        self.text = text
        self.spans = np.array(boxes, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("text", "boxes", "images", "expected"),
    [
        ("12", CORNER, WHOLE, True),
        ("12", CORNER, PART, False),
        ("12", ALL, WHOLE, False),
        ("word " * 100, CORNER, WHOLE, False),
    ],
)
def test_a_short_layer_apart_from_the_ink_of_a_scan(
    text: str, boxes: list[list[int]], images: Any, expected: bool
) -> None:
    layer = cast(TextLayer, Layer(text, boxes))
    assert is_stamp(layer, images, PAPER) == expected
    assert is_stamp(layer, images, 255 - PAPER) == expected
    assert not is_stamp(layer, images, np.full_like(PAPER, 250))


def test_a_reading_has_to_say_more() -> None:
    assert says_more("1 2 3 4 5", "12") and not says_more("1 2 3 4", "12")
