"""A run continues after a power cut tore its growing files, and what a checkpoint counts as done was synced before it.

Spans: train, runs, storage.
"""

import os
from pathlib import Path

import pytest

from tests.helpers.training import Workplace
from wdstream.runs.audit import audit
from wdstream.runs.layout import RunLayout
from wdstream.runs.trace import trace
from wdstream.storage.json_lines import read_lines

STEPS = ("train.max_steps=4", "train.checkpoint_every=2")


def losses(output: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in read_lines(output / "metrics.jsonl")]


def test_a_run_continues_from_torn_files(workplace: Workplace, tmp_path: Path) -> None:
    straight, torn = tmp_path / "straight", tmp_path / "torn"
    assert workplace.train(straight, *STEPS) == 0
    assert workplace.train(torn, *STEPS, "train.stop_after=2") == 0
    files = RunLayout(torn)
    for path, end in (
        (files.steps, b"\0" * 4096),
        (files.states, b'{"step": 2, "stream": {"ep'),
        (files.metrics, b'{"step": 2, "loss": 9' + b"\0" * 300 + b"\n"),
        (files.quarantine, b"\0"),
    ):
        with path.open("ab") as file:
            file.write(end)
    assert [page.key for page in trace(torn, step=1).pages] == [page.key for page in trace(straight, step=1).pages]
    assert workplace.train(torn, *STEPS) == 0
    assert losses(torn) == losses(straight)
    assert files.steps.read_bytes() == RunLayout(straight).steps.read_bytes()
    assert files.quarantine.read_bytes() == b""
    assert audit(torn).is_clean


def test_lines_that_a_disk_lost_are_named(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    assert workplace.train(output, *STEPS, "train.stop_after=2") == 0
    steps = output / "steps.jsonl"
    whole = steps.read_bytes()
    steps.write_bytes(whole[: len(whole) - 10] + b"\0" * 10)
    capfd.readouterr()
    assert workplace.train(output, *STEPS) == 0
    said = " ".join("".join(capfd.readouterr()).split())
    assert "steps.jsonl: the lines of steps 1 to 1 are lost, its end was damaged" in said


def test_damage_in_the_middle_stops_a_resume(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    assert workplace.train(output, *STEPS, "train.stop_after=2") == 0
    steps = output / "steps.jsonl"
    first, second = steps.read_bytes().splitlines(keepends=True)
    steps.write_bytes(b"\0" * (len(first) - 1) + b"\n" + second)
    capfd.readouterr()
    assert workplace.train(output, *STEPS) == 1
    said = " ".join(capfd.readouterr().err.split())
    assert "steps.jsonl: line 1 is damaged, and line 2 after it is not" in said and "Traceback" not in said


def test_the_ledger_is_synced_before_its_checkpoint(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sync of the process, with the size that the file had by then."""
    synced: list[tuple[str, int]] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        sync(descriptor)
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), os.fstat(descriptor).st_size))

    monkeypatch.setattr(os, "fsync", note)
    output = tmp_path / "run"
    assert workplace.train(output, *STEPS) == 0
    lines = (output / "steps.jsonl").read_bytes().splitlines(keepends=True)
    names = [name for name, _ in synced]
    for step in (2, 4):
        sealed = names.index(str(output / "checkpoints" / f"step-{step:08d}.tmp"))
        for name, size in (("steps.jsonl", sum(map(len, lines[:step]))), ("states.jsonl", 1), ("metrics.jsonl", 1)):
            path = str(output / name)
            assert max(found for place, found in synced[:sealed] if place == path) >= size
