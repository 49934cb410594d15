"""What a start that continues from a checkpoint does with the optimizer, and says of its rate."""

from contextlib import suppress

from wdstream.errors import ConfigError, TrainError
from wdstream.runs.checkpoint import Checkpoint
from wdstream.runs.record import read_run
from wdstream.train.launch.zero import keep_clipping, zero_stage
from wdstream.train.optimizer.optimizer import keep_settings
from wdstream.train.optimizer.rates import rate_change
from wdstream.train.setup import Run


def load_start(run: Run, start: Checkpoint) -> None:
    """Put weights and optimizer of a checkpoint in place, with the settings of this start.

    Raises:
        ConfigError: its optimizer has other groups of parameters than these settings make.
    """
    engine, train = run.engine, run.config.train
    try:
        run.checkpoints.load(start)
    except (ValueError, RuntimeError) as error:
        if "parameter group" not in str(error):
            raise
        raise ConfigError(
            f"{start.path}: its optimizer has other groups of parameters than this configuration makes. They follow "
            "from train.optimizer, train.parts, train.patterns, train.stages and the weight decay: bring these back as "
            "they were when the run began, or begin a new run in another train.output"
        ) from error
    if zero_stage(engine.accelerator) is None:
        keep_settings(engine.optimizer, engine.groups, train)
    keep_clipping(engine.accelerator, engine.optimizer, train.max_grad_norm)


def rate_notes(run: Run, step: int) -> list[str]:
    """A line where changed settings make the learning rate jump; for the main process, before the run's record is
    written again."""
    after, known = run.config.train, run.total.known
    with suppress(TrainError):  # of a run whose record is lost
        before = read_run(run.files.output).config.train
        limits = [limit for limit in (before.max_steps, run.total.of_data) if limit is not None]
        if known is not None and limits:
            note = rate_change(step, before, after, steps_before=min(limits), steps_after=known)
            return [] if note is None else [note]
    return []
