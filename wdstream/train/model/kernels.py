"""`model.kernels`: layers of a loaded model computed by the kernels of another package.

    liger   norms (RMSNorm) and gated MLPs (SwiGLU, GEGLU) by the operations of liger-kernel
    hub     what transformers itself takes from the kernels of a hub

Liger's own recipes replace classes and functions for the whole process, and the output head with its loss, which are
ours: one mean over the whole step, from logits that never exist. So its operations are put into one layer at a time
here, into a kind of layer after they gave what it gives itself; positions, rotation, attention and loss stay.
"""

import functools
import importlib
import inspect
import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from wdstream.config.schema import ModelConfig
from wdstream.errors import ConfigError, needs_extra

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_GATED = "self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))"
"""What the forward of a gated MLP of transformers says."""
_VARIANTS = ((0.0, "llama"), (1.0, "gemma"))
"""(added to the weight, what is cast) of the two kinds of RMSNorm in use."""
_CLOSE = 1e-5
Operation = Callable[..., Tensor]


def require_kernels(config: ModelConfig) -> None:
    """Refuse kernels whose package is not installed, before weights are loaded; `plan` asks too.

    Raises:
        ConfigError: says what to install.
    """
    if config.kernels == "liger":
        _operations()
    elif config.kernels == "hub":
        from transformers.utils import import_utils

        if not import_utils.is_kernels_available():
            lowest, above = import_utils.KERNELS_MIN_VERSION, import_utils.KERNELS_MAX_VERSION
            raise ConfigError(
                f"model.kernels: hub: transformers {version('transformers')} needs the package kernels, "
                f"{lowest} or newer but below {above}, and found {_version('kernels')}; install that, or leave it out"
            )


def require_kernel_device(config: ModelConfig, device: torch.device) -> None:
    """Refuse kernels on a device that does not run them.

    Raises:
        ConfigError: there is no GPU.
    """
    if config.kernels != "none" and device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ConfigError(f"model.kernels: {config.kernels} needs a GPU, and this process has none: leave it out")


def take_kernels(model: "PreTrainedModel", config: ModelConfig, device: torch.device) -> None:
    """Let layers of a loaded model, which has no adapter yet, compute by `model.kernels`; in place.

    Raises:
        ConfigError: the model has no layer that the kernels compute the same, or a hub does not give its kernels.
    """
    if config.kernels == "liger":
        if not _take_liger(model, device):
            raise ConfigError(
                f"model.kernels: liger: {type(model).__name__} has no RMSNorm and no gated MLP that liger-kernel "
                "computes the same; leave it out"
            )
    elif config.kernels == "hub":
        try:
            model.set_use_kernels(True)
        except Exception as error:  # a network, a cache, a kernel that does not fit the device: each raises its own
            line = (str(error).strip().splitlines() or ["no reason"])[0]
            raise ConfigError(
                f"model.kernels: hub: the kernels could not be had ({type(error).__name__}: {line}); fetch them on a "
                "machine with a network, use liger, or leave it out"
            ) from error


def _take_liger(model: nn.Module, device: torch.device) -> int:
    """How many layers compute by it now."""
    norm, *gates = _operations()
    found: dict[tuple[type, type | float], functools.partial[Tensor] | None] = {}
    count = 0
    for each in model.modules():
        module: Any = each
        kind = type(each)
        is_norm = kind.__name__.endswith("RMSNorm") and isinstance(getattr(module, "weight", None), Tensor)
        is_gated = not is_norm and hasattr(module, "act_fn") and _GATED in _source(kind.forward)
        if not (is_norm or is_gated):
            continue
        key = (kind, _epsilon(module) if is_norm else type(module.act_fn))
        if key not in found:
            found[key] = _norm_like(module, norm, device) if is_norm else _gate_like(module, gates, device)
        operation = found[key]
        if operation is not None:
            module.forward = functools.partial(_normed if is_norm else _gated, module, operation)
            count += 1
    return count


def _norm_like(module: Any, norm: Operation, device: torch.device) -> "functools.partial[Tensor] | None":
    weight = torch.linspace(0.5, 1.5, int(module.weight.numel()), device=device)  # its own may be on no device yet
    rows = torch.linspace(-2, 3, 2 * len(weight), device=device).view(2, -1).sin()
    with torch.no_grad():
        wanted = torch.func.functional_call(module, {"weight": weight}, (rows,))
        for offset, casting in _VARIANTS:
            like = functools.partial(norm, eps=_epsilon(module), offset=offset, casting_mode=casting)
            if torch.allclose(like(rows, weight), wanted, rtol=_CLOSE, atol=_CLOSE):
                return like
    return None


def _gate_like(module: Any, gates: list[Operation], device: torch.device) -> "functools.partial[Tensor] | None":
    gate = torch.linspace(-4, 4, 64, device=device).view(2, -1)
    up = gate.cos()
    with torch.no_grad():
        wanted = module.act_fn(gate) * up
        for operation in gates:
            if torch.allclose(operation(gate, up), wanted, rtol=_CLOSE, atol=_CLOSE):
                return functools.partial(operation)
    return None


def _normed(module: Any, operation: Operation, hidden: Tensor) -> Tensor:
    return operation(hidden, module.weight)


def _gated(module: Any, operation: Operation, x: Tensor) -> Tensor:
    found: Tensor = module.down_proj(operation(module.gate_proj(x), module.up_proj(x)))
    return found


def _operations() -> list[Operation]:
    """Of liger-kernel: the norm, and the gates with SiLU and with GELU.

    Raises:
        ConfigError: it is not installed.
    """
    with needs_extra("model.kernels: liger", "liger", alternative="or leave it out"):
        ops = importlib.import_module("liger_kernel.ops")

    def norm(rows: Tensor, weight: Tensor, *, eps: float, offset: float, casting_mode: str) -> Tensor:
        # Not in place: where a norm follows a sum, its gradient is that of the other summand, too.
        found: Tensor = ops.LigerRMSNormFunction.apply(rows, weight, eps, offset, casting_mode, False)
        return found

    return [norm, ops.LigerSiLUMulFunction.apply, ops.LigerGELUMulFunction.apply]


def _epsilon(module: Any) -> float:
    return float(next(getattr(module, name) for name in ("variance_epsilon", "eps") if hasattr(module, name)))


@functools.cache
def _source(forward: Callable[..., object]) -> str:
    try:
        return inspect.getsource(forward)
    except (OSError, TypeError):
        return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def describe_kernels(model: nn.Module) -> str:
    """Which layers liger-kernel computes, for the log; empty: none."""
    made = (module.__dict__.get("forward") for module in model.modules())
    functions = [one.func for one in made if isinstance(one, functools.partial)]
    norms, gates = functions.count(_normed), functions.count(_gated)
    return f"model.kernels: liger computes {norms} norms and {gates} gated MLPs" if norms or gates else ""
