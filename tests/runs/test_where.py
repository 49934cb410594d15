"""where: the steps of any page, by a dry run; parts of split pages are in tests/pipeline/test_split_pages.py."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from wdstream.commands.app import app
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import PlanError
from wdstream.runs.layout import RunLayout
from wdstream.runs.record import read_run
from wdstream.runs.trace import trace
from wdstream.runs.where import Occurrence, PageSteps, where

MakeConfig = Callable[..., Config]


def text_of(report: PageSteps) -> str:
    file = io.StringIO()
    report.print(Console(file=file, width=30))
    return file.getvalue()


def test_where_a_page_comes(run_folder: Path) -> None:
    config = read_run(run_folder).config
    page = trace(run_folder, step=3).pages[0]
    found = where(config, page.key)
    assert (3, page.pack, page.slot) in [(one.step, one.pack, one.slot) for one in found.occurrences]
    assert len(found.occurrences) in (3, 4)  # once an epoch, and the last step is dropped
    assert f"{page.key}: step 3, pack {page.pack}, slot {page.slot}" in text_of(found)
    assert where(config, page.key, max_steps=1).steps == 1
    with pytest.raises(PlanError, match="no dataset has a page with the key 'nobody'; looked in 'shards'"):
        where(config, "nobody")


def test_commands_take_the_folder_of_a_run(run_folder: Path) -> None:
    """With the settings of its last start, whatever became of the YAML file."""
    failed = json.loads(next(iter(RunLayout(run_folder).quarantine.read_text().splitlines())))
    found = CliRunner().invoke(app, ["where", str(run_folder), failed["key"], "--json"])
    assert [one["step"] for one in json.loads(found.output)["occurrences"]]
    assert any("failed, and was blank from then on" in one for one in json.loads(found.output)["remarks"])
    for command in ("show", "digest", "plan"):
        result = CliRunner().invoke(app, [command, str(run_folder)])
        assert result.exit_code == 0, result.output
        refused = CliRunner().invoke(app, [command, str(run_folder), "--set", "data.seed=1"])
        assert "is a run and has its settings" in str(refused.exception)


def test_where_takes_names_of_raw_files(stream_config: MakeConfig, small_shards: Path, tmp_path: Path) -> None:
    """All pages of the file are looked for; those that the plan leaves out, and those in quarantine, are named."""
    small_shards = Path(shutil.copytree(small_shards, tmp_path / "shards"))
    config = stream_config(small_shards)
    shards = plan_from_config(config).shards[0]
    source = shards.metadata["source"].texts()[0]
    keys = {shards.key(int(row)) for row in shards.metadata["source"].rows_of([source])}
    found = where(config, source)
    assert {one.name for one in found.occurrences} == keys
    assert text_of(found).startswith(f"{source}: {len(keys)} page")
    (small_shards / "quarantine.jsonl").write_text('{"file": "scans/x.jpg", "page": null, "reason": "no text"}\n')
    lost = text_of(where(config, "x.jpg"))
    assert lost == f"scans/x.jpg is in quarantine: no text; see {small_shards}/quarantine.jsonl\n"
    with pytest.raises(PlanError, match=f"no dataset has a page with the key 'z{source}'.*; nearest names: .*{source}"):
        where(config, f"z{source}")


def test_where_says_why_a_page_never_comes(stream_config: MakeConfig, small_shards: Path) -> None:
    config = stream_config(small_shards, sequence_length=80)
    plan = plan_from_config(config)
    sample, _ = next(plan.rejects())
    found = where(config, plan.key(sample))
    assert (found.occurrences, found.reason) == ((), "too many tokens")
    assert "left out of the plan, too many tokens" in text_of(found)
    endless = stream_config(small_shards, epochs=None)
    with pytest.raises(PlanError, match="the run has no end"):
        where(endless, plan.key(sample))


def test_names_are_printed_as_they_are() -> None:
    """Brackets are not markup, and a line stays one line however narrow the terminal."""
    name = "scans/a[bold]b and a name that is longer part 2/3"
    found = Occurrence(name=name, step=4, pack=17, slot=1)
    report = PageSteps(key=name, steps=9, occurrences=(found,), reason=None)
    assert text_of(report) == f"{name}: step 4, pack 17, slot 1\n"
    assert text_of(replace(report, occurrences=())) == f"{name}: not within the first 9 steps\n"
    assert text_of(replace(report, reason="filtered")) == f"{name}: left out of the plan, filtered\n"
