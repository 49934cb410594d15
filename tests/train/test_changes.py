"""What ranks and starts must agree on: one plan on all ranks; data that changed are refused, or begin a new epoch.

Spans: train, plan, runs.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.processes import finish, start_world
from tests.helpers.training import Workplace, arguments
from wdstream.config.build import plan_from_config
from wdstream.errors import TrainError
from wdstream.make_shards import MakeShardsOptions, index_folder, make_shards
from wdstream.plan.deal import step_digest
from wdstream.runs.audit import audit
from wdstream.runs.trace import trace
from wdstream.storage.json_lines import read_lines
from wdstream.testing import make_pages
from wdstream.train import stream

WORKER = str(ROOT / "tests/workers/other_plan.py")


def test_two_ranks_with_different_plans_stop_with_both_values(workplace: Workplace, tmp_path: Path) -> None:
    results = finish(start_world(WORKER, arguments(workplace, tmp_path / "run", "data.eval=[]"), size=2))
    assert [status for status, _ in results] == [1, 1]
    plans = [plan_from_config(workplace.config(tmp_path, f"data.seed={seed}")) for seed in (0, 1)]
    ours, theirs = (f"{step_digest(plan.step(0)):016x}" for plan in plans)
    for _, output in results:
        assert f"step 0: rank 0 plans {ours} and rank 1 plans {theirs}: they read different shards" in output
    assert not list(read_lines(tmp_path / "run" / "steps.jsonl"))


@pytest.fixture
def growing(workplace: Workplace, tmp_path: Path) -> Path:
    """Shards of 24 pages; `append` adds one of 6."""
    folder = tmp_path / "shards"
    raw = make_pages(tmp_path / "raw", num_pages=24, seed=0)
    make_shards(raw, folder, options=MakeShardsOptions(tokenizer=workplace.root / "model", workers=1))
    return folder


def append(workplace: Workplace, shards: Path) -> None:
    raw = shards.parent / "raw-more"
    make_pages(raw, num_pages=6, seed=9)
    for path in sorted(raw.iterdir()):
        path.rename(path.with_name(f"more-{path.name}"))
    more = shards.parent / "more"
    make_shards(raw, more, options=MakeShardsOptions(tokenizer=workplace.root / "model", workers=1))
    (tar,) = more.glob("*.tar")
    (shards / "zz-more.tar").write_bytes(tar.read_bytes())
    index_folder(shards, workplace.root / "model", workers=1)


def test_an_appended_shard_is_refused_or_begins_a_new_epoch(
    workplace: Workplace, growing: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = (f"data.train=[{{path: {growing}}}]", "data.epochs=3", "data.tail=pad", "data.eval=[]")
    more = ("train.max_steps=null", "train.checkpoint_every=2")
    output = tmp_path / "run"
    assert workplace.train(output, *settings, *more, "train.stop_after=4") == 0
    append(workplace, growing)
    capfd.readouterr()
    assert workplace.train(output, *settings, *more) == 1
    refused = capfd.readouterr().err
    assert re.search("index: expected .* the data: a shard was added", refused)
    assert "dataset shards.pages: 24 -> 30\ndataset shards.shards: 1 -> 2\n" in refused
    allowed = (*settings, *more, "data.on_change=new_epoch")
    assert workplace.train(output, *allowed, "train.stop_after=2") == 0
    assert "dataset shards.pages: 24 -> 30" in capfd.readouterr().out
    assert workplace.train(output, *allowed) == 0  # and once more, when nothing differs from its checkpoint
    plan = plan_from_config(workplace.config(output, *allowed))
    state = next(line["stream"] for line in read_lines(output / "states.jsonl") if line["step"] == 5)
    steps = list(plan.steps(state))
    total = plan.total_steps(state)
    assert total != plan.total_steps()
    assert [line["step"] for line in read_lines(output / "steps.jsonl")] == list(range(total or 0))
    seen = Counter(sample for step in steps for pack in step.packs for sample in pack.samples)
    assert set(seen) == set(range(30))
    assert (output / "final").exists()
    assert len(trace(output, step=7).pages) == sum(len(pack.samples) for pack in steps[1].packs)
    with pytest.raises(TrainError, match=r"step 3: .* gives other pages .* than were trained"):
        trace(output, step=3)


def test_states_are_written_between_checkpoints_and_are_the_plans(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "STATE_EVERY_PAGES", 6)
    output = tmp_path / "run"
    assert workplace.train(output, "data.eval=[]", "train.checkpoint_every=100") == 0
    pages = [line["pages"] for line in read_lines(output / "steps.jsonl")]
    states = {line["step"] for line in read_lines(output / "states.jsonl")}
    due, since = {len(pages) - 1}, 0
    for step, count in enumerate(pages):
        since += count
        if since >= 6:
            due.add(step)
            since = 0
    assert states == due
    assert len(due) >= 4
    report = audit(output)
    assert report.is_clean, report.differences
    assert report.states == len(due)
