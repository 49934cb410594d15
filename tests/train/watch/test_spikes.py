"""A spike of the loss is found by medians, reported once in a while, and again the same way after a stop."""

import json
from pathlib import Path

import pytest

from tests.helpers.training import Workplace
from wdstream.runs.layout import RunLayout
from wdstream.storage.json_lines import read_lines, write_lines
from wdstream.train.watch.spikes import PAUSE, SpikeWatch, last_spike, write_spike

STEADY = [2.0 + 0.1 * (step % 2) for step in range(40)]


def test_score_is_in_deviations_above_the_median() -> None:
    spike = SpikeWatch(8.0, STEADY).look(41, 3.05)
    assert spike is not None
    assert (spike.step, spike.loss) == (41, 3.05)
    deviation = 1.4826 * 0.05  # median 2.05, and every loss 0.05 from it
    assert (spike.median, spike.deviation, spike.score) == pytest.approx((2.05, deviation, 1 / deviation))
    assert SpikeWatch(8.0, STEADY).look(41, 2.05 + 7.9 * deviation) is None


def test_few_steps_low_losses_and_equal_ones_are_no_spike() -> None:
    watch = SpikeWatch(8.0)
    assert [watch.look(step, loss) for step, loss in enumerate([*STEADY[:19], 9.0, -9.0])] == [None] * 21
    same = SpikeWatch(8.0, [2.0] * 30)
    assert same.look(30, 2.001) is None
    assert same.look(31, 2.1) is not None
    assert SpikeWatch(8.0, [0.0] * 30).look(30, 1.0) is None


def test_a_report_is_followed_by_a_pause() -> None:
    watch = SpikeWatch(8.0, STEADY)
    found = [watch.look(step, 9.0) is not None for step in range(40, 40 + PAUSE + 2)]
    assert found == [True, *[False] * PAUSE, True]
    assert SpikeWatch(8.0, STEADY, last=30).look(40, 9.0) is None


def test_report_names_the_worst_pages(tmp_path: Path) -> None:
    files = RunLayout(tmp_path)
    assert last_spike(files) is None
    spike = SpikeWatch(8.0, STEADY).look(40, 9.0)
    assert spike is not None
    pages = [{"key": f"page-{number}", "loss": 9.0 - number} for number in range(60)]
    line = write_spike(files, spike, pages)
    assert line.startswith("step 40: the loss is 9.0000, ")
    assert "worst page page-0; its pages are in " in line
    report = json.loads((tmp_path / "spikes" / "step-00000040.json").read_text())
    assert (report["step"], report["loss"], report["num_pages"]) == (40, 9.0, 60)
    assert [page["key"] for page in report["pages"]] == [f"page-{number}" for number in range(50)]
    assert last_spike(files) == 40
    files.cut_back(next_step=41)
    assert last_spike(files) == 40
    files.cut_back(next_step=40)
    assert last_spike(files) is None


def test_a_run_reports_and_continues_with_its_history(workplace: Workplace, tmp_path: Path) -> None:
    """The losses of the steps before are made half as large, which makes a spike of the first one after them."""
    settings = (
        *("train.lr=0.0001", "train.max_steps=22", "train.checkpoint_every=20", "train.spike_threshold=8"),
        *("train.adapter={kind: lora, r: 4}", "data.eval=[]", "data.global_batch_size=1"),
        *("data.sequence_length=512", "train.record_losses=true"),
    )
    output = tmp_path / "run"
    assert workplace.train(output, *settings, "train.stop_after=20") == 0
    lines = list(read_lines(output / "steps.jsonl"))
    assert [line["loss"] for line in lines] == [line["loss"] for line in read_lines(output / "metrics.jsonl")]
    write_lines(output / "steps.jsonl", [{**line, "loss": line["loss"] / 2} for line in lines])
    assert workplace.train(output, *settings) == 0
    assert [path.name for path in output.glob("spikes/*")] == ["step-00000020.json"]
    pages = json.loads((output / "spikes" / "step-00000020.json").read_text())["pages"]
    assert [page["loss"] for page in pages] == sorted((page["loss"] for page in pages), reverse=True)
    assert pages[0].keys() == {"pack", "slot", "key", "dataset", "tokens", "loss"}
    assert {page["pack"] for page in pages} == {20}
