"""For each family, on the CPU and on an emulated second device: two steps of training, the leak check, writing.

Prints a JSON line per family: what both gave, and what was said to a tensor left on the CPU. Arguments: a folder
for tiny models, names of families.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import Accelerator

from tests.helpers.emulated_device import emulated_device
from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.sample import build_sample
from wdstream.config.schema import Config
from wdstream.families.registry import load_family
from wdstream.testing import make_document, make_samples, make_tiny_model
from wdstream.train.evaluate.generate import cut_prompt, write_ids
from wdstream.train.model.load import load_model
from wdstream.train.optimizer.optimizer import make_optimizer
from wdstream.train.step.isolation_check import check_no_leak
from wdstream.train.step.loss import LossHead
from wdstream.train.step.step import TrainEngine, model_inputs, train_step

CPU = torch.device("cpu")


def make_engine(path: Path, device: torch.device) -> TrainEngine:
    family = load_family(path)
    attention = "sdpa" if "sdpa" in family.attention else "eager"
    config = Config.model_validate(
        {"model": {"path": str(path), "attn": attention}, "data": {"train": [{"path": "none"}]}}
    )
    family = family.for_attention(attention)
    model = load_model(config, CPU, attention=family.attention_setting(attention)).to(device)
    model.tie_weights()
    accelerator = Accelerator(cpu=True)
    accelerator.state.device = device
    return TrainEngine(
        accelerator=accelerator,
        model=model,
        optimizer=make_optimizer(model, config.train),
        head=LossHead(model),
        family=family,
        dtype=torch.float32,
        max_grad_norm=1.0,
        seed=0,
        needs_images=True,
    )


def exercise(path: Path, device: torch.device) -> dict[str, Any]:
    """What a run does on a device, as numbers of Python."""
    engine = make_engine(path, device)
    family = engine.family
    samples = make_samples(family)
    batches = [
        collate([encode_pack(part, family, number=i)], family) for i, part in enumerate((samples[:3], samples[3:]))
    ]
    num_supervised = sum(int((batch["labels"] != -100).sum()) for batch in batches)
    is_checked = check_no_leak(engine, batches[0])
    steps = [train_step(engine, batches, num_supervised=num_supervised, rate=1e-3) for _ in range(2)]
    engine.model.eval()
    page = build_sample(make_document("page", [(112, 84), "A few words."]), family)
    prompt = cut_prompt(encode_pack([page], family), family)
    written = write_ids(engine.model, family, prompt, dtype=torch.float32, max_new_tokens=5)
    return {
        "is_checked": is_checked,
        "losses": [step.loss_sum for step in steps],
        "norms": [step.grad_norm for step in steps],
        "written": written,
    }


def complaint(path: Path, device: torch.device) -> str:
    """What is raised when positions stay on the CPU."""
    engine = make_engine(path, device)
    batch = collate([encode_pack(make_samples(engine.family)[:1], engine.family)], engine.family)
    inputs = model_inputs(engine, batch)
    try:
        engine.model(**inputs | {"position_ids": batch["position_ids"]})
    except RuntimeError as error:
        return str(error)
    return ""


def main() -> None:
    transformers.logging.set_verbosity_error()
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        path = make_tiny_model(folder / name, family=name, vocab_size=1024)
        found: dict[str, Any] = {"family": name, "cpu": exercise(path, CPU)}
        with emulated_device() as device:
            found |= {"emulated": exercise(path, device), "complaint": complaint(path, device)}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
