import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wdstream.plan.order import combine, splitmix64, splitmix64_array


def test_known_values() -> None:
    # First outputs of Vigna's splitmix64.c for the seeds 0 and 1234567.
    assert splitmix64(0) == 0xE220A8397B1DCDAF
    assert splitmix64(1234567) == 6457827717110365317


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_arrays_agree_with_numbers(values: list[int]) -> None:
    assert splitmix64_array(np.array(values, dtype=np.uint64)).tolist() == [splitmix64(value) for value in values]


def test_combine_knows_order_and_count() -> None:
    keys = {combine(1, 2), combine(2, 1), combine(1), combine(1, 2, 0), combine(-1)}
    assert len(keys) == 5
    assert combine(-1) == combine(2**64 - 1)
