"""FSDP2 and ZeRO-3 without a copy of the weights per process: the main one reads them, the others get their shards.

    main process      load_model            whole weights ──► each tensor is sent ──► its shard
    every other       load_model on meta    shapes alone, on memory that nobody writes ──► its shard

On memory that is asked for and never written, since Accelerate's optimizer knows its parameters by their addresses, and
the system gives no page of it. Accelerate sends what a `state_dict` has, `zero.Init` of DeepSpeed each parameter;
buffers and other tensors that modules hold, such as rotary frequencies, go here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.optim import Optimizer

from wdstream.train.launch.zero import zero_stage
from wdstream.train.saving.together import from_main

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

Seen = TypeVar("Seen")


def reads_alone(accelerator: Accelerator) -> bool:
    """Whether the main process alone reads the weights: several processes under FSDP2 or ZeRO-3."""
    return accelerator.num_processes > 1 and (bool(accelerator.is_fsdp2) or zero_stage(accelerator) == 3)


def load_spread(
    accelerator: Accelerator, load: Callable[[bool], "PreTrainedModel | PeftModel"]
) -> "PreTrainedModel | PeftModel":
    """The model of this process before it is sharded; all of them call it together.

    Args:
        accelerator: under which it is trained.
        load: gives the model, and checks what has to be checked of its weights; with False on the meta device.

    Raises:
        WdstreamError: the main process cannot load it: the same error on all.
    """
    if not reads_alone(accelerator):
        return load(True)
    loaded: list[PreTrainedModel | PeftModel] = [] if accelerator.is_main_process else [load(False)]
    from_main(lambda: loaded.append(load(True)), is_main=accelerator.is_main_process)
    _share_small_tensors(loaded[0], is_main=accelerator.is_main_process)
    _allocate(loaded[0])
    return loaded[0]


def found_by_main(accelerator: Accelerator, look: Callable[[], Seen]) -> Seen:
    """What a look at the weights finds, where the main process alone has them; else each looks by itself."""
    return from_main(look, is_main=accelerator.is_main_process) if reads_alone(accelerator) else look()


def prepare_spread(accelerator: Accelerator, model: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
    """`Accelerator.prepare` of what `load_spread` gave, and its optimizer."""
    plugin = getattr(accelerator.state, "fsdp_plugin", None)  # which is there only under FSDP
    if plugin is not None and plugin.transformer_cls_names_to_wrap is None:
        plugin.transformer_cls_names_to_wrap = layer_classes(model)
    if plugin is None or not reads_alone(accelerator):
        if reads_alone(accelerator):
            _shard_by_zero(accelerator, model)
        prepared: tuple[nn.Module, Optimizer] = accelerator.prepare(model, optimizer)
        return prepared
    plugin.cpu_ram_efficient_loading = True
    try:
        with _kept_buffers(model), _kept_ties(model):
            prepared = accelerator.prepare(model, optimizer)
    finally:
        plugin.cpu_ram_efficient_loading = False  # and nobody reads it after that
    return prepared


def layer_classes(model: nn.Module) -> list[str]:
    """Names of the classes of layers that become a unit each: of transformers' list (`_no_split_modules`) those that
    the model has. It also names parts of other towers (SiglipTextEmbeddings), which Accelerate takes for an error."""
    own = {type(module).__name__ for module in model.modules()}
    return sorted(name for name in getattr(model, "_no_split_modules", None) or () if name in own)


@contextmanager
def _kept_buffers(model: nn.Module) -> Iterator[None]:
    """Inside, Accelerate takes no buffer for a weight that it has to shard."""
    saved = [
        (module, name)
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and name not in module._non_persistent_buffers_set
    ]
    for module, name in saved:
        module._non_persistent_buffers_set.add(name)
    try:
        yield
    finally:
        for module, name in saved:
            module._non_persistent_buffers_set.discard(name)


@contextmanager
def _kept_ties(model: nn.Module) -> Iterator[None]:
    """Inside, `tie_weights`, which Accelerate calls, makes one again what is one now; that of transformers knows
    nothing of an adapter's copies (modules_to_save)."""
    places: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, one in module._parameters.items():
            if one is not None:
                places.setdefault(one, []).append((module, name))
    tied = [found for found in places.values() if len(found) > 1]

    def tie() -> None:
        for (first, own), *others in tied:
            for module, name in others:
                module._parameters[name] = first._parameters[own]

    vars(model)["tie_weights"] = tie
    del places  # which would keep whole weights
    try:
        yield
    finally:
        del vars(model)["tie_weights"]


def _shard_by_zero(accelerator: Accelerator, model: nn.Module) -> None:
    """Send each parameter from the main process, and keep this one's part, before DeepSpeed's engine is made: that
    would bring whole weights to every device first. They get the dtype that it computes in, as it would have them."""
    from deepspeed import zero

    settings = accelerator.state.deepspeed_plugin.deepspeed_config
    dtype = torch.bfloat16 if settings["bf16"]["enabled"] else torch.float32
    for one in model.parameters():
        one.data = one.data.to(dtype) if accelerator.is_main_process else torch.empty(one.shape, dtype=dtype)
    zero.Init(module=model, config_dict_or_path=settings, dtype=dtype)


def _share_small_tensors(model: nn.Module, *, is_main: bool) -> None:
    """Give every tensor of the modules that is not a parameter the value that the main process has."""
    found = [{place: tensor for place, _, tensor in small_tensors(model)} if is_main else {}]
    broadcast_object_list(found)
    for place, module, _ in [] if is_main else list(small_tensors(model)):
        setattr(module, place.rpartition(".")[2], found[0][place])


def small_tensors(model: nn.Module) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """(place, module, tensor) of buffers and plain attributes."""
    for prefix, module in model.named_modules():
        for held in (module._buffers, vars(module)):
            for name, one in held.items():
                if isinstance(one, Tensor):
                    yield f"{prefix}.{name}", module, one


def _allocate(model: nn.Module) -> None:
    """Give parameters on the meta device memory on the CPU; those that are one stay one."""
    made: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        for name, one in module._parameters.items():
            if one is not None and one.is_meta:
                if one not in made:
                    made[one] = nn.Parameter(torch.empty_like(one, device="cpu"), requires_grad=one.requires_grad)
                module._parameters[name] = made[one]
