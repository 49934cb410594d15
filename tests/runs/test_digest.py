"""digest: every byte of every step is the same for every world, thread count, micro-batch size and resume."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import ConfigError, PlanError
from wdstream.pipeline.planned import Plan
from wdstream.runs.digest import Ranks, arrays_digest, digest, join_digests

MakeConfig = Callable[..., Config]


def lines(config: Config, *, world: int = 1, workers: int = 0, resume_at: int | None = None) -> list[tuple[int, str]]:
    return list(digest(config, steps=range(100), world=world, workers=workers, resume_at=resume_at))


@pytest.fixture(scope="module")
def shipped(stream_config: MakeConfig, shipped_shards: Path) -> tuple[Config, list[tuple[int, str]]]:
    config = stream_config(shipped_shards, epochs=2, sequence_length=2048)
    return config, lines(config)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_shipped_pages_on_any_world_and_threads(
    shipped: tuple[Config, list[tuple[int, str]]], world: int, workers: int
) -> None:
    config, expected = shipped
    assert [step for step, _ in expected] == list(range(len(expected)))
    assert len(expected) >= 3
    assert len({text for _, text in expected}) == len(expected)
    resume_at = (world + workers) % len(expected)
    assert lines(config, world=world, workers=workers, resume_at=resume_at) == expected


def test_micro_batches_of_any_size(stream_config: MakeConfig, small_shards: Path) -> None:
    expected = lines(stream_config(small_shards, epochs=2))
    for micro, world in ((2, 1), (2, 2), (4, 1), (1, 4)):
        assert lines(stream_config(small_shards, epochs=2, micro_batch_size=micro), world=world, workers=2) == expected


def test_resume_at_every_step(stream_config: MakeConfig, small_shards: Path) -> None:
    config = stream_config(small_shards, epochs=2)
    expected = lines(config)
    assert len(expected) >= 4
    for resume_at, _ in expected:
        assert lines(config, world=2, workers=1, resume_at=resume_at) == expected


def run_in_pieces(plan: Plan, pieces: list[dict[str, int]], stops: list[int]) -> list[str]:
    """The digests of all steps, with another topology in each piece, each from the state of the one before."""
    found, state = [], None
    for piece, stop in zip(pieces, stops, strict=True):
        with Ranks(plan, state=state, **piece) as ranks:
            while ranks.step < stop and (packs := ranks.next_step()) is not None:
                found.append(join_digests(packs))
            state = ranks.state()
    return found


def check_random_topologies(make: MakeConfig, shards: Path, seed: int) -> None:
    draw = random.Random(seed)
    size = draw.choice([1, 2, 4, 6, 8, 12, 16])
    epochs, tail = draw.randint(1, 3), draw.choice(["wrap", "drop", "pad"])
    names = [{"path": str(shards), "name": f"copy{number}"} for number in range(draw.choice([1, 1, 2, 4]))]
    settings = {"global_batch_size": size, "epochs": epochs, "tail": tail, "seed": seed, "train": names}
    plan = plan_from_config(make(**settings, pool=draw.choice([1, 4, 128]), shuffle_shards=draw.choice([1, 2, 16])))
    total = plan.total_steps()
    assert total is not None
    expected = run_in_pieces(plan, [{"world": 1}], [total + 1])
    assert len(expected) == total
    pieces = []
    for _ in range(draw.randint(1, 4)):
        world = draw.randint(1, size)
        micro = draw.randint(1, -(-size // world))
        pieces.append(
            {
                "world": world,
                "micro_batch_size": micro,
                "workers": draw.choice([0, 1, 2, 3, 4]),
                "prefetch": draw.choice([0, 1, 3]),
            }
        )
    stops = sorted(draw.randint(0, total) for _ in pieces[1:])
    assert run_in_pieces(plan, pieces, [*stops, total + 1]) == expected, (settings, pieces, stops)


@pytest.mark.parametrize("seed", range(8))
def test_random_topologies(stream_config: MakeConfig, small_shards: Path, seed: int) -> None:
    check_random_topologies(stream_config, small_shards, seed)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("block", range(10))
def test_many_random_topologies(stream_config: MakeConfig, small_shards: Path, block: int) -> None:
    for seed in range(1000 + 20 * block, 1020 + 20 * block):
        check_random_topologies(stream_config, small_shards, seed)


def test_other_seeds_and_settings_give_other_lines(stream_config: MakeConfig, small_shards: Path) -> None:
    base = lines(stream_config(small_shards))
    assert lines(stream_config(small_shards, seed=1)) != base
    assert lines(stream_config(small_shards, tiling={"kind": "none"})) != base


def test_a_part_of_the_steps(stream_config: MakeConfig, small_shards: Path) -> None:
    config = stream_config(small_shards)
    assert list(digest(config, steps=range(1, 3))) == lines(config)[1:3]
    with pytest.raises(ConfigError, match="--resume-at 7: expected one of the steps 1:3"):
        list(digest(config, steps=range(1, 3), resume_at=7))
    assert list(digest(config, steps=range(1), world=3)) == lines(config)[:1]
    with pytest.raises(PlanError, match="global_batch_size 4 on 5 ranks: 1 of them would never have a pack"):
        list(digest(config, steps=range(1), world=5))


def test_a_page_that_fails_is_named(stream_config: MakeConfig, small_shards: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(small_shards, damaged)
    plan = plan_from_config(stream_config(damaged, epochs=1))
    sample = plan.step(1).packs[0].samples[0]
    dataset, row = plan.locate(sample)
    shards = plan.shards[dataset]
    with (damaged / shards.shard_names[int(shards.shard[row])]).open("r+b") as tar:
        tar.seek(int(shards.offset[row]) + 600)
        tar.write(b"\0\1\2\3")
    named: list[tuple[int, str]] = []
    config = stream_config(damaged, epochs=1)
    found = list(digest(config, steps=range(100), on_failure=lambda step, page: named.append((step, page.key))))
    assert named == [(1, plan.key(sample))]
    whole = lines(stream_config(small_shards, epochs=1))
    assert [step for (step, text), (_, other) in zip(found, whole, strict=True) if text != other] == [1]


def test_arrays_digest_sees_type_shape_name_and_content() -> None:
    zeros = np.zeros(6, np.int64)
    variants: list[dict[str, np.ndarray]] = [
        {"a": zeros},
        {"b": zeros},
        {"a": zeros.astype(np.int32)},
        {"a": zeros.reshape(2, 3)},
        {"a": zeros + 1},
        {"a": zeros[:0]},
        {"a": zeros, "b": zeros},
    ]
    assert len({arrays_digest(arrays) for arrays in variants}) == len(variants)
    transposed = np.arange(6).reshape(2, 3).T
    assert arrays_digest({"a": transposed}) == arrays_digest({"a": transposed.copy()})
