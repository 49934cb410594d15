"""A job that is killed during its survey continues it, and has begun the first shard by then."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.jobs import Tree
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.make_shards.jobs import MakeShardsProgress
from wdstream.make_shards.process import Loss
from wdstream.make_shards.record import STATE_FOLDER
from wdstream.make_shards.recovery import Recovery
from wdstream.make_shards.survey.survey import _FilesDone, survey_jobs
from wdstream.make_shards.workers import JobDone, PagesStarted
from wdstream.raw.source import RawFile

NUM_FILES = 600
PROGRAM = """
import sys, time
from pathlib import Path
from wdstream.make_shards import MakeShardsOptions, make_shards
def show(state):
    if state.stage == "counting pages" and state.pages_done >= int(sys.argv[3]):
        print("waiting", flush=True)
        time.sleep(600)  # until it is killed
options = MakeShardsOptions(workers=1, pages_per_shard=100)
make_shards(Path(sys.argv[1]), Path(sys.argv[2]), options=options, on_progress=show)
"""


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """TIFFs of a page, which are opened to be counted."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(NUM_FILES):
        Image.new("L", (20 + number % 7, 20), number % 256).save(raw / f"{number:03d}.tif")
        (raw / f"{number:03d}.txt").write_text(f"Page {number}")
    return raw


def test_killed_survey_continues(raw: Path, tmp_path: Path, tree_of: Callable[[Path], Tree]) -> None:
    options = MakeShardsOptions(workers=1, pages_per_shard=100)
    make_shards(raw, tmp_path / "undisturbed", options=options)
    out = tmp_path / "out"
    command = [sys.executable, "-c", PROGRAM, str(raw), str(out), "250"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        os.killpg(process.pid, signal.SIGKILL)
    assert (out / "shard-000000.tar").is_file(), "the first shard is made during the survey"
    assert not (out / STATE_FOLDER / "survey.jsonl").exists()
    counted: list[tuple[int, int]] = []

    def note(state: MakeShardsProgress) -> None:
        if state.stage == "counting pages":
            counted.append((state.pages_done, state.pages_total))

    report = make_shards(raw, out, options=options, on_progress=note)
    assert 0 < max(total for _done, total in counted) <= NUM_FILES - 192, "three jobs of 64 files were noted"
    assert report.pages_made == NUM_FILES - 100
    assert tree_of(out) == tree_of(tmp_path / "undisturbed")


@pytest.mark.slow
def test_input_that_changes_after_a_kill_makes_early_shards_again(
    raw: Path, tmp_path: Path, tree_of: Callable[[Path], Tree]
) -> None:
    out, options = tmp_path / "out", MakeShardsOptions(workers=1, pages_per_shard=100)
    command = [sys.executable, "-c", PROGRAM, str(raw), str(out), "250"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        os.killpg(process.pid, signal.SIGKILL)
    (raw / "002.txt").write_text("Page X")  # of as many bytes
    make_shards(raw, out, options=options)
    make_shards(raw, tmp_path / "undisturbed", options=options)
    assert (out / "shard-000000.tar").read_bytes() == (tmp_path / "undisturbed/shard-000000.tar").read_bytes()
    assert b"Page X" in (out / "shard-000000.tar").read_bytes()


def test_files_that_are_opened_again_after_a_loss_are_not_taken_back() -> None:
    files = [RawFile(path=f"{n}.pdf", kind="pdf", stem=f"{n}", num_bytes=9) for n in range(64)]
    (job,) = survey_jobs(files)
    alone, rest = Recovery().after_loss(job, (39, None), Loss(cause="killed the process (SIGSEGV)"))
    counted: list[tuple[int, int]] = []
    progress = _FilesDone(64, lambda done, total: counted.append((done, total)))
    for event in (
        PagesStarted(job=job, count=40),
        PagesStarted(job=rest, count=20),
        PagesStarted(job=alone, count=1),
        JobDone(job=alone, files=()),
        PagesStarted(job=rest, count=43),
        JobDone(job=rest, files=()),
    ):
        progress.add(event)
    assert counted == [(0, 64), (40, 64), (60, 64), (60, 64), (60, 64), (64, 64), (64, 64)]
