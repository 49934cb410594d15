"""Tiny models, shards of made-up pages, and a run's configuration, for the training tests."""

from pathlib import Path

import pytest
import torch

from tests.helpers.shared import SharedFolders
from tests.helpers.training import Workplace
from wdstream.make_shards import MakeShardsOptions, make_shards
from wdstream.testing import make_pages

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
train: {{max_steps: 10, checkpoint_every: 5, stopped_status: 0}}
"""


@pytest.fixture(scope="session")
def workplace(tiny_model: Path, shared: SharedFolders, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    def make(folder: Path) -> None:
        for name, num_pages, seed in (("shards", 24, 0), ("shards-eval", 5, 1)):
            raw = make_pages(folder / f"raw-{name}", num_pages=num_pages, seed=seed)
            make_shards(raw, folder / name, options=MakeShardsOptions(tokenizer=tiny_model, workers=1))

    root, made = tmp_path_factory.mktemp("work"), shared.get("work", make)
    (root / "model").symlink_to(tiny_model)
    for name in ("shards", "shards-eval"):
        (root / name).symlink_to(made / name)
    (root / "cfg.yaml").write_text(CONFIG.format(root=root))
    return Workplace(root)
