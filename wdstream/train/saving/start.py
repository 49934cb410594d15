"""`train.resume`: the checkpoint that a start continues from.

auto    the newest whole one of the output; none begins at step 0
never   none; an output that has some is refused
PATH    this one. Of the output itself it must be the newest. Of another run, the output is new; once it has
        checkpoints of its own that began there, they are continued, so that the same command continues after a stop
"""

from pathlib import Path

from accelerate import Accelerator

from wdstream.config.schema import Config
from wdstream.errors import ConfigError, StateError, TrainError
from wdstream.runs.checkpoint import (
    MANIFEST,
    Checkpoint,
    Retention,
    list_checkpoints,
    read_checkpoint,
    require_newest,
    step_of,
)
from wdstream.runs.layout import RunLayout
from wdstream.runs.record import data_differences, read_origin
from wdstream.train.saving.checkpoint import Checkpoints
from wdstream.train.saving.continued import check_continued
from wdstream.train.stream import Stream


def open_checkpoints(config: Config, accelerator: Accelerator) -> Checkpoints:
    """Those of a run, as its settings have them written and kept."""
    train = config.train
    return Checkpoints(
        RunLayout(train.output),
        accelerator,
        keep=Retention(newest=train.keep_checkpoints, every=train.keep_every),
        is_adapter_only=train.adapter is not None,
        is_async=train.async_checkpoints,
    )


def find_start(config: Config, checkpoints: Checkpoints) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint to continue from, the same on every rank, and messages for the user; nothing is loaded yet.

    Raises:
        ConfigError: `train.resume` says no, or names a checkpoint that would give the output two histories.
        TrainError: none is whole, or not the one that is named.
    """
    start, messages = checkpoints.from_main(lambda: choose_start(config))
    if config.train.async_checkpoints and not checkpoints.is_async:
        messages.append(
            "train.async_checkpoints: checkpoints are written between steps under DeepSpeed, whose engine writes "
            "them by itself, under FSDP1, and with FULL_STATE_DICT"
        )
    return start, messages


def check_start(config: Config, checkpoints: Checkpoints, stream: Stream, start: Checkpoint | None) -> None:
    """Refuse a checkpoint from which this run cannot continue; nothing is loaded yet.

    Raises:
        ConfigError: it is of another adapter, or of an average that began at another step.
        TrainError: this start cannot put the checkpoint together.
        StateError: it is of other data or settings; names what differs, and of datasets by how much.
    """
    if start is None:
        return
    check_continued(config.train, start)
    checkpoints.check(start)
    try:
        stream.check(start.stream)
    except StateError as error:
        changed = data_differences(config, stream.data)
        raise StateError("\n".join([str(error), *changed])) from None


def choose_start(config: Config) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint that `train.resume` means, verified, and messages about those passed over.

    Raises:
        ConfigError: it says no, or names one that would give the output two histories.
        TrainError: none is whole, or not the one that is named.
    """
    output, resume = config.train.output, config.train.resume
    if isinstance(resume, Path) and not _has_begun_there(output, resume):
        return _named(output, resume), []
    start, messages = require_newest(RunLayout(output).checkpoints)
    if start is not None and resume == "never":
        raise ConfigError(
            f"train.output: {output} already holds checkpoints and train.resume is never; "
            "choose another output, or resume: auto to continue"
        )
    return start, messages


def _has_begun_there(output: Path, resume: Path) -> bool:
    """Whether the output has checkpoints of its own that continue `resume`, of another run."""
    origin = read_origin(RunLayout(output))
    has_some = bool(list_checkpoints(RunLayout(output).checkpoints))
    return has_some and origin is not None and Path(origin["checkpoint"]) == resume.resolve()


def _named(output: Path, resume: Path) -> Checkpoint:
    if not (resume / MANIFEST).is_file():
        found = "none there" if resume.exists() else "nothing"
        raise TrainError(
            f"train.resume: {resume}: expected the folder of a finished checkpoint, such as "
            f"RUN/checkpoints/step-00000500, which has a {MANIFEST}; found {found}"
        )
    try:
        start = read_checkpoint(resume)
    except TrainError as error:
        raise TrainError(f"train.resume: {error}") from error
    folder = RunLayout(output).checkpoints
    steps = sorted(step_of(path) for path in list_checkpoints(folder))
    is_own = resume.resolve().parent == folder.resolve()
    if steps and not is_own:
        raise ConfigError(
            f"train.resume: {resume}: train.output {output} holds checkpoints that did not begin there; choose another "
            "output, or resume: auto to continue from the newest of its own"
        )
    if later := [step for step in steps if step > start.step]:
        raise ConfigError(
            f"train.resume: {resume}: {output} has later checkpoints, of the steps {', '.join(map(str, later))}, which "
            f"would belong to another history; remove them with `wdstream run rollback {output} --to {start.step}`, or "
            "set resume: auto to continue from the newest"
        )
    return start
