"""The same steps under every topology: any world, changed at any step, after any number of kills."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.long_pages import long_pages
from tests.helpers.plan_data import Columns, pages, planner
from wdstream.errors import PlanError
from wdstream.plan.deal import step_digest
from wdstream.plan.planner import Planner
from wdstream.plan.protocols import Dataset
from wdstream.records import NO_PACK, PackPlan


@dataclass(frozen=True)
class Run:
    """A run's data and settings, and its worlds: (ranks, packs per forward pass, steps until killed)."""

    sizes: tuple[int, ...]
    epochs_of: tuple[int, ...]
    weights_in: str | None
    epochs: int
    tail: str
    overlength: str
    where: str | None
    batch: int
    pool: int
    seed: int
    topologies: tuple[tuple[int, int, int], ...]

    def columns(self, size: int, number: int) -> Columns:
        shard = 15 + self.seed % 30
        if self.overlength == "split":
            return long_pages(size, shard=shard, seed=number)
        return pages(size, shard=shard, seed=number, text=(0, 130))

    def planner(self) -> Planner:
        datasets = [
            Dataset(
                columns=self.columns(size, number),
                name=f"d{number}",
                weight=epochs if self.weights_in else None,
                epochs=1 if self.weights_in else epochs,
            )
            for number, (size, epochs) in enumerate(zip(self.sizes, self.epochs_of, strict=True))
        ]
        return planner(
            *datasets,
            epochs=None if self.weights_in else self.epochs,
            weights_in=self.weights_in or "pages",
            tail=self.tail,
            global_batch_size=self.batch,
            pool=self.pool,
            seed=self.seed,
            overlength=self.overlength,
            where=self.where,
        )


BATCHES = (1, 2, 6, 12, 16)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    count = draw(st.integers(1, 4))
    batch = draw(st.sampled_from(BATCHES))
    topologies = []
    for _ in range(draw(st.integers(1, 5))):
        world = draw(st.integers(1, batch))  # also where it does not divide the batch
        micro = draw(st.integers(1, -(-batch // world)))
        topologies.append((world, micro, draw(st.integers(0, 12))))
    return Run(
        sizes=tuple(draw(st.lists(st.integers(3, 50), min_size=count, max_size=count))),
        epochs_of=tuple(draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))),
        weights_in=draw(st.sampled_from([None, None, "pages", "tokens"])),
        overlength=draw(st.sampled_from(["reject", "downscale", "split"])),
        where=draw(st.sampled_from([None, "tokens % 3 != 1 or dataset == 'd0'"])),
        epochs=draw(st.integers(1, 3)),
        tail=draw(st.sampled_from(["wrap", "drop", "pad"])),
        batch=batch,
        pool=draw(st.sampled_from([1, 7, 40, 128])),
        seed=draw(st.integers(0, 1000)),
        topologies=tuple(topologies),
    )


LIMIT = 20
"""Steps compared of a run without end."""


def check(run: Run) -> None:
    single = run.planner()
    total = single.total_steps()
    length = LIMIT if total is None else total
    steps = single.steps()
    expected = [next(steps) for _ in range(length)]
    if total is not None:
        assert next(steps, None) is None
        check_counts(run, single, [sample for step in expected for pack in step.packs for sample in pack.samples])
    steps.close()

    state = single.initial_state().to_json()
    digests: list[int] = []
    given: list[list[PackPlan]] = []
    for world, micro, until in (*run.topologies, (run.topologies[0][0], run.topologies[0][1], length)):
        plan = run.planner()  # a new process
        steps = plan.steps(state, world_size=world, micro_batch_size=micro)
        for _ in range(min(until, length - len(digests))):
            step = next(steps)
            digests.append(step_digest(step))
            places = -(-run.batch // (world * micro)) * micro
            assert {len(rank) for rank in step.assignment} == {places}
            by_rank = [[step.packs[place] for place in rank if place != NO_PACK] for rank in step.assignment]
            given.append(sorted((pack for rank in by_rank for pack in rank), key=lambda pack: pack.number))
        state = steps.state().to_json()
        steps.close()
    assert digests == [step_digest(step) for step in expected]
    assert [tuple(step) for step in given] == [step.packs for step in expected]


def check_counts(run: Run, plan: Planner, samples: list[int]) -> None:
    """Every page as often as it should be, or each part of it; rejects excepted and listed."""
    counts = Counter(samples)
    rejects = {sample for sample, _ in plan.rejects()}
    accepted = set(range(plan.mixture.num_samples)) - rejects
    expected = {sample for page in accepted for sample in samples_of(page, plan)}
    assert set(counts) <= expected
    for sample in expected:
        wanted = run.epochs * run.epochs_of[plan.locate(sample)[0]]
        if run.tail == "pad":
            assert counts[sample] == wanted
        elif run.tail == "wrap":
            assert counts[sample] >= wanted
        else:
            assert counts[sample] <= wanted


def samples_of(page: int, plan: Planner) -> list[int]:
    """A page that fits, or all parts of one that is split."""
    try:
        part = plan.mixture.part_of(page + plan.mixture.num_samples)
    except PlanError:
        return [page]
    return [page + number * plan.mixture.num_samples for number in range(1, (part.count if part else 0) + 1)]


@given(runs())
@settings(deadline=None, max_examples=70, suppress_health_check=[HealthCheck.too_slow])
def test_same_steps_under_any_topology(run: Run) -> None:
    check(run)


@pytest.mark.slow
@given(runs())
@settings(deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
def test_same_steps_under_any_topology_at_length(run: Run) -> None:
    check(run)
