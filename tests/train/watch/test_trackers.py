"""Trackers by name: refused where absent, given the figures, continued after a stop, and never the end of a run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from tests.helpers.training import Workplace
from wdstream.config.watching import WatchConfig
from wdstream.errors import ConfigError
from wdstream.runs.layout import RunLayout
from wdstream.storage.json_lines import read_lines
from wdstream.train.watch import trackers
from wdstream.train.watch.trackers import Trackers, check_trackers

PLAIN = ("train.adapter={kind: lora, r: 4}", "train.max_steps=3", "train.checkpoint_every=2")


class Recorder(GeneralTracker):  # type: ignore[misc]  # accelerate has no types
    """Accelerate's own base, kept in memory; as wandb is opened."""

    name = "recorder"
    requires_logging_directory = False
    opened: ClassVar[list["Recorder"]] = []

    def __init__(self, run_name: str, **options: Any) -> None:
        super().__init__()
        self.project, self.options = run_name, options
        self.settings: dict[str, Any] = {}
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.is_started = self.is_finished = False
        self.opened.append(self)

    @property
    def tracker(self) -> Any:
        return self

    def start(self) -> None:
        if self.options.get("mode") == "broken":
            raise RuntimeError("no key")
        self.is_started = True

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, Any], step: int | None = None, **options: Any) -> None:
        if step == 1 and self.options.get("mode") == "flaky":
            raise ConnectionError("no route")
        self.lines.append((step or 0, values))

    def finish(self) -> None:
        self.is_finished = True


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Recorder]]:
    """What is opened in place of wandb, which is not installed here."""
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", Recorder)
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    Recorder.opened.clear()
    yield Recorder.opened


def test_figures_arrive_and_a_continued_run_is_the_same_one(
    workplace: Workplace, tmp_path: Path, recorders: list[Recorder]
) -> None:
    options = "train.tracker_options={wandb: {mode: offline}}"
    settings = (*PLAIN, "train.trackers=[wandb]", "train.tracker_project=pages", options)
    output = tmp_path / "run"
    assert workplace.train(output, *settings, "train.stop_after=2") == 0
    assert workplace.train(output, *settings) == 0
    first, second = recorders
    assert first.project == "pages" and first.is_started and first.is_finished
    assert first.options["mode"] == "offline"
    assert first.options["id"] == second.options["id"] == json.loads((output / "trackers.json").read_text())["wandb"]
    assert first.settings["train.max_steps"] == 3 and second.settings == {}
    lines = {line["step"]: line for line in read_lines(output / "metrics.jsonl")}
    for step, values in [*first.lines, *second.lines[:1]]:
        assert {f"train/{name}": value for name, value in lines[step].items() if name != "step"} == values
    assert [step for step, _ in (*first.lines, *second.lines)] == [0, 1, 2, 2]
    assert second.lines[1][1] == {"eval/held_out/loss": next(read_lines(output / "eval.jsonl"))["loss"]}
    assert not (output / "tensorboard").exists()


def test_a_tracker_that_fails_does_not_end_the_run(
    workplace: Workplace, tmp_path: Path, recorders: list[Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (*PLAIN, "data.eval=[]", "train.trackers=[wandb]", "train.tracker_options={wandb: {mode: flaky}}")
    assert workplace.train(tmp_path / "run", *settings) == 0
    assert [step for step, _ in recorders[0].lines] == [0, 2]
    assert "wandb does not take the figures of step 1, metrics.jsonl has them: no route" in capsys.readouterr().out


def test_a_tracker_that_does_not_start_is_an_error(
    workplace: Workplace, tmp_path: Path, recorders: list[Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (*PLAIN, "train.trackers=[wandb]", "train.tracker_options={wandb: {mode: broken}}")
    assert workplace.train(tmp_path / "run", *settings) == 1
    assert "train.trackers: wandb does not start: no key" in capsys.readouterr().err


def test_a_start_without_a_tracker_does_not_forget_its_run(
    workplace: Workplace, tmp_path: Path, recorders: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "trackio", Recorder)
    config, files = workplace.config(tmp_path), RunLayout(tmp_path)
    for step, names in enumerate((("wandb", "trackio"), ("trackio",), ("wandb",))):
        watched = config.model_copy(update={"train": config.train.model_copy(update={"trackers": names})})
        Trackers(files, watched, first_step=step, say=print)
    wandb, trackio, again, last = recorders
    assert wandb.options["id"] == last.options["id"]
    assert trackio.options["name"] == again.options["name"]


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"comet is not installed; pip install comet-ml"):
        check_trackers(WatchConfig(trackers=("tensorboard", "comet")))
    for settings, message in (
        ({"trackers": ("wandb", "wandb")}, "name each once"),
        ({"trackers": ("wand",)}, "wandb"),
        ({"tracker_options": {"wandb": {"mode": "offline"}}}, "would be ignored: it is not in trackers"),
        ({"tracker_options": {"tensorboard": {}}}, "tensorboard has none here"),
        ({"spike_threshold": float("inf")}, "expected a finite number"),
        ({"peak_tflops": float("inf")}, "expected a finite number"),
        ({"tracker_project": "pages"}, "trackers has none that keeps projects"),
    ):
        with pytest.raises(ConfigError, match=message):
            WatchConfig(**settings)


@pytest.mark.slow
def test_mlflow_in_files(workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mlflow itself, where it is installed: one run over a stop, each figure at its step."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # so that no database is needed
    settings = (*PLAIN, "train.trackers=[tensorboard, mlflow]", "train.tracker_project=pages")
    assert workplace.train(tmp_path / "run", *settings, "train.stop_after=2") == 0
    assert workplace.train(tmp_path / "run", *settings) == 0
    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("pages").experiment_id])
    assert [run.info.run_id for run in runs] == [json.loads((tmp_path / "run" / "trackers.json").read_text())["mlflow"]]
    assert runs[0].data.params["train.max_steps"] == "3"
    history = client.get_metric_history(runs[0].info.run_id, "train/loss")
    losses = [line["loss"] for line in read_lines(tmp_path / "run" / "metrics.jsonl")]
    assert [(point.step, point.value) for point in history] == list(enumerate(losses))
