"""A second device without a second device: tensors that say they are elsewhere, and are computed on the CPU.

What goes wrong on a GPU and nowhere else is mostly a tensor on the CPU: made there, or never moved. Here a tensor
on the device `emulated` is a wrapper around one of the CPU, and every operation of PyTorch, forward and backward, is
unwrapped, computed, and wrapped again. One that is given tensors of both devices raises, as it would on a GPU; so does
`numpy()`. As there, a number without dimensions may come from the CPU, and so may indices.

Importing this registers the device in PyTorch for good, so do it in a process of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

CPU = torch.device("cpu")
_ATEN = torch.ops.aten
_MOVES = {_ATEN._to_copy.default, _ATEN.copy_.default}
_INDEXED = {_ATEN.index.Tensor, _ATEN.index_put_.default, _ATEN.index_put.default, _ATEN._index_put_impl_.default}


class _Module(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device: torch.device) -> torch.Tensor:
        """The CPU's, which draws for this device too."""
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: torch.device) -> None:
        torch.set_rng_state(state)


backend_registration._setup_privateuseone_for_python_backend("emulated", backend_module=_Module())
DEVICE = torch.device("emulated", 0)


class OnDevice(torch.Tensor):
    """A tensor of the device around the CPU's tensor that holds its values."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "OnDevice":
        made: OnDevice = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
        )
        made.held = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _run(func, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({self.held!r})"

    def tolist(self) -> Any:
        return self.held.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"a tensor on {DEVICE} cannot become an array; move it to the CPU first")


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _NumbersFirst(TorchFunctionMode):
    """`torch.tensor` reads numbers out of a list of tensors below where a mode could see it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.tensor:
            args = pytree.tree_map(lambda leaf: leaf.tolist() if isinstance(leaf, OnDevice) else leaf, args)
        return func(*args, **(kwargs or {}))


@contextmanager
def emulated_device() -> Iterator[torch.device]:
    """The device; tensors can be made on it and moved to it inside."""
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # so that torch.tensor(..., device=...) passes here too
    try:
        with _NumbersFirst(), _Mode():  # type: ignore[no-untyped-call]
            yield DEVICE
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    """One operation: checked, computed on the CPU, its results wrapped where they belong on the device."""
    tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    is_wrapped = any(isinstance(tensor, OnDevice) for tensor in tensors)
    if is_wrapped and func not in _MOVES:
        checked = [args[0], *args[2:]] if func in _INDEXED else tensors
        for tensor in pytree.tree_leaves(checked):
            if isinstance(tensor, torch.Tensor) and not isinstance(tensor, OnDevice) and tensor.dim():
                raise RuntimeError(f"{func}: tensors on {DEVICE} and on the cpu, of shape {tuple(tensor.shape)}")
    device = kwargs.get("device")
    stays = torch.device(device).type == DEVICE.type if device is not None else is_wrapped
    if func is _ATEN.copy_.default:
        stays = isinstance(args[0], OnDevice)
    inner_args, inner_kwargs = pytree.tree_map(
        lambda leaf: leaf.held if isinstance(leaf, OnDevice) else leaf, (args, kwargs)
    )
    if device is not None:
        inner_kwargs["device"] = CPU
    found = func(*inner_args, **inner_kwargs)
    if not stays:
        return found
    wrapped = pytree.tree_map(lambda leaf: OnDevice(leaf) if isinstance(leaf, torch.Tensor) else leaf, found)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if is_wrapped else wrapped
