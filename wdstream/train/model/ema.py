"""An exponential moving average of the trained weights (`train.ema`): kept, saved, and put in the weights' place.

Every rank holds the average of the weights that it holds: all under DDP, its shard under FSDP2, 4 bytes per trained
number. A checkpoint has whole tensors in `ema.safetensors`, by the names of the model's parameters, so that any number
of processes continues from it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, cast

import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from wdstream.config.ema import EmaConfig
from wdstream.errors import ConfigError, TrainError
from wdstream.train.saving.whole_weights import HostCopies

EMA_FILE = "ema.safetensors"
Purpose = Literal["eval_with", "final_with"]


class AverageWeights:
    """The average over the steps of a run; `restore` comes first. All ranks call every method together.

    Args:
        model: prepared; what is trained of it stays the same.
        accelerator: that prepared it.
        settings: of the run.
    """

    def __init__(self, model: nn.Module, accelerator: Accelerator, settings: EmaConfig) -> None:
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
            self._average = _read(folder / EMA_FILE, self._weights)
            return True
        if step >= self._settings.from_step:
            self._begin()
        return step <= self._settings.from_step

    def update(self, step: int, *, is_skipped: bool = False) -> None:
        """After a step was taken, or passed over: then nothing becomes part of the average, though it may begin."""
        done = step + 1
        if not self._average:
            if done >= self._settings.from_step:
                self._begin()
        elif not is_skipped and (done - self._settings.from_step) % self._settings.every == 0:
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
                # A shard is gathered for the moment: on a device that holds a part, all would not fit.
                is_moved = copies is None or self._sharded
                whole[name] = torch.empty_like(tensor, device="cpu").copy_(tensor) if is_moved else tensor
        is_copied = copies is not None and not self._sharded
        return partial(_write, cast(dict[str, Tensor], copies.copy(whole)) if is_copied and copies else whole)


def _write(whole: dict[str, Tensor], folder: Path) -> None:
    if whole:
        save_file({name: tensor.contiguous() for name, tensor in whole.items()}, folder / EMA_FILE)


def _whole(tensor: Tensor) -> Tensor:
    """Of a shard the whole tensor, gathered."""
    full: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach()


def require_averaged(settings: EmaConfig | None, total: int | None) -> None:
    """Refuse an average of which no step of the run would become part.

    Args:
        settings: of the run.
        total: its steps, where they are known.

    Raises:
        ConfigError: the average begins too late for them.
    """
    if settings is not None and total is not None and settings.from_step + settings.every > total:
        raise ConfigError(
            f"train.ema: the run has {total} steps, and the first that would become part of the average is number "
            f"{settings.from_step + settings.every} (from_step {settings.from_step} + every {settings.every}); lower "
            "these, or leave ema out"
        )


def _read(path: Path, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor of a file as `_like` makes it; one after the other, as no process need hold all of them whole."""
    with safe_open(path, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        if shapes != {name: tuple(one.shape) for name, one in weights.items()}:
            raise TrainError(f"{path} is not of the weights that this start trains")
        return {name: _like(file.get_tensor(name), one) for name, one in weights.items()}


def _like(tensor: Tensor, other: Tensor) -> Tensor:
    """In float32, on the device of the other, and sharded as it is."""
    moved = tensor.to(other.device, torch.float32)
    if not isinstance(other, DTensor):
        return moved
    return distribute_tensor(moved, other.device_mesh, other.placements, src_data_rank=None)
