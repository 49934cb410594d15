"""A workplace for training runs, in this process or in others; what a run has written so far."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import nn
from transformers import AutoModelForImageTextToText

from tests.helpers.waiting import wait_until
from wdstream.batches.collate import collate, encode_pack
from wdstream.config.schema import Config, load_config
from wdstream.families.registry import load_family
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.storage.json_lines import read_lines
from wdstream.testing import make_pages, make_samples
from wdstream.train.__main__ import main


@dataclass(frozen=True)
class Workplace:
    """A folder with model, shards and configuration; runs train in this process."""

    root: Path

    @property
    def config_file(self) -> Path:
        return self.root / "cfg.yaml"

    def config(self, output: Path, *settings: str) -> Config:
        return load_config(self.config_file, (f"train.output={output}", *settings))

    def train(self, output: Path, *settings: str) -> int:
        """Exit status of one start of the training command on one process."""
        return self.train_with((f"train.output={output}", *settings))

    def train_with(self, settings: Sequence[str]) -> int:
        """`train` with `train.output` among the settings."""
        AcceleratorState._reset_state(reset_partial_state=True)
        return main([str(self.config_file), *(word for setting in settings for word in ("--set", setting))])

    def damaged_shards(self) -> tuple[Path, list[str]]:
        """Shards of pages, two of which have a sound header and a text, and half an image; with their keys."""
        raw = make_pages(self.root / "raw-bad", num_pages=14, seed=2)
        names = ["page-00003", "page-00008"]
        for name in names:
            path = raw / f"{name}.jpg"
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        out = self.root / "shards-bad"
        options = MakeShardsOptions(tokenizer=self.root / "model", workers=1, check_images=False)
        make_shards(raw, out, options=options)
        return out, names


SETTINGS = ("train.adapter={kind: lora, r: 4, dropout: 0.2}", "train.lr=0.01", "train.checkpoint_every=4")


TRAIN = "wdstream.train"


def arguments(workplace: Workplace, output: Path, *settings: str) -> list[str]:
    chosen = (f"train.output={output}", *SETTINGS, *settings)
    return [str(workplace.config_file), *(w for s in chosen for w in ("--set", s))]


def steps_done(output: Path) -> int:
    return len(list(read_lines(output / "metrics.jsonl")))


def wait_for_steps(output: Path, count: int) -> None:
    wait_until(lambda: steps_done(output) >= count, f"{count} steps in {output}")


def make_config(path: Path, **train: Any) -> Config:
    """The least that trains a model."""
    tree = {"model": {"path": str(path)}, "data": {"train": [{"path": "none"}]}, "train": train}
    return Config.model_validate(tree)


def trainable(model: nn.Module) -> set[str]:
    """Names of the parameters that are trained."""
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def documents_alone(tiny_model: Path) -> torch.Tensor:
    """The gradient by Hugging Face's own loss: every document by itself, summed, over all supervised tokens."""
    family = load_family(tiny_model)
    model = AutoModelForImageTextToText.from_pretrained(tiny_model, dtype=torch.float32)
    samples = make_samples(family)
    every = [*samples, samples[1], samples[0], samples[2], samples[3], samples[4], samples[1]]
    total = sum(int((sample.labels != -100).sum()) for sample in every)
    for sample in every:
        batch = collate([encode_pack([sample], family)], family)
        inputs = family.model_inputs(batch, device="cpu", dtype=torch.float32)
        model(**inputs, num_items_in_batch=torch.tensor(total)).loss.backward()
    return torch.cat([torch.zeros(0) if p.grad is None else p.grad.flatten() for p in model.parameters()])
