"""trace: the pages of any step, recomputed from what a run left."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from wdstream.commands.app import app
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import PlanError, TrainError
from wdstream.plan.step_columns import PackedSamples
from wdstream.plan.steps import Steps
from wdstream.runs.layout import RunLayout
from wdstream.runs.losses import LossRows, append_losses
from wdstream.runs.record import read_run
from wdstream.runs.trace import PlannedPage, Trace, TracedPage, trace

MakeConfig = Callable[..., Config]


def text_of(report: Trace) -> str:
    file = io.StringIO()
    report.print(Console(file=file, width=200))
    return file.getvalue()


def planned_of(page: TracedPage) -> PlannedPage:
    assert page.planned is not None
    return page.planned


def test_the_pages_of_a_step_are_those_that_were_dealt(run_folder: Path) -> None:
    plan = plan_from_config(read_run(run_folder).config)
    for step, world_size in ((0, 2), (1, 2), (2, 4), (3, 4)):  # the second start trained steps 2 and 3 again
        planned = plan.step(step, world_size=world_size)
        found = trace(run_folder, step=step)
        assert found.world_size == world_size
        assert [(page.rank, page.pack, planned_of(page).sample) for page in found.pages] == [
            (rank, planned.packs[place].number, sample)
            for rank, places in enumerate(planned.assignment)
            for place in places
            for sample in planned.packs[place].samples
        ]
        one = trace(run_folder, step=step, rank=1)
        assert one.pages == tuple(page for page in found.pages if page.rank == 1)


def test_a_page_names_its_bytes(run_folder: Path, damaged_shards: Path) -> None:
    page = trace(run_folder, step=1).pages[0]
    planned = planned_of(page)
    with (damaged_shards / planned.shard).open("rb") as file:
        file.seek(planned.offset)
        data = file.read(planned.nbytes)
    assert data.startswith(page.key.encode())
    assert len(data) == planned.nbytes
    assert planned.dataset == "shards"


def test_failed_pages_are_marked_from_the_step_on_in_which_they_failed(run_folder: Path) -> None:
    steps = [trace(run_folder, step=step) for step in range(len(read_run(run_folder).steps))]
    pages = [planned_of(page) for step in steps for page in step.pages]
    marked = [page.sample for page in pages if page.is_quarantined]
    assert sorted(set(marked)) == [4, 17]
    assert marked == [page.sample for page in pages if page.sample in (4, 17)]
    assert "quarantined" in text_of(
        next(step for step in steps if any(planned_of(p).is_quarantined for p in step.pages))
    )


def test_recomputing_is_quick(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It plans from the nearest state that was written, here after every second step, and not from the beginning."""
    made: list[int] = []
    make = Steps.advance

    def counted(self: Steps) -> PackedSamples | None:
        made.append(self.number)
        return make(self)

    monkeypatch.setattr(Steps, "advance", counted)
    trace(run_folder, step=5)
    assert made[-1] == 5 and len(made) <= 2


def test_wrong_folders_steps_and_ranks(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"not the folder of a training run: there is no run\.json in it"):
        trace(tmp_path, step=0)
    checkpoint = run_folder / "checkpoints" / "step-00000040"
    with pytest.raises(TrainError, match=rf"such folder; give the run, {run_folder}, and --step 40 where the command"):
        trace(checkpoint, step=0)
    with pytest.raises(PlanError, match="step 10000: the run has"):
        trace(run_folder, step=10_000)
    with pytest.raises(PlanError, match="rank 2: step 0 was trained on 2 ranks"):
        trace(run_folder, step=0, rank=2)


def test_a_step_as_json(run_folder: Path) -> None:
    found = CliRunner().invoke(app, ["trace", str(run_folder), "--step", "0", "--json"])
    step = json.loads(found.output)
    plan = plan_from_config(read_run(run_folder).config).step(0, world_size=2)
    samples = [s for places in plan.assignment for place in places for s in plan.packs[place].samples]
    assert (step["step"], step["world_size"], step["is_trained"]) == (0, 2, True)
    assert [page["sample"] for page in step["pages"]] == samples
    assert step["pages"][0]["loss"] is None and step["pages"][0]["shard"].endswith(".tar")


def test_losses_that_a_run_recorded_are_with_their_pages(run_folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(run_folder, tmp_path / "run"))
    first = planned_of(trace(own, step=1).pages[0]), trace(own, step=1).pages[0]
    ints = {name: np.array([value]) for name, value in (("dataset", 0), ("sample", first[0].sample), ("tokens", 4))}
    place = {"step": np.array([1]), "pack": np.array([first[1].pack]), "slot": np.array([first[1].slot])}
    append_losses(RunLayout(own).losses, LossRows(**place, **ints, loss=np.array([6.0], dtype=np.float32)))
    pages = trace(own, step=1).pages
    assert [page.loss for page in pages] == [1.5, *[None] * (len(pages) - 1)]
    assert "1.5000" in text_of(trace(own, step=1))


def test_a_step_that_was_not_trained_yet_says_so(run_folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(run_folder, tmp_path / "run"))
    ledger = RunLayout(own).steps
    ledger.write_bytes(b"".join(line for line in ledger.read_bytes().splitlines(True) if b'"step": 3' not in line))
    found = trace(own, step=3)
    assert not found.is_trained
    assert found.notes[-1] == "step 3 was not trained yet: these are the pages that it will have"


def test_keys_are_printed_as_they_are() -> None:
    """Brackets are not markup, and colons not emoji."""
    key = "a[red]b:100:c"
    planned = PlannedPage(
        sample=7,
        dataset="d[e]",
        shard="s.tar",
        offset=5,
        nbytes=6,
        tokens=8,
        patches=9,
        is_quarantined=True,
    )
    page = TracedPage(rank=0, pack=3, slot=1, key=key, planned=planned)
    shown = text_of(Trace(step=2, world_size=4, pages=(page,)))
    assert all(text in shown for text in (key, "d[e]/s.tar", "5+6", "quarantined"))
    listed = text_of(Trace(step=2, world_size=4, pages=(TracedPage(rank=0, pack=3, slot=1, key=key),)))
    assert key in listed
    assert "shard" not in listed
    assert "step 2 on 4 ranks: 0 pages" in text_of(Trace(step=2, world_size=4, pages=()))
