"""A forward pass without numbers: the model's tensors have shapes and no memory, and what it keeps is counted.

The real model, its settings, the real loss and real ids, on PyTorch's fake tensors. So every family is counted by its
own code, and no formula has to follow it; ids, positions and masks are real, since models read them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from wdstream.batches.batch import Batch
from wdstream.config.schema import Config
from wdstream.config.speed import CheckpointedLayers
from wdstream.families.base import Family
from wdstream.proofs.checkpoint import model_of_config
from wdstream.train.model.adapter import add_adapter, refuse_frozen_targets
from wdstream.train.model.checkpointing import KEPT_RESULTS, enable_checkpointing
from wdstream.train.model.image_padding import drop_image_padding
from wdstream.train.model.load import freeze_vision
from wdstream.train.optimizer.groups import freeze_parts
from wdstream.train.step.loss import LossHead, find_targets

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_ATEN = torch.ops.aten
_INDEXED = (_ATEN.index.Tensor, _ATEN.index_put_.default, _ATEN.index_put.default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Bytes that a forward pass keeps for its backward pass.

    Attributes:
        activations: of the batch.
        casts: copies of weights in the dtype that is computed in, once for any number of rows.
    """

    activations: int
    casts: int


def fake_model(
    config: Config, family: Family, *, dtype: torch.dtype, wanted: bool | str | CheckpointedLayers
) -> "PreTrainedModel | PeftModel":
    """The model of a run as `load_model` gives it, without a byte of weights.

    Args:
        config: of the run.
        family: fitted to its attention.
        dtype: that the run computes in.
        wanted: `train.gradient_checkpointing`.

    Raises:
        ConfigError: what learns contradicts itself, or names what the model does not have.
        TrainError: an adapter fits nowhere.
    """
    model = model_without_numbers(config, family, dtype=dtype)
    become_fake(model)
    if family.padding_side is not None and config.data.pad_to == "full":
        drop_image_padding(model)
    model.config.use_cache = False
    enable_checkpointing(model, wanted)
    model.train()
    return model


def model_without_numbers(config: Config, family: Family, *, dtype: torch.dtype) -> "PreTrainedModel | PeftModel":
    """The model of a run on the meta device, with its adapter, and frozen as the run freezes it.

    Args:
        config: of the run.
        family: fitted to its attention.
        dtype: that the run computes in.

    Raises:
        ConfigError: what learns contradicts itself, or names what the model does not have.
        FamilyError: config.json describes no model.
        TrainError: an adapter fits nowhere.
    """
    from transformers.initialization import no_init_weights

    adapter, path = config.train.adapter, config.model.path
    # Flash attention keeps what PyTorch's own keeps, and cannot run here.
    name = config.model.attn if config.model.attn in ("sdpa", "eager") else "sdpa"
    options = {
        "dtype": torch.float32 if adapter is None else dtype,
        "attn_implementation": family.attention_setting(name),
    }
    with torch.device("meta"), no_init_weights():
        model = model_of_config(path, **options)
        model.tie_weights()
        if config.train.freeze_vision:
            freeze_vision(model)
        model = model if adapter is None else add_adapter(model, adapter, path)
        if adapter is not None and config.train.freeze_vision:
            refuse_frozen_targets(model)
        freeze_parts(model, config.train)
    return model


def become_fake(model: nn.Module) -> None:
    """Put fake tensors of the CPU in place of a model's tensors on the meta device; those that are one stay one."""
    made: dict[int, Tensor] = {}

    def fake(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            empty = torch.empty_like(tensor, device="cpu")
            is_weight = isinstance(tensor, nn.Parameter)
            made[id(tensor)] = nn.Parameter(empty, requires_grad=tensor.requires_grad) if is_weight else empty
        return made[id(tensor)]

    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in model.modules():
            for tensors in (module._parameters, module._buffers):
                held: dict[str, Any] = tensors
                held.update({name: fake(one) for name, one in held.items() if one is not None})


def kept_by(
    model: nn.Module, family: Family, batch: Batch, *, dtype: torch.dtype, keeps_products: bool = False
) -> Kept:
    """What the loss of a batch keeps.

    Args:
        model: of fake tensors, or a real one, on the CPU.
        family: of the model.
        batch: real.
        dtype: that the run computes in.
        keeps_products: `selective` checkpointing, which keeps results that no hook sees.
    """
    head = LossHead(model)
    inputs = dict(family.model_inputs(batch, device="cpu", dtype=dtype))
    inputs.pop("labels", None)
    counted = _Saved(model)
    mode = _Operations()
    saving = torch.autograd.graph.saved_tensors_hooks(counted.add, lambda tensor: tensor)
    with mode, torch.autocast("cpu", dtype, enabled=dtype != torch.float32), saving:
        head.loss_sum(model, inputs, find_targets(batch.labels))
    activations, casts = counted.totals()
    return Kept(activations=activations + (mode.kept if keeps_products else 0), casts=casts)


class _Saved:
    """Storages that are saved for the backward pass, each counted once; weights are there anyway."""

    def __init__(self, model: nn.Module) -> None:
        parameters = list(model.parameters())
        self._weights = {parameter.untyped_storage()._cdata for parameter in parameters}
        self._sizes = {parameter.numel() for parameter in parameters if parameter.ndim >= 2}
        self._found: dict[int, tuple[Tensor, bool]] = {}

    def add(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._weights:
            is_cast = tensor.ndim == 2 and tensor.dtype != torch.float32 and tensor.numel() in self._sizes
            self._found[storage._cdata] = (tensor, is_cast)  # kept, so that no other takes its place
        return tensor

    def totals(self) -> tuple[int, int]:
        """(bytes of activations, bytes of weights in another dtype)."""
        sums = [0, 0]
        for tensor, is_cast in self._found.values():
            sums[is_cast] += tensor.untyped_storage().nbytes()
        return sums[0], sums[1]


class _Operations(TorchDispatchMode):
    """Counts the results that `selective` keeps; turns real masks into indices, whose number fake tensors can tell.

    What a frozen part computes without a graph is not kept, though `selective` names it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _INDEXED:
            args = (args[0], _as_indices(args[1]), *args[2:])
        result = func(*args, **(kwargs or {}))
        if func in KEPT_RESULTS and any(isinstance(one, Tensor) and one.requires_grad for one in args):
            first = result[0] if isinstance(result, tuple | list) else result
            self.kept += first.untyped_storage().nbytes()
        return result


def _as_indices(indices: list[Tensor | None]) -> list[Tensor | None]:
    out: list[Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool and not isinstance(index, FakeTensor):
            out += list(torch.nonzero(index, as_tuple=True))
        else:
            out.append(index)
    return out
