"""Run as processes by test_optimizer_world.py: four steps, then the last three again from a checkpoint.

Arguments: model folder, work folder, kind (ddp or fsdp), settings of `train:` as JSON.
"""

import hashlib
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin

from wdstream.batches.batch import Batch
from wdstream.batches.collate import collate, encode_pack
from wdstream.config.schema import Config
from wdstream.families.registry import load_family
from wdstream.runs.checkpoint import Retention
from wdstream.runs.layout import RunLayout
from wdstream.testing import make_samples
from wdstream.train.launch.fsdp import settle_fsdp
from wdstream.train.model.load import load_model
from wdstream.train.model.sharded import load_spread, prepare_spread
from wdstream.train.optimizer.groups import freeze_parts, group_rates, learning_groups
from wdstream.train.optimizer.optimizer import keep_settings, make_optimizer, trained_alone
from wdstream.train.saving.checkpoint import Checkpoints
from wdstream.train.step.loss import LossHead
from wdstream.train.step.step import TrainEngine, train_step

STEPS = 4


def start(kind: str) -> Accelerator:
    if kind == "ddp":
        return Accelerator(cpu=True)
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    from tests.helpers.emulated_world import pretend_gpus

    pretend_gpus()
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, state_dict_type="FULL_STATE_DICT")
    accelerator = Accelerator(fsdp_plugin=plugin)
    settle_fsdp(accelerator)
    return accelerator


def engine_of(accelerator: Accelerator, config: Config) -> TrainEngine:
    bare = load_spread(accelerator, lambda whole: load_model(config, torch.device("cpu"), has_numbers=whole))
    freeze_parts(bare, config.train)
    head, groups = LossHead(bare), learning_groups(bare, config.train)
    model, optimizer = prepare_spread(accelerator, bare, make_optimizer(bare, config.train, groups))
    return TrainEngine(
        accelerator=accelerator,
        model=model,
        optimizer=optimizer,
        head=head,
        family=load_family(config.model.path),
        dtype=torch.float32,
        max_grad_norm=config.train.max_grad_norm,
        seed=0,
        needs_images=True,
        groups=groups,
    )


def digests(engine: TrainEngine) -> dict[str, str]:
    state = engine.accelerator.get_state_dict(engine.model)
    return {name: hashlib.sha256(tensor.cpu().numpy().tobytes()).hexdigest()[:16] for name, tensor in state.items()}


def main(model_dir: str, work: Path, kind: str, train: dict[str, Any]) -> None:
    accelerator = start(kind)
    tree = {"model": {"path": model_dir}, "data": {"train": [{"path": "none"}]}, "train": train}
    config = Config.model_validate(tree)
    engine = engine_of(accelerator, config)
    samples = make_samples(engine.family)
    packs = [samples, [samples[1]], [samples[0], samples[2]], [samples[3], samples[4], samples[1]]]
    encoded = [encode_pack(pack, engine.family, number=number) for number, pack in enumerate(packs)]
    own = len(packs) // accelerator.num_processes
    ours = [collate([pack], engine.family) for pack in encoded[accelerator.process_index * own :][:own]]
    total = sum(int((pack.labels != -100).sum()) for pack in encoded)
    checkpoints = Checkpoints(RunLayout(work), accelerator, keep=Retention(newest=1))
    train_on = partial(train_steps, engine, ours, total, config)
    before = digests(engine)
    straight = train_on(0, 1)
    checkpoints.save(1, stream={}, trainer={})
    straight += train_on(1, STEPS)
    newest, _ = checkpoints.newest()
    assert newest is not None
    engine.optimizer.state.clear()  # as in a new process
    with trained_alone(engine.optimizer, engine.groups, config.train, 1):
        checkpoints.load(newest)
    keep_settings(engine.optimizer, engine.groups, config.train)
    again = train_on(1, STEPS)
    if accelerator.is_main_process:
        found = {"before": before, "straight": straight, "again": again}
        (work / "found.json").write_text(json.dumps(found))
    del engine, train_on  # before their process group
    accelerator.end_training()


def train_steps(
    engine: TrainEngine, batches: list[Batch], total: int, config: Config, first: int, end: int
) -> list[tuple[float, float, dict[str, str]]]:
    found = []
    for step in range(first, end):
        rates = group_rates(engine.groups, step, config.train, total_steps=STEPS)
        outcome = train_step(engine, batches, num_supervised=total, rate=rates)
        found.append((outcome.loss_sum, outcome.grad_norm, digests(engine)))
    return found


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))
