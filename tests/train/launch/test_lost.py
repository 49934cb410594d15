"""Errors of collectives in which another process is missing, as a user can read them; all others as they are."""

import pytest

from wdstream.errors import TrainError
from wdstream.train.launch.lost import lost_processes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[pair.cc:537] Read error [127.0.0.1]:52131: Connection reset by peer. This is",
            "has ended, so this one ends",
        ),
        ("[pair.cc:537] Connection closed by peer [127.0.0.1]:1", "has ended, so this one ends"),
        (
            "[unbound_buffer.cc:81] Timed out waiting 1800000ms for recv operation",
            "longer than train.collective_minutes",
        ),
    ],
)
def test_said_plainly(text: str, message: str) -> None:
    with pytest.raises(TrainError, match=message), lost_processes():
        raise RuntimeError(text)


def test_other_errors_stay() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), lost_processes():
        raise RuntimeError("shapes differ")
