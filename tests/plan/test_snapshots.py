import pytest

from wdstream.plan.snapshots import Snapshots
from wdstream.plan.state import StreamState


def state(step: int) -> StreamState:
    return StreamState(step=step, round=0, cursors=(), pool=(), fingerprints={})


def test_the_last_one_before_a_step() -> None:
    waypoints = Snapshots()
    assert waypoints.before(10) is None
    for step in (32, 16, 0, 48):
        waypoints.add(state(step))
    assert [waypoints.before(step) for step in (0, 15, 47, 10**9)] == [state(0), state(0), state(32), state(48)]


def test_they_thin_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdstream.plan.snapshots.LIMIT", 8)
    waypoints = Snapshots()
    for step in range(16 * 40):
        if waypoints.wants(step):
            waypoints.add(state(step))
    assert waypoints.stride == 128
    assert [waypoints.before(step) for step in (127, 128, 639)] == [state(0), state(128), state(512)]
    assert not waypoints.wants(512)
