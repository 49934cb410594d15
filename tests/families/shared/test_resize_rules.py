"""The size rule is transformers' own, for one image and for columns of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from wdstream.families.shared.resize_rules import SmartSize
from wdstream.families.shared.resized import one_size

QWEN2_5 = SmartSize(factor=28, min_pixels=3136, max_pixels=12845056)
QWEN3 = SmartSize(factor=32, min_pixels=65536, max_pixels=16777216)
SMALL = SmartSize(factor=28, min_pixels=200704, max_pixels=1003520)
RULES = [QWEN2_5, QWEN3, SMALL]


def reference(width: int, height: int, rule: SmartSize) -> tuple[int, int] | None:
    if max(width, height) / min(width, height) > 200:
        with pytest.raises(ValueError, match="aspect ratio"):
            smart_resize(height, width, rule.factor, rule.min_pixels, rule.max_pixels)
        return None
    new_height, new_width = smart_resize(height, width, rule.factor, rule.min_pixels, rule.max_pixels)
    return new_width, new_height


@pytest.mark.parametrize("rule", RULES)
@given(st.integers(1, 4096), st.integers(1, 4096))
@settings(deadline=None, max_examples=1000)
def test_is_transformers_rule(rule: SmartSize, width: int, height: int) -> None:
    assert one_size(rule, width, height) == reference(width, height, rule)


def lattice() -> tuple[np.ndarray, np.ndarray]:
    """All sides up to 80, halves of multiples (where rounding to even matters), and a spread up to 20,000."""
    sides = sorted({*range(1, 81), *(28 * k + 14 for k in range(80)), *(32 * k + 16 for k in range(60))})
    sides += [4095, 4096, 4097, 8000, 19999, 20000]
    widths, heights = np.meshgrid(np.array(sides, dtype=np.int64), np.array(sides, dtype=np.int64))
    return widths.ravel(), heights.ravel()


@pytest.mark.parametrize("rule", RULES)
def test_columns_of_a_lattice(rule: SmartSize) -> None:
    widths, heights = lattice()
    new_widths, new_heights = rule.sizes(widths, heights)
    for place in range(0, len(widths), 3):
        expected = reference(int(widths[place]), int(heights[place]), rule) or (-1, -1)
        assert (new_widths[place], new_heights[place]) == expected, (widths[place], heights[place])


def test_literal_sizes() -> None:
    assert one_size(QWEN2_5, 1240, 1754) == (1232, 1764)
    assert one_size(QWEN2_5, 1, 1) == (56, 56)
    assert one_size(QWEN2_5, 14, 42) == (56, 112)  # 14/28 rounds to even: 0 columns, enlarged afterwards
    assert one_size(QWEN2_5, 5000, 5000) == (3556, 3556)  # 3584 missed by a rounding, as in transformers
    assert one_size(QWEN2_5, 1, 200) == (28, 812)
    assert one_size(QWEN2_5, 1, 201) is None
    assert one_size(QWEN2_5, 0, 10) is None
    none = QWEN2_5.sizes(np.array([0, 1, 402]), np.array([5, 201, 2]))
    assert [side.tolist() for side in none] == [[-1, -1, -1], [-1, -1, -1]]
