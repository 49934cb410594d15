"""Tiny checkpoints, shards of made-up pages, and a run's configuration, for the training tests."""

import shutil
from pathlib import Path

import pytest
import torch

from tests.helpers.training import Workplace
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.testing import make_pages, make_tiny_model

# Threads that wait for each other on a shared core cost more than they bring on tensors this small.
torch.set_num_threads(1)

CONFIG = """\
model: {{path: {root}/model, dtype: float32}}
data:
  train: [{{path: {root}/shards}}]
  eval: [{{name: held_out, path: {root}/shards-eval}}]
  sequence_length: 1024
  max_patches: 2048
  global_batch_size: 2
  pool: 16
  workers: 1
tiling: {{kind: grid, grid: [1, 2], tile_size: 112, overview_size: 56}}
train: {{max_steps: 10, checkpoint_every: 5}}
"""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2.5-VL with 1,024 tokens; weights as they come from initialisation."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny", vocab_size=1024)


@pytest.fixture(scope="session")
def workplace(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    root = tmp_path_factory.mktemp("work")
    shutil.copytree(tiny_model, root / "model")
    for name, num_pages, seed in (("shards", 24, 0), ("shards-eval", 5, 1)):
        raw = make_pages(root / f"raw-{name}", num_pages=num_pages, seed=seed)
        make_shards(raw, root / name, options=MakeShardsOptions(tokenizer=root / "model", workers=1))
    (root / "cfg.yaml").write_text(CONFIG.format(root=root))
    return Workplace(root)
