"""Loaders and nodes in other processes, real ones: workers of torch's DataLoader by fork and spawn, forks, pickles.

Spans: pipeline, nodes.
"""

import multiprocessing
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from tests.helpers.waiting import HANGS_AFTER_S
from tests.helpers.web_server import Server, serving
from wdstream.batches.batch import Batch
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import StorageFailureError, WdstreamError
from wdstream.nodes import Items, LaneSettings, Loader, Prefetch, ReadTars, Shuffle
from wdstream.nodes.mapper import Map
from wdstream.nodes.tar_urls import open_url
from wdstream.pipeline.planned import Plan
from wdstream.pipeline.streamed import Lanes
from wdstream.records import World
from wdstream.storage.settings import ReadSettings
from wdstream.tiling.policy import TilingPolicy

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # more than there are cores
Seen = list[tuple[int, list[list[str]], int]]


@pytest.fixture(scope="module")
def server(small_shards: Path) -> Iterator[Server]:
    with serving(small_shards) as server:
        yield server


@pytest.fixture(scope="module")
def plans(stream_config: Callable[..., Config], small_shards: Path, server: Server) -> dict[str, Plan]:
    """One plan over a folder and over its URL, used before."""
    here = plan_from_config(stream_config(small_shards, epochs=1))
    there = plan_from_config(stream_config(train=[{"path": server.url}], epochs=1, reading={"open_requests": 3}))
    assert there.shards[0]._files.reading == ReadSettings(open_requests=3)
    assert there.fingerprints == here.fingerprints
    with there.loader(workers=0, prefetch=0) as loader:
        next(loader)
    return {"local": here, "remote": there}


@pytest.fixture(scope="module")
def expected(plans: dict[str, Plan]) -> Seen:
    """All batches of one rank of two."""
    with plans["local"].loader(world=World(rank=1, size=2)) as loader:
        return [seen(batch) for batch in loader]


def seen(batch: Batch) -> tuple[int, list[list[str]], int]:
    """What a batch is, in short."""
    return int(batch["step"]), batch["keys"], int(batch["input_ids"].sum()) + int(batch["pixel_values"].sum())


def torch_loader(data: Any, workers: int, kind: str, **how: Any) -> DataLoader[Batch]:
    context = kind if workers else None
    return DataLoader(data, batch_size=None, num_workers=workers, multiprocessing_context=context, **how)


class OwnLoader(IterableDataset[Batch]):
    """A dataset that makes the loader in the worker, as a user would write it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __iter__(self) -> Iterator[Batch]:
        with self.plan.loader(world=World(rank=1, size=2), workers=1) as loader:
            yield from loader


@pytest.mark.parametrize(
    ("where", "kind", "workers"),
    [
        ("local", "fork", 0),
        ("local", "fork", 1),
        ("remote", "fork", 3),
        pytest.param("local", "fork", 4, marks=pytest.mark.slow),
        pytest.param("remote", "fork", 2, marks=pytest.mark.slow),
        pytest.param("local", "spawn", 1, marks=pytest.mark.slow),
        ("remote", "spawn", 2),
    ],
)
def test_workers_of_a_dataloader_give_every_batch_once_and_in_order(
    plans: dict[str, Plan], expected: Seen, where: str, kind: str, workers: int
) -> None:
    loader = plans[where].loader(world=World(rank=1, size=2))
    assert [seen(batch) for batch in torch_loader(loader, workers, kind)] == expected
    loader.close()


@pytest.mark.parametrize("where", ["local", "remote"])
def test_a_loader_made_in_persistent_workers(plans: dict[str, Plan], expected: Seen, where: str) -> None:
    batches = torch_loader(OwnLoader(plans[where]), 2, "fork", persistent_workers=True)
    for _ in range(2):
        assert [seen(batch) for batch in batches] == expected


def test_a_loader_that_was_begun_continues_in_each_fork(plans: dict[str, Plan], expected: Seen) -> None:
    with plans["remote"].loader(world=World(rank=1, size=2), workers=2, prefetch=3) as loader:
        assert [seen(next(loader)) for _ in range(3)] == expected[:3]
        assert [seen(batch) for batch in torch_loader(loader, 2, "fork")] == expected[3:]
        assert [seen(batch) for batch in pickle.loads(pickle.dumps(loader))] == expected[3:]
        assert [seen(batch) for batch in loader] == expected[3:]  # with its own threads


class Answers(IterableDataset[str]):
    """What a function of a dataset gives in each worker, or its error: of a torn worker torch leaves processes."""

    def __init__(self, data: Any, ask: Callable[[Any], object]) -> None:
        self.data, self.ask = data, ask

    def __iter__(self) -> Iterator[str]:
        try:
            yield str(self.ask(self.data))
        except WdstreamError as error:
            yield str(error)


def answers(data: Any, ask: Callable[[Any], object], workers: int, kind: str = "fork") -> list[str]:
    return [str(told) for told in torch_loader(Answers(data, ask), workers, kind)]


def step_after_one(loader: Any) -> object:
    next(loader)
    return loader.state_dict()["step"]


def test_the_state_in_workers(plans: dict[str, Plan]) -> None:
    with plans["local"].loader() as loader:
        assert answers(loader, step_after_one, 1) == ["0"]
        for told in answers(loader, step_after_one, 2):
            assert "one of 2 workers of a DataLoader has a part of the batches" in told


def step_of(plan: Plan, number: int) -> object:
    first = [plan.key(sample) for pack in plan.step(number).packs for sample in pack.samples]
    return first, plan.total_steps(), [page.key for page in plan.shards[0].read_pages([0, 20])]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_plan_in_a_pool_of_processes(plans: dict[str, Plan], kind: str) -> None:
    for plan in plans.values():
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(kind)) as pool:
            assert pool.submit(step_of, plan, 1).result(HANGS_AFTER_S) == step_of(plan, 1)


def test_lanes_in_workers(small_shards: Path, plans: dict[str, Plan], tmp_path: Path) -> None:
    limits: dict[str, Any] = {"sequence_length": 1024, "max_patches": 2048, "global_batch_size": 2}
    settings = LaneSettings(family=plans["local"].family, tiling=TilingPolicy(), lanes=2, **limits)
    lanes = Lanes(urls=sorted(map(str, small_shards.glob("*.tar"))), settings=settings)
    with lanes.loader() as loader:
        first, *after = [seen_stream(next(loader)) for _ in range(5)]
    with lanes.loader() as loader:
        assert seen_stream(next(loader)) == first
        for kind in ("fork", "spawn"):
            assert answers(loader, after_first, 1, kind) == [str(after)]
        assert all("LaneSource: was made before the 2 workers" in told for told in answers(loader, next, 2))
        assert all("Lanes.loader: in several workers" in told for told in answers(lanes, Lanes.loader, 2))
        assert [seen_stream(next(loader)) for _ in after] == after


def after_first(loader: Any) -> object:
    return [seen_stream(next(loader)) for _ in range(4)]


def seen_stream(batch: Batch) -> tuple[list[list[str]], int]:
    return batch["keys"], int(batch["input_ids"].sum())


def graph(tars: list[str]) -> Loader[str]:
    """Nodes of all kinds that hold a place or threads."""
    keys = Map(ReadTars(tars), sample_key, workers=2)
    return Loader(Prefetch(Shuffle(keys, buffer=8, seed=1), depth=2))


def sample_key(sample: Any) -> str:
    return str(sample.key)


def test_nodes_that_were_begun_continue_in_other_processes(small_shards: Path) -> None:
    tars = sorted(map(str, small_shards.glob("*.tar")))
    loader = graph(tars)
    whole = [*graph(tars)]
    assert [next(loader) for _ in range(11)] == whole[:11]
    assert [*torch_loader(loader, 1, "fork")] == whole[11:]
    assert [*torch_loader(loader, 1, "spawn")] == whole[11:]
    assert [*pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(loader))))] == whole[11:]
    assert [*loader] == whole[11:]


def test_copies_in_several_workers_are_refused(small_shards: Path) -> None:
    for node in (graph(sorted(map(str, small_shards.glob("*.tar")))), Loader(Items(range(9)))):
        for told in answers(node, next, 2):
            assert re.match(r"(ReadTars|Items): was made before the 2 workers of a DataLoader", told)


class OwnItems(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        worker = torch.utils.data.get_worker_info()
        assert worker is not None
        yield from Loader(Items(range(worker.id, 9, worker.num_workers)))


def test_nodes_made_in_workers_are_theirs() -> None:
    assert sorted(torch_loader(OwnItems(), 2, "fork")) == list(range(9))


def test_a_command_is_read_by_the_process_that_started_it(small_shards: Path, tmp_path: Path) -> None:
    tar = min(small_shards.glob("*.tar"))
    shutil.copy(tar, tmp_path / "x.tar")
    node = ReadTars([f"pipe:cat {tmp_path}/x.tar"])
    first = next(node)
    assert answers(node, keys_of, 1) == [str(rest := keys_of(pickle.loads(pickle.dumps(node))))]
    assert first.key not in rest
    assert rest == keys_of(node)
    opened = open_url(f"pipe:cat {tmp_path}/x.tar")
    assert "is read by the process that this one was forked from" in answers(opened, read_all, 1)[0]
    assert opened.read() == (tmp_path / "x.tar").read_bytes()
    opened.close()
    with pytest.raises(StorageFailureError, match="exit status 3"):
        keys_of(ReadTars([f"pipe:cat {tmp_path}/x.tar; exit 3"]))


def read_all(stream: Any) -> object:
    return stream.read()


def keys_of(node: Any) -> list[str]:
    return [sample.key for sample in node]
