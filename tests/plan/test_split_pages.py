"""Pages that are split: by hand, by properties, and through the stream, its states and their checks."""

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.long_pages import LongPages, long_pages, rows
from tests.helpers.plan_data import UNTILED, Squares, pages, planner
from wdstream.errors import ConfigError, PlanError, StateError
from wdstream.plan.planner import Planner
from wdstream.plan.protocols import Dataset
from wdstream.plan.split_pages import PagePart, cut_paragraphs
from wdstream.plan.state import Cursor, StreamState
from wdstream.records import StepPlan

SMALL: dict[str, Any] = {
    "sequence_length": 128,
    "max_patches": 256,
    "global_batch_size": 4,
    "pool": 16,
    "shuffle_shards": 2,
}


def splitter(*datasets: object, **more: Any) -> Planner:
    return planner(*datasets, overlength="split", **more)


def lengths_of(plan: Planner) -> dict[int, list[int]]:
    """Tokens, patches and supervised tokens of every sample of one epoch."""
    steps = list(plan.steps())
    return {
        sample: lengths
        for step in steps
        for pack in step.packs
        for sample, *lengths in zip(pack.samples, pack.tokens, pack.patches, pack.supervised, strict=True)
    }


@pytest.mark.parametrize(
    ("tokens", "room", "parts"),
    [
        ([3, 4, 5], 12, [(3, 12)]),
        ([3, 4, 5], 11, [(2, 7), (3, 5)]),
        ([3, 4, 5], 7, [(2, 7), (3, 5)]),
        ([3, 4, 5], 6, [(1, 3), (2, 4), (3, 5)]),
        ([3, 4, 5], 4, []),  # a paragraph that does not fit alone
        ([5, 0, 0, 5, 0], 5, [(3, 5), (5, 5)]),
        ([0, 0], 0, [(2, 0)]),
        ([0, 1], 0, []),
        ([0, 1], -1, []),
    ],
)
def test_cut_paragraphs(tokens: list[int], room: int, parts: list[tuple[int, int]]) -> None:
    assert cut_paragraphs(tokens, room) == parts


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(-1, 60))
@settings(deadline=None)
def test_parts_cover_the_paragraphs_in_order_and_none_could_take_one_more(tokens: list[int], room: int) -> None:
    cut = cut_paragraphs(tokens, room)
    if not cut:
        assert max(tokens) > room
        return
    ends = [end for end, _ in cut]
    assert ends == sorted(set(ends))
    assert ends[-1] == len(tokens)
    parts = [tokens[begin:end] for begin, end in pairwise([0, *ends])]
    assert all(parts)
    assert [sum(part) for part in parts] == [count for _, count in cut]
    assert all(sum(part) <= room for part in parts)
    assert all(sum(part) + following[0] > room for part, following in pairwise(parts))


def test_by_hand() -> None:
    """56x28 is 2 patches and 3 tokens; with the EOS a part of 20 tokens has room for 16 of text, 19 without image."""
    data = rows(
        [
            ([6, 10, 9, 2, 5], [(56, 28)]),  # 16; 9 + 2 + 5
            ([10, 9, 2, 5], []),  # 19; 7
            ([16], [(56, 28)]),  # fits
            ([9, 17, 3], [(56, 28)]),  # a paragraph that does not fit: rejected
            ([40], [(56, 28)]),  # a single paragraph
            ([6, 6, 6], [(280, 280)]),  # 100 patches are too many, and no split helps that
        ]
    )
    plan = splitter(data, epochs=1, tail="pad", sequence_length=20, max_patches=99)
    assert lengths_of(plan) == {
        2: [20, 2, 17],
        0 + 6: [20, 2, 16],  # the text continues: its EOS is not supervised
        0 + 12: [20, 2, 17],
        1 + 6: [20, 0, 18],  # nor the first token, before which there is nothing
        1 + 12: [8, 0, 7],
    }
    assert dict(plan.rejects()) == {3: "too many tokens", 4: "too many tokens", 5: "too many tokens"}
    assert plan.locate(6) == plan.locate(12) == plan.locate(0) == (0, 0)
    assert [plan.mixture.part_of(sample) for sample in (0, 2)] == [None, None]
    assert plan.mixture.part_of(6) == PagePart(number=1, count=2, begin=0, end=2, num_paragraphs=5)
    assert plan.mixture.part_of(13) == PagePart(number=2, count=2, begin=2, end=4, num_paragraphs=4)
    assert PagePart(number=2, count=3, begin=2, end=4, num_paragraphs=6).name("scans/7") == "scans/7 part 2/3"
    for sample in (18, 8, 6 + 3):
        with pytest.raises(PlanError, match=f"sample {sample}: page {sample % 6} has no part {sample // 6}"):
            plan.mixture.part_of(sample)
    with pytest.raises(PlanError, match="sample -1: expected a number"):
        plan.locate(-1)


def test_images_come_with_every_part_and_cost_each_time() -> None:
    plan = splitter(rows([([30, 31], [(56, 56), (28, 28)])]), epochs=1, tail="pad", sequence_length=64)
    [pack, other] = [pack for step in plan.steps() for pack in step.packs if pack.samples]
    assert (pack.samples, other.samples) == ((1,), (2,))
    assert (pack.tokens, other.tokens) == ((3 + 3 + 30 + 1,), (3 + 3 + 31 + 1,))
    assert pack.patches == other.patches == (5,)
    assert pack.vision_cost == other.vision_cost == 5 * 4 + 2 * 16 + 5 + 2


def test_a_family_that_takes_shorter_documents_and_opens_them() -> None:
    family = Squares(prefix_tokens=2, max_document_tokens=10)
    plan = Planner(rows([([3, 3, 3, 3], [])]), family, UNTILED, **SMALL, epochs=1, tail="pad", overlength="split")
    assert lengths_of(plan) == {1: [2 + 6 + 1, 0, 6], 2: [2 + 6 + 1, 0, 7]}


def test_a_text_that_fits_by_paragraphs_alone() -> None:
    """Tokenised as a whole it may be longer than its paragraphs are."""
    plan = splitter(rows([([5, 5], [])], joints=3), epochs=1, tail="pad", sequence_length=12)
    assert lengths_of(plan) == {1: [11, 0, 10]}
    assert plan.mixture.part_of(1) == PagePart(number=1, count=1, begin=0, end=2, num_paragraphs=2)


def units(samples: list[int], plan: Planner) -> Counter[tuple[int, int]]:
    """How often each (page, paragraph) comes; whole pages as paragraph -1."""
    found: Counter[tuple[int, int]] = Counter()
    for sample in samples:
        part = plan.mixture.part_of(sample)
        places = [-1] if part is None else range(part.begin, part.end)
        found.update((plan.mixture.page_of(sample), place) for place in places)
    return found


def samples_of(steps: list[StepPlan]) -> list[int]:
    return [sample for step in steps for pack in step.packs for sample in pack.samples]


@given(st.integers(0, 50), st.integers(40, 200), st.integers(1, 60))
@settings(deadline=None, max_examples=60)
def test_every_paragraph_once_an_epoch_and_every_part_fits(seed: int, length: int, count: int) -> None:
    data = long_pages(count, seed=seed)
    plan = splitter(data, epochs=1, tail="pad", sequence_length=length)
    rejects = dict(plan.rejects())
    if len(rejects) == count:
        return
    steps = list(plan.steps())
    found = units(samples_of(steps), plan)
    assert set(found.values()) == {1}
    whole = {page for page, place in found if place == -1}
    parted = {page for page, place in found if place >= 0}
    assert whole | parted | set(rejects) == set(range(count))
    assert not whole & parted
    assert not rejects.keys() & (whole | parted)
    for page in parted:
        assert {place for at, place in found if at == page} == set(range(len(data.paragraph_tokens[page])))
    for step in steps:
        assert all(sum(pack.tokens) <= length for pack in step.packs)
    rejecting = dict(planner(data, epochs=1, sequence_length=length).rejects())
    assert set(rejecting) == set(rejects) | parted


def test_the_built_sums_are_the_planned_ones() -> None:
    data = long_pages(80, seed=3)
    plan = splitter(data, epochs=1, tail="pad")
    family = Squares()
    for sample, (tokens, patches, supervised) in lengths_of(plan).items():
        page, part = plan.mixture.page_of(sample), plan.mixture.part_of(sample)
        inside = slice(int(data.image_start[page]), int(data.image_start[page + 1]))
        width, height = (side[inside].astype(np.int64) for side in (data.image_width, data.image_height))
        ids, cost = family.image_cost(width, height)
        whole = data.paragraph_tokens[page] if part else [int(data.text_tokens[page])]
        text = sum(whole[part.begin : part.end] if part else whole)
        assert (tokens, patches) == (int(ids.sum()) + text + 1, int(cost.sum()))
        assert supervised == text + (part is None or part.is_last) - (inside.start == inside.stop)


def test_resume_after_every_step_also_between_two_parts() -> None:
    def make() -> Planner:
        return splitter(long_pages(60), long_pages(17, seed=1), epochs=2, pool=1, global_batch_size=1)

    plan = make()
    whole = list(plan.steps())
    running = plan.steps()
    stood_between = held_parts = 0
    for number in range(len(whole) + 1):
        state = running.state()
        tree = json.loads(state.dumps())
        stood_between += any(len(cursor) == 5 for cursor in tree["cursors"])
        held_parts += any(sample >= 77 for sample in tree["pool"])
        resumed = make().steps(tree)
        assert list(resumed) == whole[number:]
        assert resumed.state().step == len(whole)
        next(running, None)
    assert stood_between > 10
    assert held_parts == 0  # a pool of one is empty between steps of one pack
    assert any(sample >= 77 for sample in make_with_pool().state_after(3).pool)


def make_with_pool() -> Planner:
    return splitter(long_pages(60), long_pages(17, seed=1), epochs=2)


def test_a_state_holds_ids_of_parts_and_restores_them() -> None:
    plan = make_with_pool()
    whole = list(plan.steps())
    state = plan.state_after(3)
    assert list(make_with_pool().steps(state.to_json())) == whole[4:]
    assert plan.mixture.pool_values(state.pool)[0].tolist() == list(state.pool)


def test_slabs_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(make_with_pool().steps())
    monkeypatch.setattr("wdstream.plan.sample_stream.SLAB", 3)
    monkeypatch.setattr("wdstream.plan.sample_stream.FIRST_SLAB", 1)
    assert list(make_with_pool().steps()) == expected


@pytest.mark.parametrize("unit", ["pages", "tokens"])
def test_mixtures_by_weight_keep_their_shares(unit: str) -> None:
    def make() -> Planner:
        return splitter(
            Dataset(columns=long_pages(40), name="long", weight=3),
            Dataset(columns=pages_without_splits(), name="short", weight=1),
            weights_in=unit,
        )

    plan = make()
    steps = plan.steps()
    totals = [0, 0]
    for _ in range(150):
        state = steps.state()
        for pack in next(steps).packs:
            for sample, tokens in zip(pack.samples, pack.tokens, strict=True):
                totals[plan.locate(sample)[0]] += tokens if unit == "tokens" else 1
    assert totals[0] / sum(totals) == pytest.approx(0.75, abs=0.01)
    assert next(make().steps(state.to_json())) == plan.step(149)
    steps.close()


def pages_without_splits() -> LongPages:
    return rows([([tokens], [(28, 28)]) for tokens in range(1, 51)], seed=1)


def test_filters_and_curriculum_choose_whole_pages() -> None:
    data = rows([([30, 30, 30], [])] * 5 + [([50], [])] * 5)
    plan = splitter(data, epochs=2, tail="pad", sequence_length=64, curriculum=[{"epochs": 1, "where": "tokens < 91"}])
    counts = Counter(samples_of(list(plan.steps())))
    assert counts == {5: 2, 6: 2, 7: 2, 8: 2, 9: 2} | {page + 10 * part: 1 for page in range(5) for part in (1, 2)}


def test_the_summary_counts_pages_and_parts() -> None:
    data = rows([([30, 30, 30, 30, 30], [])] * 5 + [([50], [])] * 5 + [([90, 3], [])])
    summary = splitter(data, epochs=1, sequence_length=64).summary()
    assert (summary.samples, summary.pages, summary.split_pages, summary.parts) == (11, 10, 5, 15)
    assert summary.pages_per_pack == 20 / summary.packs
    assert summary.rejects == {"too many tokens": 1}
    assert [share.pages for share in summary.datasets] == [10]
    assert planner(pages(20), epochs=1).summary().split_pages == 0


def test_keep_is_refused_in_the_middle_of_split_pages() -> None:
    data = long_pages(60)
    state = splitter(data).state_after(3)
    assert any(sample >= 60 for sample in state.pool)
    for changed in (splitter(data, sequence_length=160), planner(data), splitter(data, max_patches=300)):
        with pytest.raises(StateError, match=r"(?s)packing: expected.*nor in the middle of split pages"):
            changed.resume(state, on_change="keep")
    family = Planner(data, Squares(fingerprint="0" * 32), UNTILED, **SMALL, overlength="split")
    with pytest.raises(StateError, match="family: expected"):
        family.resume(state, on_change="keep")
    between = StreamState(
        step=1, passes=0, cursors=(Cursor(position=1, part=1),), pool=(), fingerprints=state.fingerprints
    )
    with pytest.raises(StateError, match="packing: expected"):
        splitter(data, pool=3).resume(between, on_change="keep")
    again = splitter(data, sequence_length=160).resume(state, on_change="new_epoch")
    assert (again.cursors, again.pool) == ((Cursor(epoch=1),), ())
    assert splitter(data).resume(state, on_change="keep") == state


def test_keep_splits_what_waits_in_the_pool_when_it_became_too_long() -> None:
    data = rows([([20, 20, 20], [])] * 30)
    old = planner(data, epochs=1, tail="pad")
    steps = old.steps()
    before = samples_of([next(steps)])
    state = steps.state()
    steps.close()
    new = splitter(data, epochs=1, tail="pad", sequence_length=41)
    after = units(samples_of(list(new.steps(new.resume(state, on_change="keep")))), new)
    assert set(after.values()) == {1}
    assert {page for page, _ in after} == set(range(30)) - set(before)
    assert {place for _, place in after} == {0, 1, 2}


def test_states_that_are_elsewhere() -> None:
    plan = splitter(rows([([20, 20, 20], [])] * 30), sequence_length=41)
    tree = plan.initial_state().to_json()
    changes: list[tuple[dict[str, Any], str]] = [
        ({"pool": [90]}, "the saved pool holds sample 90, but the datasets have 30 samples, and no page of them such"),
        ({"cursors": [[0, 0, 3, 0, 2]]}, "is after part 2 of sample 3 of block 0, which has no further part"),
        ({"cursors": [[0, 0, 3, 0, -1]]}, "negative"),
    ]
    for change, message in changes:
        with pytest.raises(StateError, match=message):
            plan.steps({**tree, **change})
    plan.steps({**tree, "cursors": [[0, 0, 3, 0, 1]], "pool": [30, 60]}).close()


def test_columns_without_paragraphs_are_named() -> None:
    with pytest.raises(ConfigError, match=r"overlength: 'split' needs tokens of paragraphs.* dataset 'data0'"):
        splitter(pages(9))


def test_plain_integers_only() -> None:
    for step in make_with_pool().steps():
        for pack in step.packs:
            for column in (pack.samples, pack.tokens, pack.patches, pack.supervised, pack.scales):
                assert {type(value) for value in column} <= {int}


def test_plans_that_split_nothing_are_those_that_reject() -> None:
    data = rows([([tokens], [(28, 28)]) for tokens in np.arange(1, 91).tolist()])
    assert list(splitter(data, epochs=1).steps()) == list(planner(data, epochs=1).steps())
