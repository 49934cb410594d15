"""Run as processes by test_step.py: one step over hand-made packs, then rank 0 writes gradient and figures.

Arguments: model folder, output file, micro-batches per rank, rows per micro-batch.
"""

import sys

import torch
from accelerate import Accelerator

from wdstream.batches.collate import collate, encode_pack
from wdstream.config.schema import Config
from wdstream.families.registry import load_family
from wdstream.testing import make_samples
from wdstream.train.model.load import load_model
from wdstream.train.step.loss import LossHead
from wdstream.train.step.step import TrainEngine, train_step


class Recorder(torch.optim.Optimizer):
    """Keeps the gradient as it is when the step is taken."""

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": 0.0})
        self.gradient = torch.empty(0)

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        self.gradient = torch.cat([torch.zeros(0) if grad is None else grad.flatten() for grad in grads])


def main(model_dir: str, out: str, micro_batches: int, rows: int) -> None:
    accelerator = Accelerator(cpu=True)
    family = load_family(model_dir)
    config = Config.model_validate({"model": {"path": model_dir}, "data": {"train": [{"path": "none"}]}})
    bare = load_model(config, accelerator.device)
    head = LossHead(bare)
    recorder = Recorder([p for p in bare.parameters() if p.requires_grad])
    model = accelerator.prepare(bare)
    samples = make_samples(family)
    # Four packs with 1 to 5 documents: very uneven supervised tokens; the second one has no image at all.
    packs = [samples, [samples[1]], [samples[0], samples[2]], [samples[3], samples[4], samples[1]]]
    encoded = [encode_pack(pack, family, number=number) for number, pack in enumerate(packs)]
    batches = [collate(encoded[start : start + rows], family) for start in range(0, len(encoded), rows)]
    ours = batches[accelerator.process_index * micro_batches :][:micro_batches]
    num_supervised = sum(int((pack.labels != -100).sum()) for pack in encoded)
    engine = TrainEngine(
        accelerator=accelerator,
        model=model,
        optimizer=recorder,
        head=head,
        family=family,
        dtype=torch.float32,
        max_grad_norm=1e9,
        seed=0,
        needs_images=True,
    )
    outcome = train_step(engine, ours, num_supervised=num_supervised, rate=0.0)
    if accelerator.is_main_process:
        torch.save({"gradient": recorder.gradient, "norm": outcome.grad_norm, "found": outcome.num_supervised}, out)
    del engine, model  # before their process group, whose end they would else be: that can hang
    accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
