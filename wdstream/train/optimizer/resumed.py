"""What a start that continues from a checkpoint does with the optimizer, and says of its rate."""

from contextlib import suppress
from pathlib import Path

from wdstream.config.training import TrainConfig
from wdstream.errors import ConfigError, TrainError
from wdstream.runs.checkpoint import Checkpoint
from wdstream.runs.record import read_run
from wdstream.train.launch.zero import keep_clipping, zero_stage
from wdstream.train.optimizer.groups import groups_digest
from wdstream.train.optimizer.optimizer import keep_settings, trained_alone
from wdstream.train.optimizer.rates import rate_change
from wdstream.train.setup import Run


def load_start(run: Run, start: Checkpoint) -> None:
    """Put weights and optimizer of a checkpoint in place, with the settings of this start.

    Raises:
        ConfigError: it is of another optimizer, or of other groups of parameters than these settings make.
    """
    engine, train = run.engine, run.config.train
    before = _train_before(start.path.resolve().parent.parent)  # of another run, with train.resume
    if before is not None and before.optimizer != train.optimizer:
        raise ConfigError(
            f"train.optimizer: {train.optimizer}: {start.path} has the state of {before.optimizer}; set that, or begin "
            "a new run in another train.output"
        )
    if start.trainer.get("groups", groups_digest(engine.groups)) != groups_digest(engine.groups):
        raise _other_groups(start)
    try:
        with_state = start.trainer.get("groups_with_state")
        with trained_alone(engine.optimizer, engine.groups, train, start.step, with_state):
            run.checkpoints.load(start)
    except (ValueError, RuntimeError) as error:
        if "parameter group" not in str(error):
            raise
        raise _other_groups(start) from error
    if zero_stage(engine.accelerator) is None:
        keep_settings(engine.optimizer, engine.groups, train)
    keep_clipping(engine.accelerator, engine.optimizer, train.max_grad_norm)


def _other_groups(start: Checkpoint) -> ConfigError:
    return ConfigError(
        f"{start.path}: its optimizer has other groups of parameters than this configuration makes. They follow from "
        "train.optimizer, train.freeze_vision, train.parts, train.patterns, train.stages and the weight decay: bring "
        "these back as they were when the run began, or begin a new run in another train.output"
    )


def rate_notes(run: Run, step: int) -> list[str]:
    """A line where changed settings make the learning rate jump; for the main process, before the run's record is
    written again."""
    before, after, known = _train_before(run.files.output), run.config.train, run.total.known
    if before is None or known is None:
        return []
    limits = [limit for limit in (before.max_steps, run.total.of_data) if limit is not None]
    note = rate_change(step, before, after, steps_before=min(limits, default=known), steps_after=known)
    return [] if note is None else [note]


def _train_before(output: Path) -> TrainConfig | None:
    """The settings of a run's last start; None where its record is lost."""
    with suppress(TrainError):
        return read_run(output).config.train
    return None
