"""What is saved of a run, all ranks together: its training states.

A checkpoint, which runs/checkpoint.py makes complete or absent:

    model.safetensors | adapter_model.safetensors     under PEFT the adapter only: its frozen base is at `model.path`
    ema.safetensors                                   with `train.ema`
    optimizer.bin, random_states_<rank>.pkl           Accelerate's own files
    pytorch_model/                                    under DeepSpeed, instead of weights and optimizer: its shards

All processes must see the folder. Accelerate also keeps each rank's random generators, and silently passes over them
when the world has changed; that is harmless here, because every micro-batch seeds its own numbers (step/step.py).
"""

from collections.abc import Mapping
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from wdstream.errors import TrainError
from wdstream.nodes.node import State
from wdstream.runs.checkpoint import (
    Checkpoint,
    begin_checkpoint,
    checkpoint_path,
    find_newest,
    finish_checkpoint,
    partial_path,
)
from wdstream.train.launch.zero import describe_zero, zero_stage
from wdstream.train.model.ema import AverageWeights
from wdstream.train.saving.weights import ADAPTER_FILE


class Checkpoints:
    """The checkpoints of one run; every method is called by all ranks together.

    Args:
        folder: where they are.
        accelerator: what is prepared by it is saved and loaded.
        keep: how many are kept.
        is_adapter_only: the model is under PEFT, and its frozen base is left out.

    Attributes:
        average: that is saved with the rest; set when there is a model.
    """

    def __init__(self, folder: Path, accelerator: Accelerator, *, keep: int, is_adapter_only: bool = False) -> None:
        self._folder = folder
        self._accelerator = accelerator
        self._keep = keep
        self.average: AverageWeights | None = None
        self._zero_stage = zero_stage(accelerator)
        if is_adapter_only:
            _leave_out_base_model(accelerator)

    def save(self, step: int, *, stream: State, trainer: Mapping[str, int]) -> None:
        """Write the state before `step`; the older ones beyond `keep` are removed afterwards."""
        accelerator, path = self._accelerator, checkpoint_path(self._folder, step)
        if accelerator.is_main_process:
            begin_checkpoint(path)
        accelerator.wait_for_everyone()
        options = {} if self._zero_stage is None else {"exclude_frozen_parameters": True}
        accelerator.save_state(str(partial_path(path)), **options)
        if self.average is not None:
            self.average.write(partial_path(path))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            facts = {"world_size": accelerator.num_processes, "zero_stage": self._zero_stage}
            checkpoint = Checkpoint(path=path, step=step, stream=stream, trainer=trainer, **facts)
            finish_checkpoint(checkpoint, keep=self._keep)
        accelerator.wait_for_everyone()

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest complete checkpoint, the same on every rank, and a message on each one passed over.

        Raises:
            TrainError: there are checkpoints, and none is whole.
        """
        newest: list[tuple[Checkpoint | None, list[str]]] = [(None, [])]
        if self._accelerator.is_main_process:
            newest = [find_newest(self._folder)]
        broadcast_object_list(newest)
        checkpoint, messages = newest[0]
        if checkpoint is None and messages:
            raise TrainError(
                "\n".join([*messages, f"{self._folder}: no checkpoint is whole; restore one, or remove the folder"])
            )
        return checkpoint, messages

    def check(self, checkpoint: Checkpoint) -> None:
        """Refuse a checkpoint whose shards this start cannot put together.

        Raises:
            TrainError: it was written under another ZeRO stage, or under one by another number of processes.
        """
        ours, theirs, world = self._zero_stage, checkpoint.zero_stage, self._accelerator.num_processes
        if theirs != ours:
            raise TrainError(
                f"{checkpoint.path} was written {describe_zero(theirs)}, and this start is {describe_zero(ours)}; "
                "start it as before, or begin a new run in another train.output"
            )
        if ours is not None and checkpoint.world_size != world:
            raise TrainError(
                f"{checkpoint.path} holds DeepSpeed's shards of {checkpoint.world_size} processes, which {world} "
                f"cannot read; start {checkpoint.world_size} processes, or begin a new run in another train.output"
            )

    def load(self, checkpoint: Checkpoint) -> None:
        """Put the weights and the optimizer's state into what was prepared."""
        # DeepSpeed left the frozen weights out; they are those of `model.path`, as under PEFT without it.
        options = {} if self._zero_stage is None else {"load_module_strict": False}
        self._accelerator.load_state(str(checkpoint.path), **options)


def _leave_out_base_model(accelerator: Accelerator) -> None:
    """Make `save_state` and `load_state` handle the adapter alone.

    FSDP and DeepSpeed save shards on paths of their own, which these hooks do not touch: a checkpoint of FSDP holds the
    whole model, one of DeepSpeed what is trained.
    """
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        return

    def save(models: list[nn.Module], weights: list[dict[str, Tensor]], folder: str) -> None:
        from peft import get_peft_model_state_dict

        for model in models:
            if accelerator.is_main_process:
                state = get_peft_model_state_dict(accelerator.unwrap_model(model))
                tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())}
                save_file(apart(tensors), Path(folder) / ADAPTER_FILE)
        weights.clear()  # what stays in the list, Accelerate writes

    def load(models: list[nn.Module], folder: str) -> None:
        from peft import set_peft_model_state_dict

        while models:  # what stays in the list, Accelerate loads
            model = accelerator.unwrap_model(models.pop())
            set_peft_model_state_dict(model, load_file(Path(folder) / ADAPTER_FILE))

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, a copy of each that shares its memory with one before, which safetensors refuses to write."""
    seen = set[int]()
    found = {}
    for name, tensor in tensors.items():
        found[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return found
