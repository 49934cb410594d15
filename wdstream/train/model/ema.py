"""An exponential moving average of the trained weights (`train.ema`): kept, saved, and put in the weights' place.

Every rank holds the average of the weights that it holds: all under DDP, its shard under FSDP2, 4 bytes per trained
number. A checkpoint has whole tensors in `ema.safetensors`, by the names of the model's parameters, so that any number
of processes continues from it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, cast

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from wdstream.config.ema import EmaConfig
from wdstream.errors import ConfigError, TrainError
from wdstream.train.launch.zero import zero_stage
from wdstream.train.saving.whole_weights import HostCopies

EMA_FILE = "ema.safetensors"
Purpose = Literal["eval_with", "final_with"]


class AverageWeights:
    """The average over the steps of a run; `restore` comes first. All ranks call every method together.

    Args:
        model: prepared; what is trained of it stays the same.
        accelerator: that prepared it.
        settings: of the run.

    Raises:
        ConfigError: DeepSpeed holds the weights.
    """

    def __init__(self, model: nn.Module, accelerator: Accelerator, settings: EmaConfig) -> None:
        if zero_stage(accelerator) is not None:
            raise ConfigError(
                "train.ema: DeepSpeed keeps the float32 weights inside of its optimizer, where no average is taken of "
                "them; leave it out, or start with --multi_gpu or FSDP2"
            )
        bare = accelerator.unwrap_model(model, keep_torch_compile=False)
        self._weights = {name: one for name, one in bare.named_parameters() if one.requires_grad}
        self._sharded = [module for module in bare.modules() if isinstance(module, FSDPModule)]
        self._is_main = accelerator.is_main_process
        self._settings = settings
        self._average: dict[str, Tensor] = {}

    def restore(self, step: int, folder: Path | None) -> bool:
        """The average as it was before `step`: of a checkpoint's folder, else the weights where it begins by now.

        Returns:
            False where it should have begun in an earlier start, which kept none.

        Raises:
            TrainError: the folder's average is of other weights.
        """
        if folder is not None and (folder / EMA_FILE).is_file():
            saved = load_file(folder / EMA_FILE)
            if saved.keys() != self._weights.keys():
                raise TrainError(f"{folder / EMA_FILE} is not of the weights that this start trains")
            self._average = {name: _like(saved[name], one) for name, one in self._weights.items()}
            return True
        if step >= self._settings.from_step:
            self._begin()
        return step <= self._settings.from_step

    def update(self, step: int) -> None:
        """After a step was taken."""
        done = step + 1
        if not self._average:
            if done >= self._settings.from_step:
                self._begin()
        elif (done - self._settings.from_step) % self._settings.every == 0:
            for name, weight in self._weights.items():
                self._average[name].lerp_(weight.detach().float(), 1 - self._settings.decay)

    def _begin(self) -> None:
        self._average = {name: weight.detach().float().clone() for name, weight in self._weights.items()}

    @contextmanager
    def in_use(self, purpose: Purpose) -> Iterator[None]:
        """Inside, the model has the average as its weights, once it has begun, where the settings want that for this
        purpose; afterwards its own again, bit for bit."""
        if not self._average or getattr(self._settings, purpose) != "ema":
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for module in self._sharded:
            module.reshard()  # what a forward pass gathered is of other weights now
        for name, weight in self._weights.items():
            own = weight.clone()
            weight.copy_(self._average[name])
            self._average[name].copy_(own)

    def write(self, folder: Path) -> None:
        """Write the average, once it has begun."""
        self.take(None)(folder)

    def take(self, copies: HostCopies | None) -> Callable[[Path], None]:
        """What writes the average as it is now to a folder; from `copies`, also while training continues."""
        whole: dict[str, Tensor] = {}
        for name, one in sorted(self._average.items()):
            tensor = _whole(one)
            if self._is_main:
                whole[name] = tensor.cpu() if copies is None else tensor
        return partial(_write, whole if copies is None else cast(dict[str, Tensor], copies.copy(whole)))


def _write(whole: dict[str, Tensor], folder: Path) -> None:
    if whole:
        save_file({name: tensor.contiguous() for name, tensor in whole.items()}, folder / EMA_FILE)


def _whole(tensor: Tensor) -> Tensor:
    """Of a shard the whole tensor, gathered."""
    full: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach()


def _like(tensor: Tensor, other: Tensor) -> Tensor:
    """In float32, on the device of the other, and sharded as it is."""
    moved = tensor.to(other.device, torch.float32)
    if not isinstance(other, DTensor):
        return moved
    return distribute_tensor(moved, other.device_mesh, other.placements, src_data_rank=None)
