"""Exit statuses: which launcher gets which, and real processes that say so."""

import signal
from collections.abc import Mapping
from pathlib import Path
from socket import gethostname

import pytest

from tests.helpers.processes import finish, start_world
from tests.helpers.training import TRAIN, Workplace, arguments, wait_for_steps
from wdstream.config.training import TrainConfig
from wdstream.errors import ConfigError, TrainError
from wdstream.runs.layout import RunLayout
from wdstream.train.launch.statuses import (
    FOLDER_VARIABLE,
    LOST,
    Ended,
    forget_failures,
    lost_processes,
    process_status,
    reported_failures,
    stopped_end,
)

ACCELERATE, TORCHRUN, OURS = (
    {"ACCELERATE_MIXED_PRECISION": "no"},
    {"TORCHELASTIC_RUN_ID": "none"},
    {FOLDER_VARIABLE: "x"},
)


@pytest.mark.parametrize(
    ("environment", "wanted", "status"),
    [
        ({}, None, 3),
        ({}, 0, 0),
        (ACCELERATE, None, 0),
        (TORCHRUN, None, 0),
        (TORCHRUN, 7, 7),
        (ACCELERATE | OURS, None, 0),
        (ACCELERATE | OURS, 7, 0),  # the launcher gives it
    ],
)
def test_the_status_of_a_stop_follows_from_the_launcher(
    environment: Mapping[str, str], wanted: int | None, status: int
) -> None:
    assert process_status(stopped_end(wanted), wanted=wanted, environment=environment) == status
    assert process_status(Ended(how="finished", status=0), wanted=wanted, environment=environment) == 0


def test_the_statuses_of_a_failure_are_no_stop() -> None:
    with pytest.raises(ConfigError, match="expected 0, or 3 to 125, found 2: 1 and 2 say that the run failed"):
        TrainConfig(stopped_status=2)


def test_a_process_that_is_stopped_while_it_loads_or_trains_has_a_checkpoint_and_status_3(
    workplace: Workplace, tmp_path: Path
) -> None:
    """Two runs side by side: one is asked to stop before its first step, one after some."""
    outputs = [tmp_path / "loading", tmp_path / "training"]
    settings = ("train.max_steps=5000", "train.stopped_status=null")
    ranks = [start_world(TRAIN, arguments(workplace, output, *settings), size=1)[0] for output in outputs]
    wait_for_steps(outputs[1], 1)
    ranks[1].send(signal.SIGUSR1)
    ranks[0].send(signal.SIGTERM)
    results = finish(ranks)
    assert [status for status, _ in results] == [3, 3], results
    for output in outputs:
        assert list((output / "checkpoints").glob("step-*/manifest.json"))


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
def test_a_lost_process_is_said_plainly(text: str, message: str) -> None:
    with pytest.raises(TrainError, match=message), lost_processes():
        raise RuntimeError(text)


def test_a_late_process_is_measured_by_the_limit_that_holds() -> None:
    with pytest.raises(TrainError, match="longer than an hour"), lost_processes("an hour"):
        raise RuntimeError("Timed out waiting 3600000ms")


def test_other_errors_stay() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), lost_processes():
        raise RuntimeError("shapes differ")


def fails(files: RunLayout, rank: int, error: Exception, size: int = 2, start: str = "this") -> str:
    environment = {"RANK": str(rank), "WORLD_SIZE": str(size)}
    with pytest.raises(type(error)) as raised, reported_failures(files, environment) as own:
        own.name = start
        raise error
    return str(raised.value)


def test_a_rank_that_lost_another_says_which_and_why(tmp_path: Path) -> None:
    files = RunLayout(tmp_path)
    lost = f"{LOST} has ended, so this one ends too; it was killed"
    assert fails(files, 0, TrainError(lost)) == lost  # nobody said why
    assert fails(files, 0, TrainError("alone"), size=1) == "alone" and files.failures == []
    assert fails(files, 2, TrainError("5 pages failed")) == "5 pages failed"
    fails(files, 1, OSError(28, "No space left on device", "/full"))
    assert fails(files, 0, TrainError(lost)).endswith(
        f"so this one ends too: rank 2 on {gethostname()}: 5 pages failed"
    )
    assert "/full: No space left on device" in files.failure("1").read_text()
    forget_failures(files, "this")
    assert len(files.failures) == 2  # one may have failed before the main process gets there
    forget_failures(files, "next")
    assert files.failures == []


def test_another_start_is_never_blamed(tmp_path: Path) -> None:
    """Not one before, not one that was refused because this one runs, and nothing before the processes have met."""
    files = RunLayout(tmp_path)
    lost = f"{LOST} has ended, so this one ends too"
    fails(files, 0, TrainError("the run is in use by another process"), start="refused")
    files.failure("3").write_text("torn")
    files.failure("4").write_text('{"rank": "4", "host": "old", "time": 0, "message": "of a version before"}')
    assert fails(files, 1, TrainError(lost)) == lost
    assert fails(files, 1, TrainError(lost), start="") == lost
    fails(files, 2, TrainError("no name yet"), start="")
    assert not files.failure("2").exists()
    fails(files, 0, TrainError("5 pages failed"))
    assert fails(files, 1, TrainError(lost)) == f"{lost}: rank 0 on {gethostname()}: 5 pages failed"


def test_an_error_of_the_main_process_alone_is_said_by_all(workplace: Workplace, tmp_path: Path) -> None:
    shards, _ = workplace.damaged_shards()
    settings = (f"data.train=[{{path: {shards}}}]", "data.max_bad_fraction=0.0", "data.eval=[]")
    for _ in range(2):  # the second start does not read what the first one left
        ended = finish(start_world(TRAIN, arguments(workplace, tmp_path, *settings), size=2))
        assert [status for status, _ in ended] == [1, 1]
        assert "rank 1 on" in ended[1][1] and f"rank 0 on {gethostname()}: " in ended[1][1]
        assert all("more than data.max_bad_fraction 0.0 allows" in printed for _, printed in ended)
    assert [path.name for path in RunLayout(tmp_path).failures] == ["failed.rank-0.json"]
