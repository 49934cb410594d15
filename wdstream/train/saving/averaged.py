"""What of a checkpoint is the model: its weights, or the average of them (`train.ema`), named as these are."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from safetensors.torch import load_file
from torch import Tensor

from wdstream.config.learning import LearningSettings
from wdstream.errors import TrainError
from wdstream.train.model.ema import EMA_FILE
from wdstream.train.saving.weights import adapter_state

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def averaged(model: "PreTrainedModel | PeftModel", state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint with the average of those that were trained.

    Args:
        model: that the run trains, with or without its weights.
        state: the checkpoint's weights; under PEFT named by its parameters, or as in a file of peft.
        path: of the checkpoint.

    Raises:
        TrainError: it holds no average.
    """
    if not (path / EMA_FILE).is_file():
        raise TrainError(
            f"{path}: holds no average of the weights ({EMA_FILE}); the run needs train.ema, past its from_step"
        )
    average, first = load_file(path / EMA_FILE), dict[int, str]()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        one = first.setdefault(id(parameter), name)
        if one in average:
            average[name] = average[one]  # of a weight with two names, both
    if not hasattr(model, "peft_config"):
        return {name: average.get(name, tensor) for name, tensor in state.items()}
    adapted = cast("PeftModel", model)
    blank = {name: tensor.to("meta") for name, tensor in adapted.state_dict().items()}
    named = adapter_state(adapted, {**blank, **average})
    return {**adapter_state(adapted, state), **{name: one for name, one in named.items() if not one.is_meta}}


def require_model_weights(train: LearningSettings, path: Path) -> None:
    """Refuse the checkpoints of a run, or one of them, whose weights are not those of the model that it trains.

    Raises:
        TrainError: the optimizer averages the weights by itself.
    """
    if train.optimizer == "schedule_free":
        raise TrainError(
            f"{path}: train.optimizer is schedule_free, of which checkpoints hold the weights that it moves, and not "
            "their average, which is the model: only the run itself computes that; use its final/"
        )
