"""The files of weights and optimizer where each process holds them whole: one process, or DDP.

    model.safetensors | adapter_model.safetensors     under PEFT the adapter only: its frozen base is at `model.path`
    optimizer.bin, random_states_<rank>.pkl           by Accelerate's own functions, as its `save_state` has them

The main process writes weights and optimizer, every process its random numbers. What is to be written can be copied to
host memory first, so that a thread writes it while training continues: the bytes are the same.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from copy import copy, deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.checkpointing import save_accelerator_state, save_custom_state
from accelerate.utils import clean_state_dict_for_safetensors, save
from safetensors import safe_open
from safetensors.torch import load_file, load_model, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from wdstream.proofs.weight_files import WEIGHTS
from wdstream.train.saving.weights import ADAPTER_FILE, WRAPPED, load_adapter

OPTIMIZER_FILE = "optimizer.bin"


States = tuple[list[dict[str, Tensor]], list[object], list[dict[str, object]]]
"""Of models, of optimizers, and of whatever else is registered with Accelerate."""


class HostCopies:
    """Copies of tensors in host memory; those of the last time are written over, so that memory is asked for once.

    From a GPU they are in pinned memory, which is filled at the full speed of the bus. Of a tensor that is divided
    among processes the part of this one is copied.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Tensor] = {}

    def reserve(self, tree: object) -> None:
        """Ask for the memory of the copies of a tree, and have the system give it, which takes longer than copying."""
        once = {_memory(tensor): tensor for tensor in _tensors(tree)}
        for number, tensor in enumerate(once.values()):
            self._room(tensor, number).zero_()

    def copy(self, tree: object) -> object:
        """The same tree of dicts, lists and tuples, with a copy of each tensor; complete when this returns.

        What is in several places is copied once, as it would be written once: 8-bit optimizers share their tables.
        """
        copied = self._copy(tree, {})
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return copied

    def _copy(self, tree: object, done: dict[Hashable, Tensor]) -> object:
        if isinstance(tree, DTensor):
            # Made as torch makes it: `from_local` would bring it back to where the processes compute.
            own = self._copy(tree.to_local(), done)
            return DTensor(own, tree._spec, requires_grad=False)
        if isinstance(tree, Tensor):
            if (memory := _memory(tree)) not in done:
                done[memory] = self._copy_tensor(tree.detach(), len(done))
            return done[memory]
        if isinstance(tree, dict):
            copied = copy(tree)  # which keeps its type
            copied.update((key, self._copy(value, done)) for key, value in tree.items())
            return copied
        if isinstance(tree, list):
            return [self._copy(value, done) for value in tree]
        if isinstance(tree, tuple):
            return tuple(self._copy(value, done) for value in tree)
        return deepcopy(tree)

    def _copy_tensor(self, tensor: Tensor, number: int) -> Tensor:
        kept = self._room(tensor, number)
        kept.copy_(tensor, non_blocking=tensor.device.type != "cpu")
        return kept

    def _room(self, tensor: Tensor, number: int) -> Tensor:
        kept = self._kept.get(number)
        if kept is None or (kept.shape, kept.dtype, kept.stride()) != (tensor.shape, tensor.dtype, tensor.stride()):
            kept = torch.empty_like(tensor, device="cpu", pin_memory=tensor.device.type == "cuda")
            self._kept[number] = kept
        return kept


def _tensors(tree: object) -> Iterator[Tensor]:
    """Those of a tree, in the order in which they are copied."""
    if isinstance(tree, Tensor):
        yield tree.to_local() if isinstance(tree, DTensor) else tree
    elif isinstance(tree, dict | list | tuple):
        for inner in tree.values() if isinstance(tree, dict) else tree:
            yield from _tensors(inner)


def _memory(tensor: Tensor) -> Hashable:
    """The same for tensors that are one."""
    return tensor.data_ptr() or id(tensor), tensor.dtype, tensor.shape, tensor.stride()


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """An object's state by Accelerate's protocol, as it was when it was copied."""

    state: Mapping[str, object]

    def state_dict(self) -> Mapping[str, object]:
        return self.state


class WholeWeights:
    """Writes and reads the files.

    Args:
        accelerator: what is prepared by it is saved and loaded.
        is_adapter_only: the model is under PEFT, and its frozen base is left out.
    """

    def __init__(self, accelerator: Accelerator, *, is_adapter_only: bool) -> None:
        self._accelerator = accelerator
        self._is_adapter_only = is_adapter_only
        self._copies = HostCopies()
        accelerator.register_load_state_pre_hook(self._load)

    def take(self, folder: Path, *, is_copied: bool) -> Callable[[], None]:
        """What writes this process's files to `folder` as they are now.

        Args:
            folder: where to; the random numbers are written at once.
            is_copied: it may be called while training continues; else before the next step.
        """
        accelerator = self._accelerator
        for hook in accelerator._save_model_state_pre_hook.values():  # of parts of a run that keep a state of their own
            hook(accelerator._models, [], str(folder))
        numbers = (accelerator.process_index, accelerator.step, accelerator.scaler)
        save_accelerator_state(str(folder), [], [], [], [], *numbers)
        if not accelerator.is_main_process:
            return lambda: None
        states = self._states()
        if is_copied:
            states = cast(States, self._copies.copy(states))
        return partial(self._write, folder, states)

    def reserve(self) -> Callable[[], None]:
        """What asks for the memory that copies will need, for which the optimizer has taken a step; it may be called
        while training continues."""
        if not self._accelerator.is_main_process:
            return lambda: None
        return partial(self._copies.reserve, self._states())

    def _states(self) -> States:
        accelerator = self._accelerator
        return (
            [self._weights(model) for model in accelerator._models],
            [optimizer.state_dict() for optimizer in accelerator._optimizers],
            [entry.state_dict() for entry in accelerator._custom_objects],
        )

    def _write(self, folder: Path, states: States) -> None:
        weights, optimizers, others = states
        for state in weights:
            if self._is_adapter_only:
                save_file(state, folder / ADAPTER_FILE)
            else:
                save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
        for optimizer in optimizers:
            save(optimizer, folder / OPTIMIZER_FILE)
        for number, other in enumerate(others):
            save_custom_state(_State(state=other), str(folder), number)

    def _weights(self, model: nn.Module) -> dict[str, Tensor]:
        bare = self._accelerator.unwrap_model(model)
        if not self._is_adapter_only:
            return dict(clean_state_dict_for_safetensors(OrderedDict(bare.state_dict())))
        from peft import get_peft_model_state_dict

        state = get_peft_model_state_dict(bare)
        return apart({name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())})

    def _load(self, models: list[nn.Module], folder: str) -> None:
        """Accelerate's hook; what stays in the list it would load itself."""
        while models:
            model = self._accelerator.unwrap_model(models.pop())
            if self._is_adapter_only:
                load_adapter(model, load_file(Path(folder) / ADAPTER_FILE), Path(folder))
            else:
                load_whole_weights(model, Path(folder) / WEIGHTS)


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, a copy of each that shares its memory with one before, which safetensors refuses to write."""
    seen = set[int]()
    found = {}
    for name, tensor in tensors.items():
        found[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return found


def load_whole_weights(model: nn.Module, path: Path) -> None:
    """Load all weights of a checkpoint, whether or not DDP's prefix is before their names.

    Raises:
        RuntimeError: they are not those of the model.
    """
    with safe_open(path, framework="pt") as file:
        is_wrapped = all(name.startswith(WRAPPED) for name in file.keys())  # noqa: SIM118  # it is no mapping
    load_model(nn.ModuleDict({WRAPPED.rstrip("."): model}) if is_wrapped else model, path)
