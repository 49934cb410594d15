"""trace on a million pages, from the states that training writes down: well under a second."""

import time
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.hollow_shards import SAMPLES, write_hollow_shard
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.families.registry import load_family
from wdstream.runs.layout import RunLayout
from wdstream.runs.record import start_record
from wdstream.runs.trace import trace
from wdstream.shards.index import merge_index
from wdstream.shards.token_columns import write_token_column
from wdstream.train.stream import STATE_EVERY_PAGES

SHARDS, STEP = 100, 1200


@pytest.mark.slow
def test_a_step_of_a_million_pages(tmp_path: Path, tiny_model: Path) -> None:
    shards, run = tmp_path / "shards", tmp_path / "run"
    shards.mkdir()
    run.mkdir()
    for number in range(SHARDS):
        write_hollow_shard(shards / f"s-{number:04d}.tar", number)
    merge_index(shards)
    tokens = np.random.default_rng(0).integers(50, 2000, SHARDS * SAMPLES)
    write_token_column(shards, load_family(tiny_model).text_fingerprint, tokens)
    config = Config.model_validate(
        {
            "model": {"path": str(tiny_model)},
            "data": {"train": [{"path": str(shards)}], "sequence_length": 16384, "max_patches": 80_000},
            "tiling": {"kind": "none"},
        }
    )
    plan = plan_from_config(config)
    record, _ = start_record(RunLayout(run), config, fingerprints=plan.fingerprints, data={}, step=0, world_size=8)
    pages = sum(len(pack.samples) for pack in plan.step(0).packs)
    nearest = STEP - STATE_EVERY_PAGES // pages  # the farthest that a state can be
    record.add_state(nearest - 1, plan.state_after(nearest - 1).to_json())
    began = time.process_time()
    found = trace(run, step=STEP)
    seconds = time.process_time() - began
    print(f"{seconds:.2f} s of CPU for step {STEP}, {STEP - nearest} steps after the nearest state")
    assert seconds < 1
    assert len(found.pages) == sum(len(pack.samples) for pack in plan.step(STEP).packs) > 50
