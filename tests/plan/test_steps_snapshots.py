import pytest

from wdstream.plan.state import Fingerprints, StreamState
from wdstream.plan.steps import Snapshots


def state(step: int) -> StreamState:
    return StreamState(step=step, passes=0, cursors=(), pool=(), fingerprints=Fingerprints())


def test_the_last_one_before_a_step() -> None:
    snapshots = Snapshots()
    assert snapshots.before(10) is None
    for step in (32, 16, 0, 48):
        snapshots.add(state(step))
    assert [snapshots.before(step) for step in (0, 15, 47, 10**9)] == [state(0), state(0), state(32), state(48)]


def test_they_thin_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdstream.plan.steps.MAX_SNAPSHOTS", 8)
    snapshots = Snapshots()
    for step in range(16 * 40):
        if snapshots.wants(step):
            snapshots.add(state(step))
    assert snapshots.stride == 128
    assert [snapshots.before(step) for step in (127, 128, 639)] == [state(0), state(128), state(512)]
    assert not snapshots.wants(512)
