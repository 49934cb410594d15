"""Steps that are passed over by number (`train.skip_steps`): their data are taken from the stream and not trained on.

All ranks skip alike, since it follows from the configuration and the number alone. The step's number advances, so the
learning rate and the data of all others are as they were; weights, the optimizer's state and the counts of what was
trained are those of before. The ledger has the step with its digest, marked as skipped.
"""

from collections.abc import Sequence

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from wdstream.config.schema import Config
from wdstream.config.skipping import require_steps_of_run
from wdstream.errors import ConfigError
from wdstream.runs.layout import RunLayout
from wdstream.train.step.step import StepOutcome

NOTHING_TRAINED = StepOutcome(loss_sum=0.0, num_supervised=0, grad_norm=0.0)
"""What comes out of a step that is skipped, on each rank."""


def require_steps(config: Config, num_steps: int | None) -> None:
    """Refuse to skip steps that come after the end of the data, where that is known.

    Raises:
        ConfigError: names them.
    """
    if num_steps is not None:
        try:
            require_steps_of_run(config.train.skip_steps, num_steps, of="the end of the data")
        except ValueError as error:
            raise ConfigError(f"train.{error}") from error


def require_untrained(config: Config, accelerator: Accelerator, *, next_step: int) -> None:
    """Refuse to skip a step that is in the weights already. All ranks call it together.

    Raises:
        ConfigError: names the steps, and what to do.
    """
    if not config.train.skip_steps or not next_step:
        return
    trained: list[list[int]] = [[]]
    if accelerator.is_main_process:
        trained = [trained_steps(config, next_step=next_step)]
    broadcast_object_list(trained)
    if trained[0]:
        first, output = trained[0][0], config.train.output
        back = f"wdstream run rollback {output} --to {first}, or to an earlier checkpoint"
        raise ConfigError(
            f"train.skip_steps: {_listed(trained[0])} trained already, and the run continues before step {next_step}. "
            f"To take it back: {back if first else 'begin again in another train.output'}; else leave it out of "
            "train.skip_steps"
        )


def trained_steps(config: Config, *, next_step: int) -> list[int]:
    """Steps before `next_step` that are to be skipped, and that the ledger of the run has as trained."""
    lines = RunLayout(config.train.output).read_steps()
    steps = [line["step"] for line in lines if line["step"] < next_step and not line.get("skipped", False)]
    return [step for step in steps if config.train.skips(step)]


def _listed(steps: Sequence[int]) -> str:
    more = f" to {steps[-1]} were" if len(steps) > 1 else " was"
    return f"step {steps[0]}{more}"
