import io
import json

import pytest
from rich.console import Console

from tests.helpers.plan_data import pages, planner
from wdstream.errors import PlanError
from wdstream.plan.protocols import Dataset


def test_figures_of_an_epoch() -> None:
    plan = planner(pages(200, text=(0, 130)), epochs=1, tail="pad")
    summary = plan.summary(world_size=2)
    packs = [pack for step in plan.steps() for pack in step.packs if pack.samples]
    rejects = [reason for _, reason in plan.rejects()]
    assert summary.samples == 200
    assert summary.pages == 200 - len(rejects) == sum(len(pack.samples) for pack in packs)
    assert summary.rejects == {reason: rejects.count(reason) for reason in ("empty text", "too many tokens")}
    assert summary.packs == len(packs)
    assert summary.steps == summary.total_steps == plan.total_steps()
    assert summary.tokens == sum(sum(pack.tokens) for pack in packs)
    assert summary.patches == sum(sum(pack.patches) for pack in packs)
    assert summary.supervised == sum(sum(pack.supervised) for pack in packs)
    assert summary.fill_tokens == summary.tokens / (len(packs) * 128)
    assert summary.fill_patches == summary.patches / (len(packs) * 256)
    assert 1 <= summary.imbalance_p50 <= summary.imbalance_p99 < 2
    assert json.loads(json.dumps(summary.as_dict()))["datasets"][0]["pages"] == summary.pages


@pytest.mark.parametrize("tail", ["wrap", "drop", "pad"])
@pytest.mark.parametrize("epochs", [1, 3])
def test_steps_of_the_run_are_those_of_a_dry_run_of_its_own(tail: str, epochs: int) -> None:
    for count in (200, 203, 5):
        settings = {"epochs": epochs, "tail": tail}
        plan, other = planner(pages(count), **settings), planner(pages(count), **settings)
        assert plan.summary().total_steps == other.total_steps()
        later = (other.total_steps() or 0) - 1
        if later >= 0:
            assert plan.step(later) == other.step(later)  # from a state that the summary met


@pytest.mark.parametrize("tail", ["wrap", "drop", "pad"])
def test_states_after_a_summary_are_those_of_a_plan_without_one(tail: str) -> None:
    """Of every step, at the states that the summary kept and between them, over the ends of passes."""
    settings = {"epochs": 3, "tail": tail, "global_batch_size": 2}
    plan = planner(pages(203), **settings)
    total = plan.summary().total_steps
    assert total is not None
    assert total > 48  # there are states to begin at
    fresh = planner(pages(203), **settings).steps()
    for step in range(total):
        next(fresh)
        assert plan.state_after(step) == fresh.state()


def test_a_run_without_a_sample_has_no_summary() -> None:
    with pytest.raises(PlanError, match="no sample can be planned"):
        planner(pages(20, text=(0, 0)), epochs=2).summary()


def test_the_achieved_mix() -> None:
    plan = planner(
        Dataset(columns=pages(60, seed=0), name="books", weight=2),
        Dataset(columns=pages(60, seed=1), name="slides", weight=1),
    )
    summary = plan.summary()
    assert [part.name for part in summary.datasets] == ["books", "slides"]
    assert abs(summary.datasets[0].share_of_pages - 2 / 3) < 0.05
    assert summary.total_steps is None
    text = io.StringIO()
    summary.print(Console(file=text, width=120))
    assert "books" in text.getvalue()
    assert "slowest of 1 ranks" in text.getvalue()


def test_downscaled_pages_are_counted() -> None:
    plan = planner(pages(50, side=900), overlength="downscale", epochs=1)
    summary = plan.summary()
    assert summary.downscaled > 0
    scales = [scale for step in plan.steps() for pack in step.packs for scale in pack.scales]
    assert sum(scale != 64 for scale in scales[: summary.pages]) >= summary.downscaled * 0.9
