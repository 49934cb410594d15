"""A checkpoint by the clock."""

from wdstream.train.saving.clock import SaveClock


def test_due() -> None:
    assert not SaveClock(None).is_due
    assert not SaveClock(10_000).is_due
    clock = SaveClock(1e-12)
    assert clock.is_due
    clock.restart()
    assert clock.is_due  # a picosecond later
