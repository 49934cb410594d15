"""The pages of a run by their loss: the worst ones with their keys, and means over pages, datasets and metadata.

Spans: runs, report, commands.
"""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.helpers.ledger import write_ledger
from wdstream.commands.app import app
from wdstream.commands.run_reports import step_range
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import ConfigError, TrainError
from wdstream.pipeline.planned import Plan
from wdstream.runs.layout import RunLayout
from wdstream.runs.loss_report import report_losses
from wdstream.runs.losses import LossRows, append_losses, join_rows

STEPS = 6


def loss_of(page: int, step: int) -> float:
    """Mean loss of a page: the later ones are harder, and everything falls by the step."""
    return 1.0 + page / 16 - step / 64


@pytest.fixture(scope="module")
def plan_and_run(
    tmp_path_factory: pytest.TempPathFactory, stream_config: Callable[..., Config], small_shards: Path
) -> tuple[Plan, Path]:
    """Two epochs and more of 30 pages, as two datasets; the losses in two blocks."""
    output = tmp_path_factory.mktemp("run")
    train = [{"path": str(small_shards), "name": name} for name in ("one", "two")]
    config = stream_config(train=train, epochs=3, tail="drop")
    write_ledger(output, config, [(1, 0, STEPS)], state_every=100)
    plan = plan_from_config(config)
    parts = [rows_of_step(plan, step) for step in range(STEPS)]
    for chosen in (parts[:4], parts[4:]):
        append_losses(RunLayout(output).losses, join_rows(chosen))
    return plan, output


def rows_of_step(plan: Plan, step: int) -> LossRows:
    numbers = [
        (pack.number, slot, sample, tokens)
        for pack in plan.step(step).packs
        for slot, (sample, tokens) in enumerate(zip(pack.samples, pack.supervised, strict=True))
    ]
    packs, slots, samples, tokens = np.array(numbers, dtype=np.int64).T
    means = np.array([loss_of(sample, step) for sample in samples.tolist()])
    return LossRows(
        step=np.full(len(packs), step),
        pack=packs,
        slot=slots.astype(np.int32),
        dataset=(samples >= 30).astype(np.int32),
        sample=samples,
        tokens=tokens.astype(np.int32),
        loss=(means * tokens).astype(np.float32),
    )


def trained(plan: Plan, steps: range) -> list[tuple[int, int, int]]:
    """(sample, step, tokens) of every document."""
    return [
        (sample, step, tokens)
        for step in steps
        for pack in plan.step(step).packs
        for sample, tokens in zip(pack.samples, pack.supervised, strict=True)
    ]


def test_the_worst_documents(plan_and_run: tuple[Plan, Path]) -> None:
    plan, output = plan_and_run
    report = report_losses(output, first=2, last=4, worst=5)
    documents = trained(plan, range(2, 5))
    worst = sorted(documents, key=lambda one: -loss_of(one[0], one[1]))[:5]
    assert report.num_rows == len(documents)
    assert [(line.name, line.step, line.tokens) for line in report.lines] == [
        (plan.key(sample), step, tokens) for sample, step, tokens in worst
    ]
    assert [line.loss for line in report.lines] == pytest.approx([loss_of(one[0], one[1]) for one in worst], rel=1e-5)
    assert {line.dataset for line in report.lines} == {"two"}
    least = sorted(tokens for _, _, tokens in documents)[-3]
    long = report_losses(output, first=2, last=4, worst=None, least=least).lines
    assert len(long) == sum(tokens >= least for _, _, tokens in documents)


def means(plan: Plan, group: Callable[[int], str]) -> dict[str, tuple[int, int, float]]:
    """Documents, tokens and mean loss by group."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for sample, step, tokens in trained(plan, range(STEPS)):
        entry = sums[group(sample)]
        entry[0], entry[1], entry[2] = entry[0] + 1, entry[1] + tokens, entry[2] + tokens * loss_of(sample, step)
    return {name: (int(count), int(tokens), loss / tokens) for name, (count, tokens, loss) in sums.items()}


@pytest.mark.parametrize("by", ["page", "dataset", "source"])
def test_means_over_groups(plan_and_run: tuple[Plan, Path], by: str) -> None:
    plan, output = plan_and_run
    report = report_losses(output, by=by, worst=None)

    def name(sample: int) -> str:
        return {
            "page": f"{plan.datasets[sample // 30].name} {plan.key(sample)}",
            "dataset": plan.datasets[sample // 30].name,
            "source": str(plan.shards[0].metadata["source"][np.array([sample % 30])][0]),
        }[by]

    wanted = means(plan, name)
    found = {f"{line.dataset} {line.name}".strip(): (line.pages, line.tokens, line.loss) for line in report.lines}
    assert found.keys() == wanted.keys()
    assert all(found[group] == pytest.approx(wanted[group], rel=1e-5) for group in wanted)
    losses = [line.loss for line in report.lines]
    assert losses == sorted(losses, reverse=True)


def test_command_prints_a_table_csv_and_json(plan_and_run: tuple[Plan, Path]) -> None:
    plan, output = plan_and_run
    run = CliRunner().invoke
    lines = run(app, ["run", "losses", str(output), "--by", "dataset", "--csv"]).output.splitlines()
    assert lines[0] == "name,pages,tokens,loss"
    assert [line.split(",")[0] for line in lines[1:]] == ["two", "one"]
    tree = json.loads(run(app, ["run", "losses", str(output), "--step", "3", "--worst", "2", "--json"]).output)
    assert [line["step"] for line in tree["lines"]] == [3, 3]
    assert tree["documents"] == len(trained(plan, range(3, 4)))
    table = run(app, ["run", "losses", str(output), "--worst", "1"]).output
    assert report_losses(output, worst=1).lines[0].name in table


def test_what_is_refused(plan_and_run: tuple[Plan, Path], run_folder: Path, tmp_path: Path) -> None:
    _, output = plan_and_run
    with pytest.raises(TrainError, match=r"pages\.blocks: no whole losses of these steps are in it"):
        report_losses(output, first=1000)
    shutil.copytree(output, tmp_path / "damaged")
    (tmp_path / "damaged" / "losses" / "pages.blocks").write_bytes(b"no block" * 100)
    with pytest.raises(TrainError, match=r"pages\.blocks: no whole losses of these steps are in it"):
        report_losses(tmp_path / "damaged")
    with pytest.raises(TrainError, match="they are in runs with"):
        report_losses(run_folder)
    with pytest.raises(ConfigError, match="--by sauce: no page has metadata of this name; there are dataset, page"):
        report_losses(output, by="sauce")


def test_ranges_of_steps() -> None:
    assert [step_range(text) for text in (None, "7", "7-9")] == [(0, None), (7, 7), (7, 9)]
    for text in ("9-7", "7-", "-7", "a", ""):
        with pytest.raises(ConfigError, match="expected a step"):
            step_range(text)
