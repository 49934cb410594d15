"""audit: a run with a kill, a changed world and failed pages is proven clean; every fault in its ledger is named."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from wdstream.config.build import plan_from_config
from wdstream.pipeline.planned import Plan
from wdstream.plan.deal import pages_digest
from wdstream.runs.audit import AuditReport, audit
from wdstream.runs.record import read_run

Ledger = list[dict[str, Any]]
Keys = dict[int, list[str]]


@pytest.fixture
def own_run(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


@pytest.fixture(scope="module")
def plan(run_folder: Path) -> Plan:
    return plan_from_config(read_run(run_folder).config)


def doctor(run: Path, name: str, change: Callable[[Ledger], Ledger | None]) -> None:
    path = run / name
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    changed = change(lines) or lines
    path.write_text("".join(json.dumps(line) + "\n" for line in changed))


def keys_of(plan: Plan, step: int) -> Keys:
    return {pack.number: [plan.key(sample) for sample in pack.samples] for pack in plan.step(step).packs}


def set_pages(run: Path, pages: dict[int, Keys]) -> None:
    """Let the ledger say that these pages were trained."""

    def change(lines: Ledger) -> None:
        for line in lines:
            if line["step"] in pages:
                line["digest"] = pages_digest(pages[line["step"]].items())

    doctor(run, "steps.jsonl", change)


def test_a_run_with_a_kill_and_changed_worlds_is_clean(run_folder: Path, plan: Plan) -> None:
    report = audit(run_folder)
    assert report.differences == []
    assert report.is_clean
    assert report.steps == plan.total_steps()
    assert report.states >= 2
    assert report.quarantined >= 3  # two pages, over nearly two epochs
    steps = [plan.step(number) for number in range(report.steps)]
    assert report.planned == sum(len(pack.samples) for step in steps for pack in step.packs)
    assert report.trained == report.planned - report.quarantined
    file = io.StringIO()
    report.print(Console(file=file, width=200))
    assert (
        f"{report.planned} pages planned - {report.quarantined} quarantined = {report.trained} trained"
        in file.getvalue()
    )


def test_a_dropped_page_is_named(own_run: Path, plan: Plan) -> None:
    pages = keys_of(plan, 2)
    pack, keys = next((number, keys) for number, keys in pages.items() if len(keys) > 1)
    dropped = keys.pop(1)
    set_pages(own_run, {2: pages})
    assert f"step 2: page '{dropped}' of pack {pack} was dropped" in audit(own_run).differences[0]


def test_a_doubled_page_is_named(own_run: Path, plan: Plan) -> None:
    pages = keys_of(plan, 3)
    first, last = min(pages), max(pages)
    pages[last].insert(1, pages[first][0])
    set_pages(own_run, {3: pages})
    message = f"step 3: page '{pages[first][0]}' of pack {first} came twice, again in pack {last}"
    assert message in audit(own_run).differences[0]


def test_swapped_pages_are_named_inside_a_step_and_between_steps(own_run: Path, plan: Plan) -> None:
    pages = keys_of(plan, 1)
    first, last = min(pages), max(pages)
    pages[first][0], pages[last][0] = pages[last][0], pages[first][0]
    set_pages(own_run, {1: pages})
    [difference] = audit(own_run).differences
    assert f"pages '{pages[last][0]}' of pack {first} and '{pages[first][0]}' of pack {last} were swapped" in difference
    one, two = keys_of(plan, 1), keys_of(plan, 4)
    mine, theirs = one[min(one)][0], two[max(two)][-1]
    one[min(one)][0], two[max(two)][-1] = theirs, mine
    set_pages(own_run, {1: one, 4: two})
    differences = audit(own_run).differences
    assert [text.split(":")[0] for text in differences] == ["step 1", "step 4"]
    assert all(f"page '{mine}' of step 1 and page '{theirs}' of step 4 were swapped" in text for text in differences)


def test_steps_in_the_wrong_place_and_unknown_pages(own_run: Path, plan: Plan) -> None:
    set_pages(own_run, {0: keys_of(plan, 2), 1: {4: ["nobody"]}})
    first, second = audit(own_run).differences
    assert "step 0: trained the pages of step 2" in first
    assert "step 1: the pages differ, and not by one that was dropped, doubled or swapped" in second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [line for line in lines if line["step"] != 2], "step 2: missing from the ledger"),
        (lambda lines: [*lines, lines[3]], "step 3: 2 times in the ledger"),
        (lambda lines: lines[1].update(pages=3), "step 1: pages expected"),
        (lambda lines: lines[1].update(supervised=3), "step 1: supervised expected"),
        (lambda lines: lines[0].update(failed=9), "step 0: failed expected"),
        (lambda lines: [*lines, {**lines[-1], "step": len(lines)}], "in the ledger, but the run ends before it"),
    ],
)
def test_every_line_counts(own_run: Path, change: Callable[[Ledger], Ledger | None], message: str) -> None:
    doctor(own_run, "steps.jsonl", change)
    report = audit(own_run)
    assert not report.is_clean
    assert any(message in difference for difference in report.differences)


def test_states_and_quarantine_are_compared_too(own_run: Path) -> None:
    doctor(own_run, "states.jsonl", lambda lines: lines[0]["stream"]["pool"].reverse())
    doctor(own_run, "quarantine.jsonl", lambda lines: lines[:1])
    differences = audit(own_run).differences
    assert any(text.startswith("state before step 2: pool expected") for text in differences)
    assert any("failed expected 0, found 1" in text for text in differences)


def test_another_plan_is_said_first(own_run: Path) -> None:
    record = json.loads((own_run / "run.json").read_text())
    record["config"]["data"]["seed"] = 9
    (own_run / "run.json").write_text(json.dumps(record))
    report = audit(own_run)
    assert [text.split(" is ")[0] for text in report.differences] == ["plan: the fingerprint of order"]


def test_differences_are_printed_as_they_are() -> None:
    report = AuditReport(
        steps=1, planned=2, parts=0, quarantined=0, states=0, differences=["step 0: page 'a[b]:100:c' was dropped"]
    )
    file = io.StringIO()
    report.print(Console(file=file, width=200))
    assert file.getvalue().startswith("differs step 0: page 'a[b]:100:c' was dropped\n")
