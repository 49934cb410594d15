"""Trackers by name: refused where absent, given the figures, continued after a stop, and never the end of a run."""

import importlib
import json
import shutil
import sqlite3
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from tests.helpers.training import Workplace
from wdstream.config.watching import WatchConfig
from wdstream.errors import ConfigError, TrainError
from wdstream.runs.layout import RunLayout
from wdstream.runs.rollback import roll_back
from wdstream.storage.json_lines import read_lines
from wdstream.train import engine
from wdstream.train.watch import trackers
from wdstream.train.watch.trackers import KnownRun, Trackers, _plain, check_trackers, read_known

PLAIN = ("train.adapter={kind: lora, r: 4}", "train.max_steps=3", "train.checkpoint_every=2")
EACH = ("train.checkpoint_every=1", "train.keep_every=1")


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
        if (step == 1 and self.options.get("mode") == "flaky") or (step and self.options.get("mode") == "down"):
            raise ConnectionError("no route")
        if step == 2 and self.options.get("mode") == "killed":
            raise KeyboardInterrupt
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


def test_what_is_trained_again_is_not_sent_again_but_after_a_rollback(
    workplace: Workplace, tmp_path: Path, recorders: list[Recorder]
) -> None:
    settings = (*PLAIN, "train.trackers=[wandb]", "train.eval_every=1", "train.max_steps=4")
    output = tmp_path / "run"
    assert workplace.train(output, *settings, "train.stop_after=3") == 0
    shutil.rmtree(output / "checkpoints" / "step-00000003")  # as if the run had been killed
    assert workplace.train(output, *settings) == 0
    roll_back(output, 2)
    assert workplace.train(output, *settings) == 0
    sent = [[(step, min(values).partition("/")[0]) for step, values in recorder.lines] for recorder in recorders]
    assert sent == [
        [(0, "train"), (0, "eval"), (1, "train"), (1, "eval"), (2, "train")],
        [(2, "eval"), (3, "train"), (3, "eval")],  # where it was stopped, nothing had been evaluated
        [(2, "train"), (2, "eval"), (3, "train"), (3, "eval")],
    ]
    first, second, third = (recorder.options["id"] for recorder in recorders)
    assert first == second != third


def test_what_is_trained_a_third_time_is_not_sent_a_second_time(
    workplace: Workplace, tmp_path: Path, recorders: list[Recorder]
) -> None:
    """The second start is lost before it comes as far as the first, and the files of the run end where it was lost."""
    settings = (*PLAIN, "train.trackers=[wandb]", "train.eval_every=1", "train.max_steps=6", *EACH)
    output = tmp_path / "run"
    for stop in (5, 3):
        assert workplace.train(output, *settings, f"train.stop_after={stop}") == 0
        for step in range(2, stop + 1):  # as if it had been killed before these were saved
            shutil.rmtree(output / "checkpoints" / f"step-{step:08}", ignore_errors=True)
    assert workplace.train(output, *settings) == 0
    sent = [(min(values).partition("/")[0], step) for one in recorders for step, values in one.lines]
    assert sorted(sent) == [(kind, step) for kind in ("eval", "train") for step in range(6)]
    assert len({recorder.options["id"] for recorder in recorders}) == 1


@pytest.mark.parametrize(("mode", "last"), [("killed", 1), ("down", 0)])
def test_what_was_written_and_not_taken_is_sent_once_by_the_next_start(
    mode: str, last: int, workplace: Workplace, tmp_path: Path, recorders: list[Recorder]
) -> None:
    """After a kill between the two, and of a server that did not come back; with its checkpoints, and without."""
    settings = (*PLAIN, "train.trackers=[wandb]", "train.eval_every=1", "train.max_steps=4", *EACH)
    broken = f"train.tracker_options={{wandb: {{mode: {mode}}}}}"
    output = tmp_path / "run"
    assert workplace.train(output, *settings, broken, "train.stop_after=3") == (130 if mode == "killed" else 0)
    assert json.loads((output / "trackers.json").read_text())["taken"] == {
        "wandb": {"train": last, "eval/held_out": last}
    }
    shutil.rmtree(output / "checkpoints" / "step-00000003", ignore_errors=True)
    assert workplace.train(output, *settings) == 0
    sent = [(step, min(values).partition("/")[0]) for recorder in recorders for step, values in recorder.lines]
    assert sent == [(step, kind) for step in range(4) for kind in ("train", "eval")]


def test_a_tracker_that_fails_does_not_end_the_run(
    workplace: Workplace, tmp_path: Path, recorders: list[Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (*PLAIN, "data.eval=[]", "train.trackers=[wandb]", "train.tracker_options={wandb: {mode: flaky}}")
    assert workplace.train(tmp_path / "run", *settings) == 0
    assert [step for step, _ in recorders[0].lines] == [0, 2]
    assert "wandb does not take the figures of step 1, metrics.jsonl has them: no route" in capsys.readouterr().out


def test_a_tracker_that_does_not_start_ends_the_start_before_weights_are_loaded(
    workplace: Workplace,
    tmp_path: Path,
    recorders: list[Recorder],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "load_model", lambda *_, **__: pytest.fail("weights were loaded"))
    settings = (*PLAIN, "train.trackers=[wandb]", "train.tracker_options={wandb: {mode: broken}}")
    assert workplace.train(tmp_path / "run", *settings) == 1
    said = capsys.readouterr()
    assert "train.trackers: wandb does not start (no key); `wandb login` stores a key" in said.err


def test_a_start_without_a_tracker_does_not_forget_its_run(
    workplace: Workplace, tmp_path: Path, recorders: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "trackio", Recorder)
    config, files = workplace.config(tmp_path), RunLayout(tmp_path)
    for step, names in enumerate((("wandb", "trackio"), ("trackio",), ("wandb",))):
        watched = config.model_copy(update={"train": config.train.model_copy(update={"trackers": names})})
        Trackers(files, watched, first_step=step)
    wandb, trackio, again, last = recorders
    assert wandb.options["id"] == last.options["id"]
    assert trackio.options["name"] == again.options["name"]


def test_wrong_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
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


def test_names_that_mlflow_does_not_take() -> None:
    """It would refuse all figures of a step for one such name: of a pattern, or of a dataset."""
    assert _plain({"lr/*.layers.0.*": 1, "lr/?.layers.0.?": 2, "loss/Zürich, a": 3, "a-b_c.d: e/f": 4}) == {
        "lr/_.layers.0._": 1,
        "lr/_.layers.0.__2": 2,
        "loss/Zürich_ a": 3,
        "a-b_c.d: e/f": 4,
    }


Stored = list[tuple[int, float]]
"""(step, loss), in the order in which a store has them."""


def of_mlflow(folder: Path, run_id: str) -> Stored:
    mlflow: Any = importlib.import_module("mlflow")
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("pages").experiment_id])
    assert (run.info.run_id, run.info.status, run.data.params["train.max_steps"]) == (run_id, "FINISHED", "4")
    assert {point.value for point in client.get_metric_history(run_id, "train/weight_decay/_.layers.0._")} == {0.5}
    return [(point.step, point.value) for point in client.get_metric_history(run_id, "train/loss")]


def of_wandb(folder: Path, run_id: str) -> Stored:
    """Of its offline runs, of which each start leaves one."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    found: Stored = []
    settings: dict[str, str] = {}
    for path in sorted((folder / "run" / "wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.parent.name):
        assert path.stem == f"run-{run_id}"
        for data in log_records(path.read_bytes()):
            record = messages.Record.FromString(data)
            settings |= {item.key: item.value_json for item in record.config.update}
            items = {".".join([item.key, *item.nested_key]).strip("."): item.value_json for item in record.history.item}
            found += [(int(items["_step"]), float(items["train/loss"]))] if "train/loss" in items else []
    assert settings["train.max_steps"] == "4"
    return found


def log_records(data: bytes) -> Iterator[bytes]:
    """Of a file in LevelDB's log format: a header of 7 bytes, then blocks of records, each in one or more pieces."""
    at, record = 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


def of_trackio(folder: Path, run_id: str) -> Stored:
    with closing(sqlite3.connect(folder / "trackio" / "pages.db")) as store:
        lines = store.execute("select run_name, step, metrics from metrics order by id").fetchall()
        ((settings,),) = store.execute("select config from configs").fetchall()
    assert {name for name, _, _ in lines} == {run_id}
    assert json.loads(settings)["train.max_steps"] == 4
    return [(step, json.loads(text)["train/loss"]) for _, step, text in lines if b"train/loss" in bytes(text)]


def of_comet(folder: Path, run_id: str) -> Stored:
    """Of its archives, of which each start leaves one."""
    found: Stored = []
    settings: dict[str, object] = {}
    for path in sorted((folder / "comet").glob("*.zip"), key=lambda path: path.stat().st_mtime_ns):
        with zipfile.ZipFile(path) as archive:
            assert json.loads(archive.read("experiment.json"))["offline_id"] == run_id
            lines = [json.loads(line) for line in archive.read("messages.json").splitlines()]
        metrics = [line["payload"]["metric"] for line in lines if line["type"] == "metric_msg"]
        found += [(one["step"], one["metricValue"]) for one in metrics if one["metricName"] == "train/loss"]
        settings |= {
            line["payload"]["param"]["paramName"]: line["payload"]["param"]["paramValue"]
            for line in lines
            if line["type"] == "parameter_msg" and line["payload"].get("param")
        }
    assert str(settings["train.max_steps"]) == "4"
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the packages that read the stores
@pytest.mark.parametrize(
    ("name", "package", "options", "read"),
    [
        ("mlflow", "mlflow", "{}", of_mlflow),
        ("wandb", "wandb", "{mode: offline}", of_wandb),
        ("trackio", "trackio", "{}", of_trackio),
        ("comet", "comet_ml", "{online: false}", of_comet),
    ],
)
def test_the_stores_of_the_real_ones(
    name: str,
    package: str,
    options: str,
    read: Callable[[Path, str], Stored],
    workplace: Workplace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each where it is installed, without a network: one run over a stop of which the checkpoint was lost, so that a
    step is trained again: its settings, and each loss once, at its step."""
    pytest.importorskip(package)
    for variable, value in {
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "COMET_OFFLINE_DIRECTORY": str(tmp_path / "comet"),
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(variable, value)
    settings = [
        *("train.max_steps=4", "train.checkpoint_every=2", "data.eval=[]", f"train.trackers=[{name}]"),
        *("train.tracker_project=pages", f"train.tracker_options={{{name}: {options}}}"),
        'train.patterns={"*.layers.0.*": {weight_decay: 0.5}}',
    ]
    output = tmp_path / "run"
    for more in (["train.stop_after=3"], []):
        shutil.rmtree(output / "checkpoints" / "step-00000003", ignore_errors=True)
        words = [word for each in (f"train.output={output}", *settings, *more) for word in ("--set", each)]
        start = [sys.executable, "-m", "wdstream.train", str(workplace.config_file), *words]
        ended = subprocess.run(start, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        if name == "mlflow" and more:  # as if killed when its server had taken the last line, and had not said so
            known = json.loads((output / "trackers.json").read_text())
            (output / "trackers.json").write_text(json.dumps(known | {"taken": {name: {"train": 1}}}))
    run_id = json.loads((output / "trackers.json").read_text())[name]
    losses = [(line["step"], line["loss"]) for line in read_lines(output / "metrics.jsonl")]
    assert len(losses) == 4 and read(tmp_path, run_id) == losses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "package", "reason"),
    [
        ("mlflow", "mlflow", "mlflow does not start (API request to http://127.0.0.1:9/"),
        ("wandb", "wandb", "wandb does not start (No API key configured. Use `wandb login` to log in); `wandb login`"),
    ],
)
def test_real_ones_that_do_not_start(
    name: str, package: str, reason: str, workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that nobody answers at, and no key: one line."""
    pytest.importorskip(package)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["--set", f"train.output={tmp_path / 'run'}", "--set", f"train.trackers=[{name}]"]
    start = [sys.executable, "-m", "wdstream.train", str(workplace.config_file), *words]
    ended = subprocess.run(start, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    own = [line for line in ended.stderr.splitlines() if line.startswith("wdstream.train:")]
    assert ended.returncode == 1 and len(own) == 1 and own[0].startswith(f"wdstream.train: train.trackers: {reason}"), (
        ended.stderr
    )


@pytest.mark.parametrize(
    "text", ["no JSON", "[]", '{"wandb": 1}', '{"taken": 1}', '{"taken": {"wandb": {"train": "5"}}}']
)
def test_a_damaged_file_of_ids_is_named(tmp_path: Path, text: str) -> None:
    files = RunLayout(tmp_path)
    files.trackers.write_text(text)
    with pytest.raises(TrainError, match=r"trackers\.json: expected an id for each tracker"):
        read_known(files)


def test_a_file_of_ids_of_before_has_no_steps(tmp_path: Path) -> None:
    files = RunLayout(tmp_path)
    files.trackers.write_text('{"wandb": "1f"}')
    assert read_known(files) == {"wandb": KnownRun("1f", None)}
    files.trackers.write_text('{"wandb": "1f", "sent": {"wandb": {"train": 5}}}')
    assert read_known(files) == {"wandb": KnownRun("1f", None)}
