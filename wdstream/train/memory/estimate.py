"""What a run takes of each GPU, by the ways in which processes can share it: DDP, FSDP2, ZeRO 1 to 3.

    weights, gradients, optimizer   counted on the model without its numbers, divided as each way divides them
    gathered                        whole weights that a sharded run holds for a moment: what no layer holds, two layers
    average                         of the weights (train.ema)
    casts                           copies of trained weights in model.dtype, which autocast makes
    per pack                        what a full pack keeps, with what a layer computes again on top, and its pixels;
                                    where rows have one length (data.pad_to: full) with what fills them up
    logits                          of a chunk of the output head, with their gradient

N processes. P weights, T of them trained; float32 has 4 bytes, bfloat16 2.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from wdstream.config.schema import Config, ModelConfig
from wdstream.errors import ConfigError
from wdstream.families.base import Family
from wdstream.train.memory.fake_run import Kept, fake_model, kept_by
from wdstream.train.memory.full_pack import full_pack
from wdstream.train.model.checkpointing import layers_of
from wdstream.train.model.quantize import unquantized_modules
from wdstream.train.optimizer.optimizer import make_optimizer
from wdstream.train.step.blank import batch_form
from wdstream.train.step.device_feed import tensors_in
from wdstream.train.step.loss import CHUNK_ROWS

GIB = 1 << 30
SET_ASIDE = 1.5 * GIB
"""Of CUDA itself, of NCCL, and of memory that the allocator cannot use."""
CHECKPOINTING_KINDS = ("false", "true", "selective")
"""Of `train.gradient_checkpointing`."""
WAYS = ("ddp", "fsdp2", "zero1", "zero2", "zero3")
_BLOCK, _SMALLEST = 256, 4096  # of bitsandbytes: elements per scale; smaller tensors keep 32-bit states
_ELEMENTS, _SCALES = 64, 256  # of its 4-bit weights: elements per scale, and scales per scale of theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class WayMemory:
    """Bytes that a GPU needs in one way of sharing.

    Attributes:
        weights, gradients, optimizer, average, gathered, casts, logits: see the module.
        per_pack: for each pack of a micro-batch.
        largest_micro_batch: packs that fit; 0: not even one.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    gathered: int
    casts: int
    logits: int
    per_pack: int
    largest_micro_batch: int

    def needed(self, packs: int) -> int:
        """Bytes of a step with this many packs in a micro-batch, without what is set aside for CUDA itself."""
        fixed = (self.weights, self.gradients, self.optimizer, self.average, self.gathered, self.casts, self.logits)
        return sum(fixed) + packs * self.per_pack


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBytes:
    """Of the model of a run, undivided.

    Attributes:
        weights: all, as they are kept.
        trained: how many numbers are trained.
        optimizer: its states.
        layer: numbers in the largest layer.
        outside: numbers in no layer.
        item: bytes of a number in the dtype that is computed in.
        vocabulary: rows of the output head.
    """

    weights: int
    trained: int
    optimizer: int
    layer: int
    outside: int
    item: int
    vocabulary: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """For each way of sharing, and for each kind of `train.gradient_checkpointing` that was counted."""

    world: int
    gpu_gib: float
    trained: int
    ways: Mapping[str, Mapping[str, WayMemory]]

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; bytes."""
        return asdict(self)


def estimate_memory(
    config: Config,
    family: Family,
    *,
    world: int,
    gpu_gib: float,
    kinds: Sequence[str] = CHECKPOINTING_KINDS,
    counted: dict[str, Kept] | None = None,
) -> MemoryEstimate:
    """Count a run's memory per GPU; nothing is loaded, and no GPU is needed.

    The model runs once for each kind: of a 7B whose tower attends by windows this is 20 s for a pack of 32,768 patches.

    Args:
        config: of the run.
        family: of its model.
        world: GPUs.
        gpu_gib: memory of each.
        kinds: of `train.gradient_checkpointing` to be counted; those that compute again need `false` next to them.
        counted: what was counted before of this configuration, by kind; more is put into it.

    Raises:
        ConfigError: no GPU is that small, or has no end; or what learns contradicts itself.
        TrainError: an adapter fits nowhere, or an optimizer's package is not installed.
    """
    if not SET_ASIDE < gpu_gib * GIB < math.inf:
        raise ConfigError(
            f"--gpu-gib or train.gpu_gib {gpu_gib:g}: expected a number over {SET_ASIDE / GIB}, which CUDA alone takes"
        )
    family, dtype = family.for_attention(config.model.attn), gpu_dtype(config.model)
    data, form = config.data, batch_form(config, family)
    batch = full_pack(family, sequence_length=data.sequence_length, max_patches=data.max_patches, form=form)
    kept: dict[str, Kept] = {} if counted is None else counted
    model = fake_model(config, family, dtype=dtype, wanted=False)
    for name in (kind for kind in kinds if kind not in kept):
        wanted = {"false": False, "true": True}.get(name, name)
        ran = model if name == "false" else fake_model(config, family, dtype=dtype, wanted=wanted)
        kept[name] = kept_by(ran, family, batch, dtype=dtype, keeps_products=name == "selective")
    sizes = model_bytes(model, config, dtype)
    moved = sum(tensor.nbytes for tensor in tensors_in(dict(family.model_inputs(batch, device="cpu", dtype=dtype))))
    least = min(found.activations for found in kept.values())
    again = (kept["false"].activations - least) // max(sum(map(len, layers_of(model))), 1)
    ways: dict[str, dict[str, WayMemory]] = {}
    for way in WAYS:
        parts = dict(divided(way, sizes, config, world=world, casts=kept["false"].casts))
        ways[way] = {
            name: _with_packs(parts, found.activations + 2 * moved + (0 if name == "false" else again), gpu_gib)
            for name, found in kept.items()
        }
    return MemoryEstimate(world=world, gpu_gib=gpu_gib, trained=sizes.trained, ways=ways)


def gpu_dtype(config: ModelConfig) -> torch.dtype:
    """The dtype of `model.dtype` on a GPU, where auto is bfloat16."""
    found: torch.dtype = torch.bfloat16 if config.dtype == "auto" else getattr(torch, config.dtype)
    return found


def model_bytes(model: Any, config: Config, dtype: torch.dtype) -> ModelBytes:
    """What a model of fake tensors has in it."""
    named = list(model.named_parameters())
    layers = [sum(map(Tensor.numel, layer.parameters())) for part in layers_of(model) for layer in part]
    return ModelBytes(
        weights=sum(one.nbytes for _, one in named) - four_bit_savings(model, config),
        trained=sum(one.numel() for _, one in named if one.requires_grad),
        optimizer=optimizer_bytes(model, config),
        layer=max(layers, default=0),
        outside=sum(one.numel() for _, one in named) - sum(layers),
        item=dtype.itemsize,
        vocabulary=model.get_input_embeddings().weight.shape[0],
    )


def four_bit_savings(model: nn.Module, config: Config) -> int:
    """How many bytes less the weights have where `train.adapter` keeps linear layers in 4 bits."""
    adapter = config.train.adapter
    if adapter is None or adapter.kind != "qlora":
        return 0
    whole = set(unquantized_modules(config.model.path, adapter))
    # Two numbers to a byte; a scale per block, of 32 bits, or of 8 with a scale of their own per 256 of them.
    scale = 1 + 4 / _SCALES if adapter.double_quant else 4
    saved = 0.0
    for name, module in model.named_modules():
        own = re.sub(r"^base_model\.model\.|\.(base_layer|original_module)(?=\.|$)", "", name)
        if isinstance(module, nn.Linear) and own not in whole and not re.search(r"\.(lora_|modules_to_save)", name):
            saved += module.weight.nbytes - module.weight.numel() * (0.5 + scale / _ELEMENTS)
    return int(saved)


def optimizer_bytes(model: nn.Module, config: Config) -> int:
    """States of the optimizer: those of its own first step, which costs nothing on fake tensors."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if "8bit" in config.train.optimizer:
        large = sum(one.numel() for one in trained if one.numel() >= _SMALLEST)
        small = sum(one.numel() for one in trained) - large
        return 2 * large + 2 * 4 * large // _BLOCK + 2 * 4 * small
    if config.train.optimizer == "adafactor":
        return sum(map(_adafactor_bytes, trained))
    with FakeTensorMode(allow_non_fake_inputs=True):
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter)
        optimizer = make_optimizer(model, config.train)
        optimizer.step()
    for parameter in trained:
        parameter.grad = None
    return sum(value.nbytes for state in optimizer.state.values() for value in tensors_in(state))


def _adafactor_bytes(parameter: Tensor) -> int:
    """Its step reads numbers, which fake tensors do not have. Of a matrix it keeps rows and columns; and its count."""
    count, shape = parameter.numel(), parameter.shape
    return 4 * (1 + (count if len(shape) < 2 else count // shape[-1] + count // shape[-2]))


def divided(way: str, sizes: ModelBytes, config: Config, *, world: int, casts: int) -> Iterator[tuple[str, int]]:
    """(name, bytes) of what does not depend on the micro-batch, as a way of sharing divides it."""
    trained, is_half = 4 * sizes.trained, sizes.item == 2
    units = sizes.item * (sizes.outside + 2 * sizes.layer)
    gradient = trained // 2 if is_half else trained
    accumulates = config.data.global_batch_size > world * config.train.micro_batch_size
    if way == "ddp":
        yield "weights", sizes.weights
        # They are in DDP's buckets; what is summed before the last micro-batch is next to them.
        yield "gradients", trained * (2 if world > 1 and accumulates else 1)
    elif way == "fsdp2":
        whole = accumulates and config.train.sync_each_micro_batch is not True
        yield "weights", sizes.weights // world
        yield "gradients", trained if whole else trained // world
    else:
        stage = int(way[-1])
        plain = sizes.weights // 2 if is_half and config.train.adapter is None else sizes.weights
        # With the float32 ones that it updates.
        yield "weights", (plain // world if stage == 3 else plain) + trained // world
        yield "gradients", gradient if stage == 1 else gradient // world
    yield "optimizer", sizes.optimizer if way == "ddp" else sizes.optimizer // world
    average = 0 if config.train.ema is None else trained
    yield "average", average // world if way == "fsdp2" else average
    yield "gathered", units if way in ("fsdp2", "zero3") and world > 1 else 0
    yield "casts", casts if way == "ddp" else 0
    yield "logits", CHUNK_ROWS * sizes.vocabulary * (4 + 4 + sizes.item)


def _with_packs(parts: Mapping[str, int], per_pack: int, gpu_gib: float) -> WayMemory:
    free = gpu_gib * GIB - SET_ASIDE - sum(parts.values())
    return WayMemory(**parts, per_pack=per_pack, largest_micro_batch=max(0, int(free // max(per_pack, 1))))
