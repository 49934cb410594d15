"""Two pictures compared where characters are."""

import numpy as np

from wdstream.raw.pdf.ink import is_different


def test_a_point_that_is_drawn_next_to_its_box_is_seen_and_one_that_is_not_drawn_is_not() -> None:
    """A letter of 20 pixels, a comma drawn 5 pixels right of its box, and one that nothing draws."""
    without = np.full((40, 120, 4), 255, np.uint8)
    drawn = without.copy()
    drawn[10:30, 10:30] = 0
    drawn[26:30, 40:43] = 0
    boxes = np.array([[10, 10, 30, 30], [33, 26, 36, 30], [70, 26, 73, 30]], np.float32)
    assert is_different(drawn, without, boxes, np.full(3, 20, np.float32)).tolist() == [True, True, False]
