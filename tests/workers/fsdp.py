"""Run as two processes by test_fsdp.py: steps under Accelerate's real FSDP2 path, on a CPU.

As `--use_fsdp --fsdp_version 2` gives it, without more. Arguments: model folder, work folder, mixed precision, and
`each` for gradients that are summed after every micro-batch, `ema` for train.ema, or train.adapter as JSON.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Literal

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from torch.distributed.fsdp import FSDPModule

from tests.helpers.emulated_world import pretend_gpus
from wdstream.batches.collate import collate, encode_pack
from wdstream.config.ema import EmaConfig
from wdstream.config.schema import Config
from wdstream.families.registry import load_family
from wdstream.runs.checkpoint import Retention
from wdstream.runs.layout import RunLayout
from wdstream.testing import make_samples
from wdstream.train.evaluate.sets import evaluate
from wdstream.train.launch.fsdp import settle_fsdp
from wdstream.train.model.ema import EMA_FILE, AverageWeights
from wdstream.train.model.load import load_model
from wdstream.train.model.sharded import load_spread, prepare_spread
from wdstream.train.optimizer.optimizer import make_optimizer
from wdstream.train.saving.checkpoint import Checkpoints
from wdstream.train.saving.export import export_final
from wdstream.train.step.loss import LossHead
from wdstream.train.step.step import TrainEngine, train_step


def whole_gradients(model: torch.nn.Module) -> int:
    """Elements of gradients that this rank keeps unsharded between two micro-batches."""
    groups = [
        module._get_fsdp_state()._fsdp_param_group for module in model.modules() if isinstance(module, FSDPModule)
    ]
    kept = [one.unsharded_accumulated_grad for group in groups if group is not None for one in group.fsdp_params]
    kept += [one._unsharded_param.grad for group in groups if group is not None for one in group.fsdp_params]
    return sum(grad.numel() for grad in kept if grad is not None)


def whole_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.full_tensor().clone() for name, one in model.named_parameters()}  # type: ignore[attr-defined]


def check_average(
    average: AverageWeights, wanted: dict[str, torch.Tensor], work: Path, accelerator: Accelerator
) -> None:
    """Equal to the reference."""
    average.write(work)
    accelerator.wait_for_everyone()
    shutil.copy(work / EMA_FILE, work / f"straight-{accelerator.process_index}.safetensors")
    for name, tensor in load_file(work / EMA_FILE).items():
        torch.testing.assert_close(tensor, wanted[name], rtol=0, atol=1e-6)


def main(model_dir: str, work: Path, precision: Literal["no", "bf16"], option: str) -> None:
    syncs_each, adapter = option == "each", json.loads(option) if option.startswith("{") else None
    pretend_gpus()
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, state_dict_type="FULL_STATE_DICT")
    accelerator = Accelerator(fsdp_plugin=plugin, mixed_precision=precision)
    assert accelerator.distributed_type == DistributedType.FSDP
    settle_fsdp(accelerator)
    family = load_family(model_dir)
    tree = {"model": {"path": model_dir}, "data": {"train": [{"path": "none"}]}, "train": {"adapter": adapter}}
    config = Config.model_validate(tree)
    torch.manual_seed(0)  # as a run does: new weights are the same on all ranks
    bare = load_spread(accelerator, lambda whole: load_model(config, torch.device("cpu"), has_numbers=whole))
    head = LossHead(bare)
    model, optimizer = prepare_spread(accelerator, bare, make_optimizer(bare, config.train))
    engine = TrainEngine(
        accelerator=accelerator,
        model=model,
        optimizer=optimizer,
        head=head,
        family=family,
        dtype=torch.float32 if precision == "no" else torch.bfloat16,
        max_grad_norm=1e9,
        seed=0,
        needs_images=True,
        syncs_each=syncs_each,
    )
    samples = make_samples(family)
    packs = [samples, [samples[1]], [samples[0], samples[2]], [samples[3], samples[4], samples[1]]]
    encoded = [encode_pack(pack, family, number=number) for number, pack in enumerate(packs)]
    # Rank 0 has a micro-batch without any image, rank 1 has none such.
    ours = [collate([pack], family) for pack in encoded[accelerator.process_index * 2 :][:2]]
    num_supervised = sum(int((pack.labels != -100).sum()) for pack in encoded)
    checkpoints = Checkpoints(RunLayout(work), accelerator, keep=Retention(newest=1))
    begin = 0 if option == "ema" else 10**6  # else it is never begun
    ema = EmaConfig(decay=0.6, eval_with="ema", final_with="ema", from_step=begin)
    average = AverageWeights(model, accelerator, ema)
    if option == "ema":
        average.restore(0, None)
        checkpoints.average = average
    wanted = whole_weights(model)
    norms, losses = [], []
    for step in range(4):
        if step == 2:
            checkpoints.save(2, stream={}, trainer={})
        outcome = train_step(engine, ours, num_supervised=num_supervised, rate=1e-2)
        average.update(step)
        wanted = {name: 0.6 * wanted[name] + 0.4 * now for name, now in whole_weights(model).items()}
        norms.append(outcome.grad_norm)
        losses.append(outcome.loss_sum)
    forward, kept = head.loss_sum, []

    def note(*arguments: Any) -> torch.Tensor:
        if torch.is_grad_enabled():  # not of an evaluation
            kept.append(whole_gradients(model))
        return forward(*arguments)

    vars(head)["loss_sum"] = note  # before each micro-batch of a step
    newest, _ = checkpoints.newest()
    assert newest is not None
    checkpoints.load(newest)
    if option == "ema":
        check_average(average, wanted, work, accelerator)
        average.restore(2, newest.path)
    again = []
    for step in (2, 3):
        with average.in_use("eval_with"):
            evaluate(engine, ours)
        again.append(train_step(engine, ours, num_supervised=num_supervised, rate=1e-2).grad_norm)
        average.update(step)
    average.write(work)
    with average.in_use("final_with"):
        export_final(engine, source=Path(model_dir), folder=work / "final")
    if accelerator.is_main_process:
        units = [name for name, module in model.named_modules() if isinstance(module, FSDPModule)]
        found = {"straight": norms, "again": again, "losses": losses, "units": units, "kept": kept}
        (work / "found.json").write_text(json.dumps(found))
    accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), "bf16" if sys.argv[3] == "bf16" else "no", "".join(sys.argv[4:]))
