"""Figures of many numbers: sums that 64 bits do not hold."""

import json

import numpy as np
import pytest

from wdstream.curation.numbers import NumberSummary


@pytest.mark.parametrize("dtype", ["<i4", "<i8"])
def test_sums_of_whole_numbers_are_exact(dtype: str) -> None:
    most = np.iinfo(dtype).max
    assert NumberSummary.of([np.array([most, most, 5, -7], dtype)]).total == 2 * most - 2
    assert NumberSummary.of([np.array([-most, -most, 1], dtype)]).total == 1 - 2 * most


def test_a_sum_is_a_number_of_json() -> None:
    huge = NumberSummary.of([np.array([1e308, 1e308])])
    assert json.loads(json.dumps(huge.as_dict(), allow_nan=False))["sum"] == np.finfo(np.float64).max
    assert NumberSummary.of([np.array([0.5, 2.0])]).total == 2.5
