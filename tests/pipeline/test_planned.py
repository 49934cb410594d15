"""The whole graph: what batches hold, states by whole steps, failing pages, stale indexes, damaged shards."""

import json
import logging
import pickle
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wdstream import Plan, Shards, TilingPolicy, World, load_family
from wdstream.batches.batch import Batch
from wdstream.config.build import plan_from_config, tiling_from_config
from wdstream.config.schema import Config, TilingConfig
from wdstream.errors import ConfigError, PlanError, ShardError, ShardIndexError, StateError
from wdstream.nodes import LaneSettings, LaneSource
from wdstream.pipeline.planned import fit_tiling, write_rejects
from wdstream.plan.deal import check_even
from wdstream.runs.digest import Ranks, pack_digests
from wdstream.shards.catalog import token_file
from wdstream.shards.token_columns import write_token_column
from wdstream.testing import make_tiny_model

MakeConfig = Callable[..., Config]


@pytest.fixture(scope="module")
def plan(stream_config: MakeConfig, small_shards: Path) -> Plan:
    return plan_from_config(stream_config(small_shards, epochs=2))


@pytest.fixture
def own_shards(small_shards: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(small_shards, tmp_path / "shards"))


def batches_of(plan: Plan, **settings: Any) -> list[Batch]:
    with plan.loader(**settings) as loader:
        return list(loader)


def test_what_a_batch_holds(plan: Plan) -> None:
    with plan.loader(workers=1, micro_batch_size=2) as loader:
        batch = next(loader)
    length = batch["input_ids"].shape[1]
    step = plan.step(0, micro_batch_size=2)
    assert batch["step"] == 0
    assert batch["packs"] == [step.packs[place].number for place in step.assignment[0][:2]]
    assert batch["num_supervised"] == step.num_supervised
    assert batch["lengths"] == [list(step.packs[place].tokens) for place in step.assignment[0][:2]]
    assert batch["keys"][0] == [plan.key(sample) for sample in step.packs[step.assignment[0][0]].samples]
    assert batch["failures"] == []
    assert (batch["labels"].shape, batch["position_ids"].shape) == ((2, length), (4, 2, length))
    assert batch["cu_seq_lens_q"][-1] == 2 * length
    assert batch["pixel_values"].dtype == torch.uint8
    assert len(batch["pixel_values"]) == sum(sum(step.packs[place].patches) for place in step.assignment[0][:2])
    assert "attention_mask" not in batch


def test_every_page_once_an_epoch_and_all_supervised_tokens_as_planned(
    stream_config: MakeConfig, small_shards: Path, shipped_shards: Path
) -> None:
    train = [{"path": str(path), "name": path.parent.name} for path in (shipped_shards, small_shards)]
    config = stream_config(train=train, sequence_length=4096, tail="pad")
    plan = plan_from_config(config)
    batches = batches_of(plan, workers=2)
    keys = Counter(key for batch in batches for row in batch["keys"] for key in row)
    rejected = {plan.key(sample) for sample, _ in plan.rejects()}
    everything = {shards.key(row) for shards in plan.shards for row in range(len(shards))}
    assert set(keys) == everything - rejected
    assert set(keys.values()) == {1}
    supervised: Counter[int] = Counter()
    for batch in batches:
        supervised[batch["step"]] += int((batch["labels"] != -100).sum())
    assert supervised == {batch["step"]: batch["num_supervised"] for batch in batches}
    assert len(batches) == 4 * (plan.total_steps() or 0)


def test_the_state_is_that_of_the_last_whole_step_on_every_rank(plan: Plan) -> None:
    loaders = [plan.loader(world=World(rank=rank, size=2)) for rank in range(2)]
    initial = plan.initial_state().to_json()
    assert [loader.state_dict() for loader in loaders] == [initial, initial]
    next(loaders[0])
    assert loaders[0].state_dict() == initial  # one of two batches of step 0
    next(loaders[0])
    after = loaders[0].state_dict()
    assert after == plan.state_after(0).to_json()
    next(loaders[0])
    assert loaders[0].state_dict() == after
    for _ in range(2):
        next(loaders[1])
    assert loaders[1].state_dict() == after
    assert len(json.dumps(after)) < 2000
    after["pool"].clear()
    assert loaders[0].state_dict() != after  # what it gave is nobody else's
    for loader in loaders:
        loader.close()


def test_loading_works_at_any_time_and_on_another_world(plan: Plan) -> None:
    whole = batches_of(plan, workers=0)
    with plan.loader(workers=2, prefetch=3) as loader:
        untouched = loader.state_dict()
        for _ in range(5):
            next(loader)
        state = json.loads(json.dumps(loader.state_dict()))
        loader.load_state_dict(untouched)
        assert next(loader)["keys"] == whole[0]["keys"]
        loader.load_state_dict(state)
        assert next(loader)["keys"] == whole[4]["keys"]
    for rank in range(4):
        with plan.loader(world=World(rank=rank, size=4), state=state, workers=0) as loader:
            batch = next(loader)
            assert (batch["step"], batch["packs"]) == (1, [4 + plan.step(1, world_size=4).assignment[rank][0]])


def test_a_finished_loader_begins_again(plan: Plan) -> None:
    loader = plan.loader()
    first = [batch["packs"] for batch in loader]
    state = loader.state_dict()
    assert [batch["packs"] for batch in loader] == first
    assert loader.state_dict() == state == plan.state_after((plan.total_steps() or 0) - 1).to_json()
    loader.load_state_dict(state)
    assert list(loader) == []
    loader.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("wdstream-build_pack")]


def test_empty_packs_at_the_end(stream_config: MakeConfig, small_shards: Path) -> None:
    plan = plan_from_config(stream_config(small_shards, tail="pad", global_batch_size=16))
    last = batches_of(plan, workers=0)[-16:]
    empty = [batch for batch in last if not batch["keys"][0]]
    assert empty
    assert all(batch["input_ids"].shape == (1, 0) and len(batch["pixel_values"]) == 0 for batch in empty)
    with plan.loader(micro_batch_size=16) as loader:
        rows = list(loader)[-1]["input_ids"]
    assert rows.shape[0] == 16


@pytest.mark.parametrize(
    ("size", "world", "micro", "message"),
    [
        (
            16,
            3,
            1,
            r"16 cannot be divided by 3 ranks x micro_batch_size 1 = 3: make it 15 or 18; or run on 2 or 4 ranks",
        ),
        (4, 8, 1, r"4 on 8 ranks: 4 of them would never have a pack; make it 8 or more, or run on at most 4 ranks"),
        (6, 2, 2, r"6 cannot be divided by 2 ranks x micro_batch_size 2 = 4: make it 4 or 8; or run on 1 or 3 ranks"),
        (5, 1, 2, r"5 cannot be divided by 1 ranks x micro_batch_size 2 = 2: make it 4 or 6$"),
        (5, 1, 0, r"micro_batch_size 0 on 1 ranks: expected at least 1"),
    ],
)
def test_steps_that_cannot_be_divided_evenly(size: int, world: int, micro: int, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        check_even(size, world_size=world, micro_batch_size=micro)


def test_a_state_of_another_plan_is_refused(plan: Plan, stream_config: MakeConfig, small_shards: Path) -> None:
    state = plan.state_after(0).to_json()
    other = plan_from_config(stream_config(small_shards, epochs=2, seed=5, tiling={"kind": "none"}))
    with pytest.raises(StateError, match=r"(?s)belongs to another plan.*order: expected.*tiling: expected"):
        other.loader(state=state)
    with pytest.raises(StateError, match="not a stream state"):
        plan.loader(state={"source": 3})


def test_a_stale_token_column_names_page_numbers_and_command(stream_config: MakeConfig, own_shards: Path) -> None:
    plan = plan_from_config(stream_config(own_shards))
    fingerprint = plan.family.text_fingerprint
    column = own_shards / "index" / token_file(fingerprint)
    state = plan.state_after(0)
    write_token_column(own_shards, fingerprint, np.load(column) + 1)
    stale = plan_from_config(stream_config(own_shards))
    with stale.loader(workers=2) as loader:
        for _ in range(2):
            with pytest.raises(
                ShardError,
                match=r"(?s)page 'page-\d\d' of .*: planned \d+ tokens.*found \d+ "
                r".*\(Qwen2_5_VLProcessor of transformers 5\..*wdstream lengths",
            ):
                next(loader)
    with pytest.raises(StateError, match=r"columns: expected \w+ as in the state, found \w+; what the index counts"):
        stale.loader(state=state.to_json())
    column.unlink()
    with pytest.raises(ShardIndexError, match=r"tokens\..* is listed in index\.json and is not there; count again"):
        plan_from_config(stream_config(own_shards))


def flip_bytes(shards: Path, rows: list[int]) -> list[str]:
    """Damage the image of some samples in place; returns their keys."""
    opened = Shards.open(shards)
    keys = [opened.key(row) for row in rows]
    for row in rows:
        with (shards / opened.shard_names[int(opened.shard[row])]).open("r+b") as file:
            file.seek(int(opened.offset[row]) + 600)
            byte = file.read(1)[0]
            file.seek(-1, 1)
            file.write(bytes([byte ^ 0xFF]))
    return keys


def test_damaged_samples_keep_their_slots_and_change_nothing_else(
    stream_config: MakeConfig, small_shards: Path, own_shards: Path
) -> None:
    good = batches_of(plan_from_config(stream_config(small_shards, tail="pad")), workers=0)
    damaged = flip_bytes(own_shards, [4, 17])
    plan = plan_from_config(stream_config(own_shards, tail="pad"))
    found = batches_of(plan, workers=2)
    assert sorted(failure.key for batch in found for failure in batch["failures"]) == sorted(damaged)
    for failure in (failure for batch in found for failure in batch["failures"]):
        assert plan.key(failure.sample) == failure.key
        assert "checksum" in failure.reason
    same, other = 0, 0
    for left, right in zip(good, found, strict=True):
        assert (left["keys"], left["lengths"], left["packs"]) == (right["keys"], right["lengths"], right["packs"])
        assert torch.equal(left["position_ids"], right["position_ids"])
        assert torch.equal(left["image_grid_thw"], right["image_grid_thw"])
        ends = np.cumsum([0, *left["lengths"][0]])
        patches = np.cumsum([0, *left["image_grid_thw"].prod(1).tolist()])
        images = 0
        for place, key in enumerate(left["keys"][0]):
            tokens = slice(ends[place], ends[place + 1])
            count = int((left["input_ids"][0, tokens] == plan.family.require_token("<|vision_start|>")).sum())
            pixels = slice(int(patches[images]), int(patches[images + count]))
            images += count
            if key in damaged:
                other += 1
                assert (right["labels"][0, tokens] == -100).all()
                assert (right["pixel_values"][pixels] == 255).all()
                continue
            same += 1
            assert torch.equal(left["input_ids"][0, tokens], right["input_ids"][0, tokens])
            assert torch.equal(left["labels"][0, tokens], right["labels"][0, tokens])
            assert torch.equal(left["pixel_values"][pixels], right["pixel_values"][pixels])
    assert (same, other) == (28, 2)


def test_failures_are_the_same_after_a_resume_and_known_ones_are_not_read(
    stream_config: MakeConfig, small_shards: Path, own_shards: Path
) -> None:
    flip_bytes(own_shards, [4, 17])
    plan = plan_from_config(stream_config(own_shards, epochs=2))
    with Ranks(plan, world=1) as ranks:
        whole = [ranks.next_step() for _ in range(plan.total_steps() or 0)]
    with Ranks(plan, world=2, state=plan.state_after(0).to_json()) as ranks:
        assert [ranks.next_step() for _ in range(len(whole) - 1)] == whole[1:]
    bad = {failure.sample: failure.reason for batch in batches_of(plan) for failure in batch["failures"]}
    assert sorted(bad) == [4, 17]
    repaired = plan_from_config(stream_config(small_shards, epochs=2))
    known = batches_of(repaired, known_bad=bad)
    assert {number: text for batch in known[:4] for number, text in pack_digests(batch).items()} == whole[0]
    assert {failure.sample: failure.reason for batch in known for failure in batch["failures"]} == bad


def test_damage_in_the_header_that_names_the_page(stream_config: MakeConfig, own_shards: Path) -> None:
    shards = Shards.open(own_shards)
    with (own_shards / shards.shard_names[0]).open("r+b") as file:
        file.write(b"\xff")
    plan = plan_from_config(stream_config(own_shards, tail="pad"))
    failures = [failure for batch in batches_of(plan) for failure in batch["failures"]]
    assert [(failure.key, failure.sample) for failure in failures] == [("page-00", 0)]


@pytest.mark.parametrize("workers", [0, 2])
def test_missing_and_truncated_shards_are_fatal(stream_config: MakeConfig, own_shards: Path, workers: int) -> None:
    shards = sorted(own_shards.glob("*.tar"))
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[:-700])
    for message in ("bytes expected, found", "is not there"):
        with plan_from_config(stream_config(own_shards)).loader(workers=workers) as loader:
            with pytest.raises(ShardError, match=message):
                list(loader)
            with pytest.raises(ShardError, match=message):
                next(loader)
        shards[1].unlink(missing_ok=True)


def test_downscaled_pages_have_the_planned_lengths(stream_config: MakeConfig, shipped_shards: Path) -> None:
    tiling = {"kind": "none"}
    rejecting = plan_from_config(stream_config(shipped_shards, tiling=tiling, max_patches=600))
    too_large = [sample for sample, reason in rejecting.rejects() if reason == "too many patches"]
    shrinking = plan_from_config(stream_config(shipped_shards, tiling=tiling, max_patches=600, overlength="downscale"))
    trained = {key for batch in batches_of(shrinking) for row in batch["keys"] for key in row}
    assert too_large
    assert {rejecting.key(sample) for sample in too_large} <= trained


def test_the_example_of_the_readme(small_shards: Path, tiny_model: Path) -> None:
    plan = Plan(
        Shards.open(small_shards),
        load_family(tiny_model),
        TilingPolicy(kind="adaptive"),
        sequence_length=1024,
        max_patches=4096,
        global_batch_size=2,
        epochs=1,
        max_pixels=10_000,
    )
    assert isinstance(plan.tiling, TilingPolicy)
    assert (plan.tiling.multiple, plan.tiling.max_tile_pixels) == (28, plan.family.max_pixels)
    pages = [key for batch in batches_of(plan, world=World()) for row in batch["keys"] for key in row]
    assert len(pages) == len(set(pages)) > 20


def test_the_tiling_of_a_plan_is_fitted_to_its_family(small_shards: Path, tmp_path: Path) -> None:
    """The policy's own defaults are those of Qwen2.5-VL, which would hide a plan that forgets to ask."""
    family = load_family(make_tiny_model(tmp_path / "tiny", family="qwen3_vl", vocab_size=1024))
    sizes: dict[str, Any] = {"sequence_length": 1024, "max_patches": 4096, "global_batch_size": 2}
    plan = Plan(Shards.open(small_shards), family, TilingPolicy(kind="adaptive"), **sizes)
    assert isinstance(plan.tiling, TilingPolicy)
    assert (plan.tiling.multiple, plan.tiling.min_tile_pixels) == (32, 65536)
    splits = load_family(make_tiny_model(tmp_path / "splits", family="smolvlm", vocab_size=1024))
    whole, _ = fit_tiling(splits, TilingPolicy(kind="none"))
    assert whole.fingerprint == splits.for_whole_images().fingerprint != splits.fingerprint


def test_rejects_are_listed_with_their_shards(stream_config: MakeConfig, small_shards: Path, tmp_path: Path) -> None:
    plan = plan_from_config(stream_config(small_shards, sequence_length=80))
    count = write_rejects(plan, tmp_path / "rejects.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert len(lines) == count == len(list(plan.rejects())) > 0
    assert lines[0]["key"] == plan.key(lines[0]["sample"])
    assert (lines[0]["dataset"], lines[0]["reason"]) == ("shards", "too many tokens")
    assert (small_shards / lines[0]["shard"]).is_file()
    assert {line["is_packed"] for line in lines} == {False}


def test_downscaled_pages_are_listed_as_they_were_packed(
    stream_config: MakeConfig, small_shards: Path, tmp_path: Path
) -> None:
    settings = {"sequence_length": 80, "overlength": "downscale", "epochs": 1, "tail": "pad"}
    plan = plan_from_config(stream_config(small_shards, **settings))
    count = write_rejects(plan, tmp_path / "rejects.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    packs = [pack for step in plan.steps() for pack in step.packs]
    placed = [pair for pack in packs for pair in zip(pack.samples, pack.scales, strict=True)]
    expected = {sample: f"downscaled to {scale}/64 of its sides" for sample, scale in placed if scale < 64}
    assert expected
    assert {line["sample"]: line["reason"] for line in lines if line["is_packed"]} == expected
    assert count == len(expected) + len(list(plan.rejects()))


def test_tiling_of_a_configuration() -> None:
    assert tiling_from_config(TilingConfig()) == TilingPolicy()
    buckets = [{"grid": [1, 2], "max_aspect_ratio": 1.5}]
    config = TilingConfig.model_validate({"kind": "shape_buckets", "shape_buckets": buckets, "labels": "none"})
    policy = tiling_from_config(config)
    assert isinstance(policy, TilingPolicy)
    assert policy.tile_labels is False
    assert policy.buckets[0].max_aspect_ratio == 1.5


def test_settings_of_the_tiling_without_effect_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    odd = {"kind": "none", "overview_size": 321, "grid": (7, 7), "labels": "none", "pad_color": "red"}
    with caplog.at_level(logging.WARNING, logger="wdstream"):
        for settings in ({"kind": "adaptive", "tile_size": 512}, odd, odd):
            tiling_from_config(TilingConfig.model_validate(settings))
    assert [record.message for record in caplog.records] == [
        "tiling: grid, overview_size, labels: no effect under kind none"
    ]


def test_splits_mixtures_and_curriculum(stream_config: MakeConfig, small_shards: Path) -> None:
    evals = [{"path": str(small_shards), "name": "held_out"}]
    config = stream_config(small_shards, eval=evals)
    assert [dataset.name for dataset in plan_from_config(config, split="held_out").datasets] == ["held_out"]
    with pytest.raises(ConfigError, match=r"no dataset 'test' in data\.eval; known: train, held_out"):
        plan_from_config(config, split="test")
    mixed = stream_config(
        train=[
            {"path": str(small_shards), "name": "a", "weight": 3},
            {"name": "web", "weight": 1, "datasets": [{"path": str(small_shards), "name": "b", "weight": 5}]},
        ],
        epochs=None,
        curriculum=[{"epochs": 1, "where": "text_chars < 100"}],
    )
    plan = plan_from_config(mixed)
    assert plan.total_steps() is None
    assert [(dataset.name, str(dataset.weight)) for dataset in plan.datasets] == [("a", "3"), ("web/b", "1")]
    assert plan.settings.where_of(0) == ("text_chars < 100",)


def test_planning_needs_no_torch(small_shards: Path, tiny_model: Path) -> None:
    import subprocess
    import sys

    code = f"""
import sys
from wdstream import Plan, Shards, TilingPolicy, load_family
plan = Plan(Shards.open({str(small_shards)!r}), load_family({str(tiny_model)!r}), TilingPolicy(),
            sequence_length=1024, max_patches=4096, global_batch_size=2)
print(plan.step(3).step, 'torch' in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "False"]


def test_arguments_of_the_wrong_kind_are_named(plan: Plan) -> None:
    with pytest.raises(TypeError, match=r"loader: world: expected World\(rank=..., size=...\); got 2"):
        plan.loader(world=2)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match=r"micro_batch_size '2' on 1 ranks: expected at least 1"):
        plan.loader(micro_batch_size="2")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Plan: pixels: expected PixelSettings\(...\); got 'fast'"):
        Plan(plan.shards, plan.family, plan.tiling, pixels="fast", sequence_length=64)  # type: ignore[arg-type]
    settings: dict[str, Any] = {"sequence_length": 64, "max_patches": 64, "global_batch_size": 8}
    with pytest.raises(ConfigError, match=r"tiling"):
        LaneSettings(family=plan.family, tiling="grid", **settings)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"LaneSource: settings: expected LaneSettings"):
        LaneSource(["a.tar"], settings=None)  # type: ignore[arg-type]


def test_a_plan_says_what_it_is_and_pickles(stream_config: MakeConfig, small_shards: Path) -> None:
    plan = plan_from_config(stream_config(small_shards, epochs=1, global_batch_size=2))
    assert repr(plan) == (
        "<Plan of 1 datasets with 30 pages, family qwen2_5_vl: packs of 1024 tokens and 2048 patches, 2 per step>"
    )
    again = pickle.loads(pickle.dumps(plan))
    assert repr(again) == repr(plan)
    reference = plan_from_config(stream_config(small_shards, pixels="reference"))
    assert pickle.loads(pickle.dumps(reference)).fingerprints == reference.fingerprints != plan.fingerprints
    assert again.fingerprints == plan.fingerprints
    assert list(again.steps()) == list(plan.steps())
    step = plan.step(0)
    assert repr(step) == f"<StepPlan 0: 2 packs of {sum(len(pack.samples) for pack in step.packs)} samples for 1 ranks>"
    with plan.loader() as loader:
        assert repr(loader) == f"<StreamLoader from <PlanSource of rank 0 of 1: {plan!r}>>"
        batch = next(loader)
    assert batch.step_plan == step
    assert batch.num_supervised == step.num_supervised
