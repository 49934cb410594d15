"""trace --page: the steps of a run in which a page was trained on, by key or by the name of its raw file."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command import run
from wdstream.config.build import plan_from_config
from wdstream.errors import PlanError
from wdstream.runs.layout import read_listed
from wdstream.runs.page_trace import trace_page
from wdstream.runs.record import read_run
from wdstream.runs.trace import trace


def test_the_steps_of_a_page_are_those_whose_trace_has_it(run_folder: Path) -> None:
    folder = read_run(run_folder)
    steps = [line["step"] for line in folder.steps]
    traced = [(step, page) for step in range(max(steps) + 1) for page in trace(run_folder, step=step).pages]
    key = traced[0][1].key
    wanted = [(step, page.pack, page.slot) for step, page in traced if page.key == key]
    found = trace_page(run_folder, key)
    assert [(one.step, one.pack, one.slot) for one in found.occurrences] == wanted
    shards = plan_from_config(folder.config).shards[0]
    row = shards.find(key)
    assert row is not None
    (source,) = shards.metadata["source"][np.array([row])].tolist()
    assert [(one.step, one.pack, one.slot) for one in trace_page(run_folder, source).occurrences] == wanted
    done = run("trace", run_folder, "--page", source)
    assert f"{key}: step {wanted[0][0]}, pack {wanted[0][1]}, slot {wanted[0][2]}" in done.stdout


def test_what_the_quarantine_of_the_run_says(run_folder: Path) -> None:
    for line in read_listed(run_folder / "quarantine.jsonl"):
        remark = f"{line['key']}: step {line['step']}: failed, and was blank from then on: {line['reason']} "
        assert f"{remark}(quarantine.jsonl)" in trace_page(run_folder, line["key"]).remarks


def test_what_is_asked_for_is_one_thing(run_folder: Path) -> None:
    for options in ((), ("--step", "0", "--page", "x")):
        done = run("trace", run_folder, *options)
        assert (done.returncode, "give either --step N" in done.stderr) == (2, True)
    with pytest.raises(PlanError, match="no dataset has a page with the key 'nobody'"):
        trace_page(run_folder, "nobody")
