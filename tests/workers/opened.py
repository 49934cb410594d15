"""Run as ranks by test_sharded.py: a model as training opens it under FSDP2, on a CPU.

Arguments: model folder, work folder, and as JSON what `model:` and `train:` of the configuration hold. Each rank writes
its weights, put together, its other tensors, and how many numbers of weights it keeps whole.
"""

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from torch import Tensor, nn

from tests.helpers.emulated_world import pretend_gpus
from wdstream.config.schema import Config
from wdstream.families.registry import load_family
from wdstream.train.engine import open_engine
from wdstream.train.launch.fsdp import settle_fsdp
from wdstream.train.model.init import warm_start
from wdstream.train.model.sharded import small_tensors
from wdstream.train.step.step import TrainEngine


def whole(parameter: nn.Parameter) -> Tensor:
    found: Tensor = parameter.full_tensor()  # type: ignore[attr-defined]
    return found.detach().clone()


def numbers_kept_whole(engine: TrainEngine) -> int:
    """Of tensors that have the shape of a sharded weight and all of its numbers."""
    gc.collect()
    parameters = list(engine.model.parameters())
    shapes = {tuple(one.shape) for one in parameters if one.ndim > 1 and one.numel() >= 1024}
    # Local parts may have the shape of another whole weight.
    own = {one.to_local().data_ptr() for one in parameters}  # type: ignore[attr-defined]
    tensors = [one for one in gc.get_objects() if type(one) in (Tensor, nn.Parameter) and not one.is_meta]
    return sum(one.numel() for one in tensors if tuple(one.shape) in shapes and one.data_ptr() not in own)


def main(model_dir: str, work: Path, tree: dict[str, Any]) -> None:
    pretend_gpus()
    accelerator = Accelerator(fsdp_plugin=FullyShardedDataParallelPlugin(fsdp_version=2))
    settle_fsdp(accelerator)
    model = {"path": model_dir, **tree.get("model", {})}
    tree = {"model": model, "data": {"train": [{"path": "none"}]}, "train": tree.get("train", {})}
    config = Config.model_validate(tree)
    torch.manual_seed(accelerator.process_index)  # what is new in a model comes from one process all the same
    init = warm_start(config, accelerator, [])
    engine = open_engine(config, accelerator, load_family(model_dir), init=init)
    kept = numbers_kept_whole(engine)
    weights = {name: whole(one) for name, one in engine.model.named_parameters()}
    learns = [name for name, one in engine.model.named_parameters() if one.requires_grad]
    others = {place: tensor.clone() for place, _, tensor in small_tensors(engine.model)}
    saved = sorted(name for name in engine.model.state_dict() if name not in weights)
    found = {"weights": weights, "learns": learns, "others": others, "kept": kept, "saved": saved}
    torch.save(found, work / f"{accelerator.process_index}.pt")
    del engine
    accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
