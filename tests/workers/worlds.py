"""Run as ranks by test_worlds.py: three real steps over the same four packs, however they are divided.

Arguments: model folder, output file, `ddp` or `fsdp2`, mixed precision, and the packs of each rank and micro-batch:
`0,1;2,` for two ranks, the second of which has an empty micro-batch at the end. Rank 0 writes the loss of each step,
the gradient of the first one, and the weights after the last.
"""

import os
import sys
from typing import Any, Literal

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from torch import Tensor, nn

from tests.helpers.emulated_world import pretend_gpus
from wdstream.batches.collate import collate, encode_pack
from wdstream.config.schema import Config
from wdstream.families.registry import load_family
from wdstream.testing import make_samples
from wdstream.train.launch.fsdp import settle_fsdp
from wdstream.train.model.load import load_model
from wdstream.train.model.sharded import load_spread, prepare_spread
from wdstream.train.optimizer.optimizer import make_optimizer
from wdstream.train.step.loss import LossHead
from wdstream.train.step.step import TrainEngine, train_step

STEPS, RATE = 3, 1e-4


def open_accelerator(kind: str, precision: Literal["no", "bf16"]) -> Accelerator:
    if kind == "ddp":
        return Accelerator(cpu=True, mixed_precision=precision)
    pretend_gpus()
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2)
    accelerator = Accelerator(fsdp_plugin=plugin, mixed_precision=precision)
    settle_fsdp(accelerator)
    return accelerator


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may be divided among the ranks."""
    found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return found.detach().double().flatten()


def gradient_of(model: nn.Module) -> Tensor:
    parts = [whole(torch.zeros_like(p) if p.grad is None else p.grad) for p in model.parameters()]
    return torch.cat(parts)


def open_engine(accelerator: Accelerator, model_dir: str) -> TrainEngine:
    config = Config.model_validate({"model": {"path": model_dir}, "data": {"train": [{"path": "none"}]}})
    bare = load_spread(accelerator, lambda whole: load_model(config, torch.device("cpu"), has_numbers=whole))
    head = LossHead(bare)
    model, optimizer = prepare_spread(accelerator, bare, make_optimizer(bare, config.train))
    return TrainEngine(
        accelerator=accelerator,
        model=model,
        optimizer=optimizer,
        head=head,
        family=load_family(model_dir),
        dtype=torch.float32 if accelerator.mixed_precision == "no" else torch.bfloat16,
        max_grad_norm=1e9,
        seed=0,
        needs_images=True,
    )


def train(engine: TrainEngine, division: str) -> dict[str, Any]:
    samples = make_samples(engine.family)
    # Four packs with 1 to 5 documents: very uneven supervised tokens; the second one has no image at all.
    packs = [samples, [samples[1]], [samples[0], samples[2]], [samples[3], samples[4], samples[1]]]
    encoded = {str(number): encode_pack(pack, engine.family, number=number) for number, pack in enumerate(packs)}
    empty = encode_pack([], engine.family)
    ours = division.split(";")[engine.accelerator.process_index].split(",")
    batches = [collate([encoded.get(number, empty)], engine.family) for number in ours]
    num_supervised = sum(int((pack.labels != -100).sum()) for pack in encoded.values())
    optimizer, gradients = engine.optimizer, list[Tensor]()
    getattr(optimizer, "optimizer", optimizer).register_step_pre_hook(
        lambda *_: gradients.append(gradient_of(engine.model))
    )
    losses = []
    for _ in range(STEPS):
        outcome = train_step(engine, batches, num_supervised=num_supervised, rate=RATE)
        total = engine.accelerator.reduce(torch.tensor(outcome.loss_sum, dtype=torch.float64))
        losses.append(float(total) / num_supervised)
    weights = torch.cat([whole(parameter) for parameter in engine.model.parameters()])
    return {"losses": losses, "gradient": gradients[0], "weights": weights}


def main(model_dir: str, out: str, kind: str, precision: Literal["no", "bf16"], division: str) -> None:
    accelerator = open_accelerator(kind, precision)
    found = train(open_engine(accelerator, model_dir), division)  # the engine ends here, before its process group
    if accelerator.is_main_process:
        torch.save(found, out)
    accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], "bf16" if sys.argv[4] == "bf16" else "no", sys.argv[5])
