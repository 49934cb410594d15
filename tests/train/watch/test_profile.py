"""Traces of chosen steps, by setting or on request; the run is the same bits with them."""

import gzip
import json
from pathlib import Path

import pytest

from tests.helpers.training import Workplace
from wdstream.config.watching import ProfileConfig
from wdstream.errors import ConfigError
from wdstream.runs.layout import RunLayout
from wdstream.storage.json_lines import read_lines
from wdstream.train.watch.profile import Profiler, check_profile

PLAIN = ("train.adapter={kind: lora, r: 4, dropout: 0.2}", "train.max_steps=3", "train.lr=0.01", "data.eval=[]")


def names_in(path: Path) -> set[str]:
    """Of what happened in a trace."""
    with gzip.open(path) as file:
        return {event.get("name", "") for event in json.load(file)["traceEvents"]}


def result(output: Path) -> tuple[list[float], bytes]:
    losses = [line["loss"] for line in read_lines(output / "metrics.jsonl")]
    return losses, (output / "final" / "adapter_model.safetensors").read_bytes()


def test_steps_that_are_set(workplace: Workplace, tmp_path: Path) -> None:
    assert workplace.train(tmp_path / "plain", *PLAIN) == 0
    assert workplace.train(tmp_path / "run", *PLAIN, "train.profile={steps: 1-2}") == 0
    assert result(tmp_path / "run") == result(tmp_path / "plain")
    assert not (tmp_path / "plain" / "profile").exists()
    traces = sorted((tmp_path / "run" / "profile").iterdir())
    assert [path.name for path in traces] == ["step-1-rank-0.json.gz", "step-2-rank-0.json.gz"]
    assert any("linear" in name or "addmm" in name for name in names_in(traces[0]))


def test_a_step_that_is_asked_for(tmp_path: Path) -> None:
    files = RunLayout(tmp_path)
    profilers = [Profiler(files, None, rank) for rank in (0, 1)]
    files.profile_request.touch()
    for step in (4, 5):
        for profiler in reversed(profilers):
            with profiler.around(step):
                pass
    assert [path.name for path in files.profile.iterdir()] == ["step-4-rank-0.json.gz"]
    assert not files.profile_request.exists()


def test_ranks(tmp_path: Path) -> None:
    for ranks in ("first", "all"):
        for rank in (0, 1):
            with Profiler(RunLayout(tmp_path / ranks), ProfileConfig(steps="7", ranks=ranks), rank).around(7):
                pass
    assert [path.name for path in (tmp_path / "first" / "profile").iterdir()] == ["step-7-rank-0.json.gz"]
    assert len(list((tmp_path / "all" / "profile").iterdir())) == 2


def test_wrong_steps_are_refused() -> None:
    assert list(ProfileConfig(steps="10-12").range) == [10, 11, 12]
    assert list(ProfileConfig(steps=7).range) == [7]
    for steps in ("12-10", "a", "-3", "1-", -3):
        with pytest.raises(ConfigError, match="steps"):
            ProfileConfig(steps=steps)


def test_steps_that_the_run_does_not_have_are_refused() -> None:
    settings = ProfileConfig(steps="10-12")
    for total in (None, 11):
        check_profile(settings, total)
    with pytest.raises(ConfigError, match=r"train.profile.steps: 10-12: the steps of the run are 0 to 9"):
        check_profile(settings, 10)
