"""Run as processes by test_step.py: one step over hand-made packs, then rank 0 writes gradient and figures.

Arguments: model folder, output file, micro-batches per rank, rows per micro-batch, objective as JSON.
"""

import json
import sys
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from wdstream.batches.collate import collate, encode_pack
from wdstream.config.schema import Config
from wdstream.families.registry import load_family
from wdstream.records import PackPlan, StepPlan
from wdstream.testing import make_samples
from wdstream.train.model.load import load_model
from wdstream.train.step.loss import LossHead
from wdstream.train.step.objective import DatasetWeights, Objective
from wdstream.train.step.step import TrainEngine, train_step


class Recorder(torch.optim.Optimizer):
    """Keeps the gradient as it is when the step is taken."""

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": 0.0})
        self.gradient = torch.empty(0)

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        self.gradient = torch.cat([torch.zeros(0) if grad is None else grad.flatten() for grad in grads])


def plan_of(packs: list[list[int]], supervised: list[int]) -> StepPlan:
    """The plan of a step whose packs hold these samples."""
    plans = [
        PackPlan(
            number=number,
            samples=tuple(pack),
            tokens=(1,) * len(pack),
            patches=(0,) * len(pack),
            supervised=tuple(supervised[sample] for sample in pack),
            scales=(0,) * len(pack),
            language_cost=1,
            vision_cost=1,
        )
        for number, pack in enumerate(packs)
    ]
    return StepPlan(step=0, packs=plans, assignment=())


def objective_of(settings: dict[str, Any]) -> Objective:
    """Samples 0 to 2 are of one dataset, 3 and 4 of another."""
    weights = settings.pop("weights", None)
    return Objective(weights=weights and DatasetWeights(np.array([0, 3, 5]), weights), **settings)


def main(model_dir: str, out: str, micro_batches: int, rows: int, objective: Objective) -> None:
    accelerator = Accelerator(cpu=True)
    family = load_family(model_dir)
    config = Config.model_validate({"model": {"path": model_dir}, "data": {"train": [{"path": "none"}]}})
    bare = load_model(config, accelerator.device)
    head = LossHead(bare)
    recorder = Recorder([p for p in bare.parameters() if p.requires_grad])
    model = accelerator.prepare(bare)
    samples = make_samples(family)
    # Four packs with 1 to 5 documents: very uneven supervised tokens; the second one has no image at all.
    packs = [[0, 1, 2, 3, 4], [1], [0, 2], [3, 4, 1]]
    plan = plan_of(packs, [int((sample.labels != -100).sum()) for sample in samples])
    encoded = [
        encode_pack([samples[sample] for sample in pack], family, number=number, step=plan)
        for number, pack in enumerate(packs)
    ]
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
        objective=objective,
    )
    outcome = train_step(engine, ours, num_supervised=num_supervised, rate=0.0)
    if accelerator.is_main_process:
        figures = {"norm": outcome.grad_norm, "found": outcome.num_supervised, "z_sum": outcome.z_sum}
        torch.save({"gradient": recorder.gradient, "loss_sum": outcome.loss_sum, **figures}, out)
    del engine, model  # before their process group, whose end they would else be: that can hang
    accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), objective_of(json.loads(sys.argv[5])))
