"""One optimizer step, exact: the loss is the mean over the supervised tokens of all ranks and micro-batches together.

    gradient of (sum of cross-entropies on this rank) / N  x  world size, averaged over the world by DDP, FSDP or ZeRO

N comes from the plan, so no rank waits for another before the backward pass. Averaging per micro-batch or per rank
instead would weigh a token by how many others share its micro-batch: a gradient error of 8 to 19 % on uneven packs.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from wdstream.batches.batch import Batch
from wdstream.errors import TrainError
from wdstream.families.base import Family
from wdstream.train.optimizer.effects import OwnSetting
from wdstream.train.optimizer.groups import LearningGroup, Rates
from wdstream.train.optimizer.optimizer import set_aside, set_learning_rate
from wdstream.train.step.blank import needs_dummy, with_dummy, with_dummy_inside
from wdstream.train.step.device_feed import copies_on, feed
from wdstream.train.step.loss import LossHead, Targets
from wdstream.train.step.objective import Objective

PLAIN_LOSS = Objective()
"""The mean cross-entropy alone, as evaluation has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What a forward pass needs: the prepared model with its surroundings.

    Attributes:
        accelerator: the process group.
        model: prepared.
        head: owns the output head of `model`.
        family: moves batches to the device.
        dtype: of pixels on the device.
        seed: of dropout.
        needs_images: every micro-batch must run the vision tower (`complete`).
        row_length: tokens of every row (`data.pad_to: full`); None: rows are as long as the longest pack.
    """

    accelerator: Accelerator
    model: nn.Module
    head: LossHead
    family: Family
    dtype: torch.dtype
    seed: int
    needs_images: bool
    row_length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainEngine(Engine):
    """What a step needs: the model in training mode, and its optimizer.

    Attributes:
        optimizer: prepared.
        max_grad_norm: norm to which the gradient is clipped; None: it is not.
        unreached: parameters that were frozen because no gradient reaches them.
        groups: of the optimizer, in its order.
        own: rates and weight decays of parts and patterns, for the metrics.
        syncs_each: gradients are summed over the ranks after each micro-batch, and not once per step.
        objective: what is minimised.
    """

    optimizer: Optimizer
    max_grad_norm: float | None
    unreached: tuple[str, ...] = ()
    groups: tuple[LearningGroup, ...] = ()
    own: tuple[OwnSetting, ...] = ()
    syncs_each: bool = False
    objective: Objective = PLAIN_LOSS


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyBatch:
    """A micro-batch on the device.

    Attributes:
        inputs: keyword arguments of the model's forward.
        targets: of its loss.
        first_pack: number of its first pack, from which its random numbers follow.
        sum_of_weights: of its supervised tokens, counted before they were moved.
    """

    inputs: Mapping[str, object]
    targets: Targets
    first_pack: int
    sum_of_weights: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What one rank saw in a step.

    Attributes:
        loss_sum: sum of this rank's cross-entropies, each times its weight.
        num_supervised: this rank's supervised tokens.
        grad_norm: norm of the whole gradient before clipping, the same on every rank.
        sum_of_weights: of this rank's supervised tokens; None: each is 1.
        z_sum: sum of this rank's z-losses.
    """

    loss_sum: float
    num_supervised: int
    grad_norm: float
    sum_of_weights: float | None = None
    z_sum: float = 0.0


def train_step(
    engine: TrainEngine, batches: Sequence[Batch], *, num_supervised: int, rate: float | Rates
) -> StepOutcome:
    """Forward and backward over this rank's micro-batches, then one update.

    Args:
        engine: the prepared parts.
        batches: this rank's micro-batches of the step.
        num_supervised: supervised tokens of the whole step over all ranks; 0 leaves the weights as they are.
        rate: learning rate of this step, for all or for each group of the optimizer.

    Raises:
        TrainError: the gradient is not finite; the weights are still those before the step, but under DeepSpeed, which
            has taken it by then.
    """
    accelerator = engine.accelerator
    set_learning_rate(engine.optimizer, rate)
    # Summed on the device: reading a number there makes the host wait for the device, so it is done once, at the end.
    loss_sum, z_sum = torch.zeros((2,), dtype=torch.float64, device=accelerator.device).unbind()
    own_supervised, own_weight = 0, 0.0
    denominator = engine.objective.denominator(num_supervised, batches)
    moved = feed(batches, partial(on_device, engine, objective=engine.objective), copies_on(accelerator.device))
    for number, ready in enumerate(moved):
        is_last = number == len(batches) - 1
        # DeepSpeed clips and takes the step inside the last backward pass; what follows the loop then reads its norm.
        accelerator.sync_gradients = is_last
        with nullcontext() if is_last or engine.syncs_each else accelerator.no_sync(engine.model):
            loss, count = ready_loss(engine, ready)
            if num_supervised:
                accelerator.backward(loss * (accelerator.num_processes / denominator))
        loss_sum += loss.detach()
        z_sum += 0.0 if engine.head.z_sum is None else engine.head.z_sum
        own_supervised, own_weight = own_supervised + count, own_weight + ready.sum_of_weights
    if not num_supervised:
        engine.optimizer.zero_grad()
        return StepOutcome(loss_sum=0.0, num_supervised=0, grad_norm=0.0)
    set_aside(engine.optimizer, rate)
    # Clipped to infinity a gradient stays as it is, bit for bit.
    limit = math.inf if engine.max_grad_norm is None else engine.max_grad_norm
    norm = float(accelerator.clip_grad_norm_(engine.model.parameters(), limit))
    if accelerator.scaler is None and not math.isfinite(norm):
        raise TrainError(
            f"the gradient norm is {norm} (loss sum of this rank {float(loss_sum)}); the step was not taken"
        )
    engine.optimizer.step()
    engine.optimizer.zero_grad()
    return StepOutcome(
        loss_sum=float(loss_sum - z_sum),
        num_supervised=own_supervised,
        grad_norm=norm,
        sum_of_weights=own_weight,
        z_sum=float(z_sum),
    )


def batch_loss(engine: Engine, batch: Batch) -> tuple[Tensor, int]:
    """(sum of cross-entropies with its graph, number of supervised tokens) of one micro-batch."""
    return ready_loss(engine, on_device(engine, batch))


def on_device(engine: Engine, batch: Batch, *, objective: Objective = PLAIN_LOSS) -> ReadyBatch:
    """A micro-batch, completed and moved."""
    batch = complete(engine, batch)
    targets = objective.targets(batch)
    return ReadyBatch(
        inputs=model_inputs(engine, batch),
        targets=targets.to(engine.accelerator.device),
        first_pack=batch.packs[0],
        sum_of_weights=targets.sum_of_weights,
    )


def ready_loss(engine: Engine, ready: ReadyBatch) -> tuple[Tensor, int]:
    """`batch_loss` of a micro-batch on the device.

    The random numbers of its forward pass (dropout) follow from the run's seed and the micro-batch's first pack alone:
    they are the same after a resume, and no generator's state has to be kept.
    """
    torch.manual_seed(pack_seed(engine.seed, ready.first_pack))
    return engine.head.loss_sum(engine.model, ready.inputs, ready.targets), ready.targets.num_supervised


def model_inputs(engine: Engine, batch: Batch) -> dict[str, object]:
    """Keyword arguments of the model's forward, on the device; without labels, since the head has its targets."""
    inputs = dict(engine.family.model_inputs(batch, device=engine.accelerator.device, dtype=engine.dtype))
    inputs.pop("labels", None)
    return inputs


@contextmanager
def undisturbed(engine: Engine) -> Iterator[None]:
    """No gradients and no dropout inside; afterwards every module's mode and the random numbers are as before."""
    modes = [(module, module.training) for module in engine.model.modules()]
    device = engine.accelerator.device
    devices = [] if device.type == "cpu" else [device]
    with torch.no_grad(), torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        engine.model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode


def pack_seed(seed: int, pack: int) -> int:
    """A 63-bit seed from the run's seed and a pack number: one splitmix64 step over both."""
    mask = (1 << 64) - 1
    value = (seed * 0x9E3779B97F4A7C15 + pack + 1) * 0xBF58476D1CE4E5B9 & mask
    value = (value ^ (value >> 31)) * 0x94D049BB133111EB & mask
    return (value ^ (value >> 29)) >> 1


def complete(engine: Engine, batch: Batch) -> Batch:
    """The batch, with a blank document in every row where training on many devices would break without.

    DDP waits for the gradient of every trained parameter and FSDP for every rank to enter every module, so each
    micro-batch must run the vision tower. The blank document has a small image and labels of -100: its gradient is
    exactly 0, on all ranks alike. A batch without any tokens (padding of the last step) gets one, too.
    """
    if not needs_dummy(batch, engine.family, needs_images=engine.needs_images):
        return batch
    add = with_dummy if engine.row_length is None else with_dummy_inside
    return add(batch, engine.family)
