"""Failed pages: listed once, across resumes too; too many stop the run."""

import json
from pathlib import Path

import pytest

from wdstream.errors import TrainError
from wdstream.records import Failure
from wdstream.runs.record import Quarantine, allowed_failures


def failure(number: int) -> Failure:
    return Failure(key=f"page{number}", sample=number, reason="truncated JPEG")


def test_a_page_is_listed_once_also_after_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.jsonl"
    Quarantine(path, max_bad_fraction=1.0).add([failure(7), failure(7), failure(8)], step=3)
    resumed = Quarantine(path, max_bad_fraction=1.0)
    resumed.add([failure(8), failure(9)], step=20)
    assert len(resumed) == 3
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 3, "key": "page7", "sample": 7, "reason": "truncated JPEG"},
        {"step": 3, "key": "page8", "sample": 8, "reason": "truncated JPEG"},
        {"step": 20, "key": "page9", "sample": 9, "reason": "truncated JPEG"},
    ]


@pytest.mark.parametrize(
    ("num_pages", "share", "allowed"), [(10, 0.0, 0.0), (100, 0.01, 4.0), (10_000, 0.01, 130.0), (5, 1.0, 11.7)]
)
def test_allowance(num_pages: int, share: float, allowed: float) -> None:
    assert allowed_failures(num_pages, share) == pytest.approx(allowed, abs=0.01)


def test_too_many_stop_the_run_and_are_named(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "quarantine.jsonl", max_bad_fraction=0.01)
    quarantine.add(map(failure, range(4)), step=0)
    quarantine.check(100)
    quarantine.add([failure(4)], step=1)
    with pytest.raises(TrainError, match=r"5 of 100 pages failed(.|\n)*page4: truncated JPEG"):
        quarantine.check(100)


def test_fraction_zero_stops_at_the_first(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "quarantine.jsonl", max_bad_fraction=0.0)
    quarantine.check(5)
    quarantine.add([failure(0)], step=0)
    with pytest.raises(TrainError, match="1 of 1000000"):
        quarantine.check(1_000_000)
