"""The files of weights and optimizer under FSDP2, where each process writes its own shards.

    pytorch_model_fsdp_0/, optimizer_0/     by torch.distributed.checkpoint, as Accelerate's `save_state` has them
    random_states_<rank>.pkl                by Accelerate's own function

What is written can be copied to host memory first, so that a thread writes it while training continues. The processes
then agree on who writes what over the group in which they save, and not over that of the training.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import torch.distributed as dist
from accelerate import Accelerator
from accelerate.checkpointing import save_accelerator_state, save_custom_state
from accelerate.utils.constants import FSDP_MODEL_NAME, OPTIMIZER_NAME
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, get_state_dict
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.fsdp import StateDictType

from wdstream.train.saving.whole_weights import HostCopies

ShardedStates = dict[str, dict[str, object]]
"""Of the weights and of the optimizer's state, by the folder that they are written to."""


def writes_shards(accelerator: Accelerator) -> bool:
    """Whether a run is under FSDP2 and asks for shards (SHARDED_STATE_DICT), and not for whole weights."""
    return bool(accelerator.is_fsdp2) and (
        accelerator.state.fsdp_plugin.state_dict_type == StateDictType.SHARDED_STATE_DICT
    )


def begin_optimizer_state(accelerator: Accelerator) -> None:
    """Give an optimizer of FSDP2 that has taken no step the state of that: torch, when it is asked for one, takes a
    step with gradients of zero, which AdamW counts, and corrects the first moments of every later step for."""
    (model,), (optimizer,) = accelerator._models, accelerator._optimizers
    if not optimizer.state:
        get_optimizer_state_dict(model, optimizer)
        for state in optimizer.state.values():
            state["step"].zero_()


class ShardedWeights:
    """Writes the files; Accelerate reads them.

    Args:
        accelerator: what is prepared by it is saved.
        group: in which the processes meet to save; one alone is in one, too.
    """

    def __init__(self, accelerator: Accelerator, group: dist.ProcessGroup) -> None:
        self._accelerator = accelerator
        self._group = group
        self._copies = HostCopies()

    def take(self, folder: Path, *, is_copied: bool) -> Callable[[], None]:
        """What writes this process's files to `folder` as they are now; all processes call it together.

        Args:
            folder: where to; the random numbers are written at once.
            is_copied: it may be called while training continues; else before the next step.
        """
        accelerator = self._accelerator
        numbers = (accelerator.process_index, accelerator.step, accelerator.scaler)
        save_accelerator_state(str(folder), [], [], [], [], *numbers)
        for number, other in enumerate(accelerator._custom_objects):
            save_custom_state(other, str(folder), number)
        shards = self._shards()
        return partial(self._write, folder, cast(ShardedStates, self._copies.copy(shards)) if is_copied else shards)

    def reserve(self) -> Callable[[], None]:
        """What asks for the memory that copies will need, for which the optimizer has taken a step; it may be called
        while training continues."""
        return partial(self._copies.reserve, self._shards())

    def _shards(self) -> ShardedStates:
        begin_optimizer_state(self._accelerator)
        (model,), (optimizer,) = self._accelerator._models, self._accelerator._optimizers
        weights, states = get_state_dict(model, optimizer, options=StateDictOptions())
        return {f"{FSDP_MODEL_NAME}_0": {"model": weights}, f"{OPTIMIZER_NAME}_0": {"optimizer": states}}

    def _write(self, folder: Path, shards: ShardedStates) -> None:
        for name, state in shards.items():
            save(state, storage_writer=FileSystemWriter(folder / name), process_group=self._group)
