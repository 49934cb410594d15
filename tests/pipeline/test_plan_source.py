"""PlanSource in the graph, at every item: not only between steps, where StreamLoader saves."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import webdataset

from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import PlanError, StateError
from wdstream.families.base import Family
from wdstream.nodes.items import ReadShards
from wdstream.nodes.lane import LaneSettings
from wdstream.nodes.mapper import Map
from wdstream.nodes.prefetch import Prefetch
from wdstream.pipeline.plan_source import PackTask, PlanSource
from wdstream.pipeline.planned import Plan
from wdstream.pipeline.streamed import Lanes
from wdstream.records import NO_PACK, World
from wdstream.shards.reader import Shards
from wdstream.testing import assert_resumes_exactly
from wdstream.tiling.policy import TilingPolicy

MakeConfig = Callable[..., Config]


@pytest.fixture(scope="module")
def plan(stream_config: MakeConfig, small_shards: Path) -> Plan:
    return plan_from_config(stream_config(small_shards))


@pytest.mark.parametrize("size", [1, 2])
def test_resumes_inside_a_step(plan: Plan, size: int) -> None:
    world = World(rank=size - 1, size=size)

    def graph(workers: int) -> Prefetch[PackTask]:
        return Prefetch(Map(PlanSource(plan, world=world), lambda task: task, workers=workers), depth=2)

    tasks = assert_resumes_exactly(lambda: graph(2), make_resumed=lambda: graph(0))
    steps = [plan.step(number, world_size=size) for number in range(plan.total_steps() or 0)]
    assert tasks == [
        PackTask(step=step, pack=step.packs[place]) for step in steps for place in step.assignment[world.rank]
    ]


def test_the_state_between_steps_is_the_plans(plan: Plan) -> None:
    source = PlanSource(plan, world=World(rank=1, size=2))
    assert source.state_dict() == {"stream": plan.initial_state().to_json(), "emitted": 0}
    next(source)
    state = source.state_dict()
    assert state == {"stream": plan.initial_state().to_json(), "emitted": 1}
    assert source.completed(state) is None
    next(source)
    state = source.state_dict()
    assert source.completed(state) == plan.state_after(0).to_json()
    source.close()


def test_packs_are_dealt_for_the_micro_batches_they_will_share(stream_config: MakeConfig, small_shards: Path) -> None:
    """Under `phase`, which packs share a micro step decides how long ranks wait for each other."""
    plan = plan_from_config(stream_config(small_shards, deal="phase", global_batch_size=8, epochs=3))
    world = World(rank=1, size=2)
    dealt = {micro: plan.step(0, world_size=2, micro_batch_size=micro).assignment[1] for micro in (1, 2)}
    assert dealt[1] != dealt[2]
    for micro, places in dealt.items():
        source = PlanSource(plan, world=world, micro_batch_size=micro)
        packs = plan.step(0).packs
        assert [next(source).pack for _ in places] == [packs[place] for place in places]
        source.close()


def test_a_start_of_another_plan_is_refused(plan: Plan, stream_config: MakeConfig, small_shards: Path) -> None:
    other = plan_from_config(stream_config(small_shards, pool=3))
    with pytest.raises(StateError, match="packing: expected"):
        PlanSource(other, world=World(), start=plan.state_after(0).to_json())
    with pytest.raises(PlanError, match="would never have a pack"):
        next(PlanSource(plan, world=World(rank=0, size=5)))


def test_a_place_without_a_pack_is_an_empty_one(plan: Plan) -> None:
    """Four packs on three ranks: two places each, of which two hold none."""
    places = plan.step(0, world_size=3).assignment
    assert sorted(place for rank in places for place in rank) == [NO_PACK, NO_PACK, 0, 1, 2, 3]
    for rank in range(3):
        source = PlanSource(plan, world=World(rank=rank, size=3))
        tasks = [next(source) for _ in range(2)]
        assert [task.pack.number for task in tasks] == list(places[rank])
        assert [task.step.step for task in tasks if task.step is not None] == [0, 0]
        assert all(task.pack.samples or task.pack.number == NO_PACK for task in tasks)
        source.close()


def test_read_shards_shares_rows_among_ranks(small_shards: Path) -> None:
    shards = Shards.open(small_shards)
    whole = assert_resumes_exactly(lambda: ReadShards(shards, workers=2), make_resumed=lambda: ReadShards(shards))
    assert [page.key for page in whole] == [shards.key(row) for row in range(30)]
    parts = [list(ReadShards(shards, world=World(rank=rank, size=4))) for rank in range(4)]
    assert parts[3] == whole[3::4]
    assert sum(map(len, parts)) == 30


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    from PIL import Image

    folder = tmp_path_factory.mktemp("lanes")
    paths = []
    for shard in range(4):
        paths.append(str(folder / f"{shard}.tar"))
        with webdataset.TarWriter(paths[-1]) as writer:
            for number in range(7):
                file = io.BytesIO()
                Image.effect_noise((40 + 9 * number, 60 + 5 * shard), 50).convert("RGB").save(file, "JPEG")
                writer.write({"__key__": f"{shard}-{number}", "jpg": file.getvalue(), "txt": "word " * (number + 1)})
    return paths


def test_lane_loader_on_any_world(urls: list[str], family: Family) -> None:
    settings = LaneSettings(
        family=family,
        tiling=TilingPolicy(kind="none"),
        sequence_length=200,
        max_patches=200,
        global_batch_size=4,
        lanes=2,
        pool=4,
        shuffle=3,
    )
    lanes = Lanes(urls=urls, settings=settings)

    def run(size: int, steps: int, state: dict[str, object] | None) -> tuple[dict[int, list[str]], dict[str, object]]:
        found: dict[int, list[str]] = {}
        states = []
        for rank in range(size):
            world = World(rank=rank, size=size)
            with lanes.loader(world=world, state=state, micro_batch_size=2) as loader:
                for _, batch in zip(range(steps * 2 // size), loader, strict=False):
                    assert batch["num_supervised"] is None
                    assert {number // 4 for number in batch["packs"]} == {batch["step"]}
                    found |= dict(zip(batch["packs"], batch["keys"], strict=True))
                states.append(loader.state_dict())
        return found, lanes.saved_state(states)

    whole, _ = run(1, 6, None)
    first, state = run(2, 3, None)
    second, _ = run(1, 3, state)
    assert first | second == whole
    assert sorted(whole) == list(range(24))
