"""The plan of some datasets, as it was when this was written: a saved state means the same pages forever.

If a figure here changes, every running job would continue with other packs than its checkpoint means. Raise
PLAN_VERSION (plan/datasets.py), so that those jobs are warned, and write the new figures down.
"""

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests.helpers.plan_data import Columns, Squares
from wdstream.plan.datasets import PLAN_VERSION
from wdstream.plan.deal import step_digest
from wdstream.plan.planner import Planner
from wdstream.plan.protocols import Dataset, Mix
from wdstream.tiling.policy import TilingPolicy

SMALL: dict[str, Any] = {
    "sequence_length": 700,
    "max_patches": 300,
    "global_batch_size": 4,
    "pool": 16,
    "shuffle_shards": 2,
}

NAMES = ("epochs", "weights", "many a pack")


def numbered(count: int, start: int) -> Columns:
    """Pages of one to three images, by arithmetic alone; some of them too long for a pack."""
    places = np.arange(start, start + count)
    sizes = [
        [(1 + 37 * (place + image) % 500, 1 + 91 * (place + image) % 700) for image in range(1 + place % 3)]
        for place in places.tolist()
    ]
    return Columns(text_tokens=places * 53 % 400, sizes=sizes, shard_starts=np.arange(0, count, 10))


def plan(name: str) -> Planner:
    tiling = TilingPolicy(kind="shape_buckets", tile_size=56, overview_size=28)
    first, second = numbered(120, 0), numbered(45, 1000)
    if name == "epochs":
        both = [Dataset(columns=first, name="a", epochs=2), Dataset(columns=second, name="b")]
        return Planner(both, Squares(), tiling, **SMALL, seed=3, where='text_tokens > 9 or dataset == "b"', epochs=2)
    if name == "many a pack":
        roomy = SMALL | {"sequence_length": 6000, "max_patches": 6000, "global_batch_size": 1}
        return Planner(first, Squares(), tiling, **roomy)
    inner = Mix(datasets=(Dataset(columns=second, name="b", weight=3),), name="m", weight=1)
    sets: list[Dataset | Mix] = [Dataset(columns=first, name="a", weight=0.3), inner]
    curriculum = [{"epochs": 1, "where": "text_tokens < 300"}]
    settings: dict[str, Any] = {"weights_in": "tokens", "overlength": "downscale", "curriculum": curriculum}
    return Planner(sets, Squares(), TilingPolicy(kind="adaptive"), **SMALL, seed=4, **settings)


def digests(name: str) -> list[int]:
    """Of steps 0, 1, 20 and 21, the last two from the state before them."""
    found = plan(name)
    steps = found.steps()
    first = [step_digest(next(steps)) for _ in range(2)]
    state = json.loads(found.state_after(19).dumps())
    later = found.steps(found.resume(state))
    return [*first, *(step_digest(next(later)) for _ in range(2))]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("epochs", [2963220722800973650, 16501530535809552503, 9632879544110528300, 13686170740901368317]),
        ("many a pack", [14412152972613860176, 9146229621479936971, 305745811731865969, 2483652828695069712]),
        ("weights", [15908730542890517353, 9360050079290388014, 13066966463531214096, 1519281020136375085]),
    ],
)
def test_the_plan_never_changes(name: str, expected: list[int]) -> None:
    assert (digests(name), PLAN_VERSION) == (expected, 2)


def test_another_process_with_another_hash_seed_plans_the_same() -> None:
    code = "from tests.plan.test_planner_golden import NAMES, digests; print(*map(digests, NAMES))"
    expected = " ".join(map(str, map(digests, NAMES)))
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert out.stdout.strip() == expected
