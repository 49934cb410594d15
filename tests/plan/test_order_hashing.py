import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wdstream.plan.order import combine, splitmix64


def test_known_values() -> None:
    # First outputs of Vigna's splitmix64.c for the seeds 0 and 1234567.
    assert splitmix64(np.array([0, 1234567], dtype=np.uint64)).tolist() == [0xE220A8397B1DCDAF, 6457827717110365317]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_agrees_with_whole_numbers(values: list[int]) -> None:
    def mixed(value: int) -> int:
        value = (value + 0x9E3779B97F4A7C15) % 2**64
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
        return value ^ (value >> 31)

    assert splitmix64(np.array(values, dtype=np.uint64)).tolist() == [mixed(value) for value in values]


def test_combine_knows_order_and_count() -> None:
    keys = {combine(1, 2), combine(2, 1), combine(1), combine(1, 2, 0), combine(-1)}
    assert len(keys) == 5
    assert combine(-1) == combine(2**64 - 1)
