"""Trackers by name: the figures of a run at wandb, mlflow, trackio or comet, by Accelerate's classes for them.

TensorBoard is not among them: its files are the run's own (metrics.py). They are opened before the model is loaded, so
that one without a key or a server ends the start early. A run that continues continues the same run of its trackers:
`trackers.json` has their ids, and a run that begins again gets new ones, as one that was rolled back does. Steps that
are trained again, since no checkpoint had them, are not sent again: stores keep both, or drop the later. For that the
same file has the last step that each tracker took; a start sends what the run's own files have after it. A tracker
whose server fails does not end the training; where it does not come back in this start, the next one sends the rest.
"""

import importlib
import json
import os
import random
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeVar

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from wdstream.config.schema import Config
from wdstream.config.watching import TrackerName, WatchConfig
from wdstream.errors import ConfigError, TrainError, load_json
from wdstream.runs.layout import RunLayout
from wdstream.storage.atomic import atomic_write
from wdstream.storage.json_lines import read_lines

_PACKAGES = {"wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio", "comet": "comet_ml"}
"""Name in a configuration -> package, which is Accelerate's name too."""
_ADVICE = {
    "wandb": "`wandb login` stores a key, and train.tracker_options: {wandb: {mode: offline}} needs neither key nor "
    "network",
    "mlflow": "MLFLOW_TRACKING_URI names its server, or a file such as sqlite:///mlflow.db",
    "trackio": "train.tracker_options.trackio goes to trackio.init as it is",
    "comet": "COMET_API_KEY is its key, and train.tracker_options: {comet: {online: false}} needs neither key nor "
    "network",
}
_ODD = re.compile(r"[^\w\-. :/]")
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_TAKEN = "taken"
"""In trackers.json, next to the names of trackers: the last steps that each took."""
_BEFORE = "sent"
"""In its place in files of before: what was sent before the newest start."""
_SHOWN = ("cer", "loss", "wer")
"""Figures of an evaluation that are sent."""
Figure = TypeVar("Figure")
_ID_BYTES = 16  # comet wants 32 letters or more


def check_trackers(settings: WatchConfig) -> None:
    """Refuse trackers that are not installed.

    Raises:
        ConfigError: names the tracker and its package.
    """
    for name in settings.trackers:
        if name in _PACKAGES and find_spec(_PACKAGES[name]) is None:
            raise ConfigError(
                f"train.trackers: {name} is not installed; pip install {_PACKAGES[name].replace('_', '-')}, or take it "
                "out of the list"
            )


@dataclass(slots=True, kw_only=True)
class OpenTracker:
    """A tracker that a run writes to.

    Attributes:
        name: as configured.
        run_id: of the run there.
        tracker: Accelerate's.
        taken: the last step of which it has figures, by what they are of: `train`, or `eval/SET`.
        has_failed: its last line did not arrive.
    """

    name: str
    run_id: str
    tracker: GeneralTracker
    taken: dict[str, int]
    has_failed: bool = False


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run of a tracker as trackers.json has it.

    Attributes:
        run_id: of the run there.
        taken: the last step that it took, by what its figures are of; None in files of before.
    """

    run_id: str
    taken: Mapping[str, int] | None


class Trackers:
    """All trackers of a run but TensorBoard; on the main process only.

    Args:
        files: of the run.
        config: of the run.
        first_step: where this start begins; at 0 the trackers begin new runs.

    Attributes:
        say: prints a line for the user.

    Raises:
        TrainError: a tracker does not start; says why.
    """

    def __init__(self, files: RunLayout, config: Config, *, first_step: int) -> None:
        self.say: Callable[[str], None] = print
        self._files = files
        self._known = read_known(files) if first_step else {}
        names = [name for name in config.train.trackers if name in _PACKAGES]
        self._open = [start_tracker(name, files, config, self._known.get(name)) for name in names]
        if self._open:
            self._write()
        continued = [one for one in self._open if one.name in self._known]
        for kind, step, figures in _lines(files) if continued else ():
            if step < first_step:  # from there on they are trained again
                self._send(continued, kind, figures, step)

    def log(self, kind: str, figures: Mapping[str, float], step: int) -> None:
        """Send figures of a step to all.

        Args:
            kind: what they are of: `train`, or `eval/SET`.
            figures: by name.
            step: their step.
        """
        self._send(self._open, kind, figures, step)

    def _send(self, trackers: Iterable[OpenTracker], kind: str, figures: Mapping[str, float], step: int) -> None:
        for one in trackers:
            if step <= one.taken.get(kind, -1):
                continue
            named = named_figures(kind, figures)
            try:
                one.tracker.log(_plain(named) if one.name == "mlflow" else named, step=step)
            except Exception as error:  # of any kind: the libraries and their servers have their own
                if not one.has_failed:
                    self.say(f"{one.name} does not take the figures of step {step}, metrics.jsonl has them: {error}")
                one.has_failed = True
            else:
                one.has_failed = False
                one.taken[kind] = step
                self._write()

    def _write(self) -> None:
        """Who took what; runs of trackers that this start leaves out may come back. At once, and not synced: it is for
        a process that is killed."""
        found = self._known | {one.name: KnownRun(one.run_id, one.taken) for one in self._open}
        tree: dict[str, object] = {name: one.run_id for name, one in found.items()}
        taken = {name: one.taken for name, one in found.items() if one.taken is not None}
        with atomic_write(self._files.trackers, is_durable=False) as file:
            file.write(json.dumps(tree | {_TAKEN: taken}, indent=2).encode())

    def close(self) -> None:
        """End the runs of all trackers."""
        for one in self._open:
            try:
                one.tracker.finish()
            except Exception as error:
                self.say(f"{one.name} did not end well: {error}")


def start_tracker(name: TrackerName, files: RunLayout, config: Config, known: KnownRun | None) -> OpenTracker:
    """Begin a run of a tracker, or continue the one that is `known`.

    Raises:
        TrainError: it does not start.
    """
    train = config.train
    run_id = secrets.token_hex(_ID_BYTES) if known is None else known.run_id
    options = {**_own_options(name, files, run_id, is_known=known is not None), **train.tracker_options.get(name, {})}
    try:
        with _starting():
            tracker = LOGGER_TYPE_TO_CLASS[_PACKAGES[name]](train.tracker_project, **options)
            tracker.start()
            if known is None or name == "trackio":  # which forgets them at each start; mlflow refuses some that change
                settings = flat_settings(config.model_dump(mode="json"))
                tracker.store_init_configuration(_plain(settings) if name == "mlflow" else settings)
            taken = {} if known is None else _taken(files, known, name)
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise TrainError(
            f"train.trackers: {name} does not start ({reason}); {_ADVICE[name]}; or leave {name} out of train.trackers"
        ) from error
    own_id = tracker.tracker.info.run_id if name == "mlflow" else run_id
    return OpenTracker(name=name, run_id=own_id, tracker=tracker, taken=taken)


def named_figures(kind: str, figures: Mapping[str, float]) -> dict[str, float]:
    """Those of a line that are sent, by the names that they have there."""
    shown = figures if kind == "train" else [name for name in _SHOWN if name in figures]
    return {f"{kind}/{name}": figures[name] for name in shown}


def _lines(files: RunLayout) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Kind, step and figures of what a run wrote, in the order of steps; not yet cut back for this start."""
    lines = [("train", line) for line in read_lines(files.metrics, needed=("step",))]
    lines += [(f"eval/{line.pop('name')}", line) for line in read_lines(files.evaluations, needed=("step", "name"))]
    for kind, line in sorted(lines, key=lambda one: int(one[1]["step"])):
        yield kind, int(line.pop("step")), line


def _taken(files: RunLayout, known: KnownRun, name: TrackerName) -> dict[str, int]:
    """The last step of `train` and of each `eval/SET` that a run of a tracker has.

    One that was killed while mlflow's server took a line does not know of it, and asks; the others take a line by
    writing it down on this machine. Files of before do not say: there it is what the run wrote.
    """
    written = {kind: step for kind, step, _ in _lines(files)}
    if known.taken is None:
        return written
    taken = dict(known.taken)
    if name == "mlflow":
        client = importlib.import_module("mlflow").MlflowClient()
        for kind, step in written.items():
            if taken.get(kind, -1) < step:
                (key,) = _plain({f"{kind}/loss": 0})
                steps = [point.step for point in client.get_metric_history(known.run_id, key)]
                taken[kind] = max([*steps, taken.get(kind, -1)])
    return taken


def _are_steps(steps: object) -> bool:
    return isinstance(steps, dict) and all(type(step) is int for step in steps.values())


@contextmanager
def _starting() -> Iterator[None]:
    """For the block, mlflow tries an address for some 15 s, and not for 5 minutes: nobody trains meanwhile. And random
    numbers are not those of the run's seed: comet names its archives by them, and one would take the place of another.
    """
    state, wanted = random.getstate(), os.environ.get(_RETRIES)
    random.seed()
    os.environ[_RETRIES] = "3" if wanted is None else wanted
    try:
        yield
    finally:
        random.setstate(state)
        if wanted is None:
            del os.environ[_RETRIES]


def _plain(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """The same by names that mlflow takes, which refuses all for one that it does not: others' signs become `_`."""
    found: dict[str, Figure] = {}
    for name, value in figures.items():
        plain, number = _ODD.sub("_", name), 2
        while plain in found:
            plain, number = f"{_ODD.sub('_', name)}_{number}", number + 1
        found[plain] = value
    return found


def _own_options(name: str, files: RunLayout, run_id: str, *, is_known: bool) -> dict[str, object]:
    """What makes a tracker begin or continue a run of this id."""
    options: dict[str, dict[str, object]] = {
        "wandb": {"id": run_id, "resume": "allow", "dir": str(files.output)},
        "trackio": {"name": run_id, "resume": "allow"},
        "comet": {"experiment_key": run_id, "mode": "get_or_create"},
        "mlflow": {"run_id": run_id} if is_known else {},
    }
    return options[name]


def flat_settings(settings: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Settings by their whole names, such as `train.lr`; lists as text."""
    flat: dict[str, object] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat


def read_known(files: RunLayout) -> dict[str, KnownRun]:
    """The runs of the trackers by name; none where there is no file.

    Raises:
        TrainError: it is damaged.
    """
    if not files.trackers.exists():
        return {}
    try:
        tree: object = load_json(files.trackers.read_bytes())
    except ValueError as error:
        tree = error
    taken: object = {}
    if isinstance(tree, dict):
        tree.pop(_BEFORE, None)
        taken = tree.pop(_TAKEN, {})
    ids = tree if isinstance(tree, dict) and all(isinstance(value, str) for value in tree.values()) else None
    if ids is None or not isinstance(taken, dict) or not all(map(_are_steps, taken.values())):
        raise TrainError(
            f"{files.trackers}: expected an id for each tracker and the last steps that it took, found {tree!r:.80} "
            f"and {taken!r:.80}; without the file the trackers begin new runs"
        )
    return {name: KnownRun(run_id, taken.get(name)) for name, run_id in ids.items()}
