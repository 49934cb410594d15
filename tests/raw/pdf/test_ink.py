"""Two pictures compared where characters are."""

import numpy as np

from wdstream.raw.pdf.ink import is_different, is_printed


def test_a_point_that_is_drawn_next_to_its_box_is_seen_and_one_that_is_not_drawn_is_not() -> None:
    """A letter of 20 pixels, a comma drawn 5 pixels right of its box, and one that nothing draws."""
    without = np.full((40, 120, 4), 255, np.uint8)
    drawn = without.copy()
    drawn[10:30, 10:30] = 0
    drawn[26:30, 40:43] = 0
    boxes = np.array([[10, 10, 30, 30], [33, 26, 36, 30], [70, 26, 73, 30]], np.float32)
    assert is_different(drawn, without, boxes, np.full(3, 20, np.float32)).tolist() == [True, True, False]


def test_what_is_printed_differs_from_what_is_around_it() -> None:
    """A cross of 20 pixels, a line that crosses a box, a box as large as the picture, and one outside it."""
    picture = np.full((40, 120, 4), 255, np.uint8)
    picture[18:22, 10:30] = picture[10:30, 18:22] = 0
    picture[20, 50:100] = 0
    boxes = np.array([[10, 10, 30, 30], [60, 10, 80, 30], [0, 0, 120, 40], [200, 90, 210, 100]], np.float32)
    assert is_printed(picture, boxes).tolist() == [True, False, False, False]
