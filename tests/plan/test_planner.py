import inspect
import pickle
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.helpers.plan_data import UNTILED, Columns, Squares, pages, planner
from wdstream.errors import ConfigError, PlanError, StateError
from wdstream.plan.planner import Planner
from wdstream.plan.protocols import Dataset
from wdstream.plan.settings import PlanSettings
from wdstream.plan.state import Cursor, StreamState
from wdstream.records import StepPlan
from wdstream.tiling.policy import TilingPolicy


def samples_of(steps: list[StepPlan]) -> list[int]:
    return [sample for step in steps for pack in step.packs for sample in pack.samples]


def test_every_page_once_an_epoch_and_no_pack_of_two_epochs() -> None:
    data = pages(137)
    plan = planner(data, epochs=3, tail="pad")
    steps = list(plan.steps())
    assert Counter(samples_of(steps)) == {sample: 3 for sample in range(137)}
    seen: Counter[int] = Counter()
    for pack in (pack for step in steps for pack in step.packs):
        epochs = {seen[sample] for sample in pack.samples}
        assert len(epochs) <= 1
        assert not epochs or epochs == {min(seen[sample] for sample in range(137))}
        seen.update(pack.samples)


def test_records_of_a_step() -> None:
    data = pages(60)
    plan = planner(data, epochs=1)
    steps = list(plan.steps(world_size=2, micro_batch_size=2))
    assert [step.step for step in steps] == list(range(len(steps)))
    assert [pack.number for step in steps for pack in step.packs] == list(range(4 * len(steps)))
    family = Squares()
    for pack in (pack for step in steps for pack in step.packs):
        assert sum(pack.tokens) <= 128
        assert sum(pack.patches) <= 256
        columns = {len(column) for column in (pack.samples, pack.tokens, pack.patches, pack.supervised, pack.scales)}
        assert columns == {len(pack.samples)}
        for sample, tokens, patches, supervised in zip(
            pack.samples, pack.tokens, pack.patches, pack.supervised, strict=True
        ):
            width, height = (side[[sample]].astype(np.int64) for side in (data.image_width, data.image_height))
            ids, cost = family.image_cost(width, height)
            assert (tokens, patches) == (int(ids[0]) + data.text_tokens[sample] + 1, int(cost[0]))
            assert supervised == data.text_tokens[sample] + 1
        assert pack.language_cost == sum(10 * count + count * count for count in pack.tokens)
        assert pack.vision_cost == sum(5 * count + 2 * count * count for count in pack.patches)
    for step in steps:
        assert sorted(place for rank in step.assignment for place in rank) == [0, 1, 2, 3]
        assert step.num_supervised == sum(sum(pack.supervised) for pack in step.packs)
        assert plan.imbalance(step, micro_batch_size=2) >= 1


def test_plain_integers_only() -> None:
    """numpy integers would not go through JSON, and compare slowly."""
    pack = next(planner(pages(30)).steps()).packs[0]
    for column in (pack.samples, pack.tokens, pack.patches, pack.supervised, pack.scales):
        assert {type(value) for value in column} == {int}
    assert type(pack.language_cost) is type(pack.vision_cost) is int


def test_resume_after_every_step() -> None:
    plan = planner(pages(90), pages(23, seed=1), epochs=2)
    whole = list(plan.steps())
    running = plan.steps()
    for number in range(len(whole) + 1):
        state = running.state()
        assert state.step == number
        fresh = planner(pages(90), pages(23, seed=1), epochs=2)
        resumed = fresh.steps(StreamState.from_json(state.dumps()))
        assert list(resumed) == whole[number:]
        assert next(running, None) == (whole[number] if number < len(whole) else None)


def test_states_are_the_same_however_they_were_reached() -> None:
    plan = planner(pages(90), pages(23, seed=1), epochs=2)
    steps = plan.steps()
    for _ in steps:
        state = steps.state()
        fresh = planner(pages(90), pages(23, seed=1), epochs=2)
        assert fresh.state_after(state.step - 1, state_near=plan.initial_state()) == state


def test_any_step_alone() -> None:
    plan = planner(pages(500), epochs=1)
    whole = list(plan.steps())
    assert plan.total_steps() == len(whole)
    for number in (0, 1, 17, 16, 30, len(whole) - 1):
        assert planner(pages(500), epochs=1).step(number) == whole[number]
        assert plan.step(number) == whole[number]
    near = plan.state_after(30)
    assert planner(pages(500), epochs=1).step(33, state_near=near.to_json()) == whole[33]
    with pytest.raises(PlanError, match=rf"step {len(whole)}: the run has {len(whole)} steps"):
        plan.step(len(whole))
    with pytest.raises(PlanError, match=rf"step {len(whole)}: the run has {len(whole)} steps"):
        plan.state_after(len(whole))
    with pytest.raises(PlanError, match="steps are numbered from 0"):
        plan.step(-1)


def test_a_step_near_a_known_state_does_not_replay_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planner(pages(2000), epochs=1)
    total = plan.total_steps()
    assert total is not None
    monkeypatch.setattr(plan, "_from_start", lambda state, _: pytest.fail(f"starts at {state.step}"))
    with pytest.raises(pytest.fail.Exception, match=rf"starts at {(total - 5) // 16 * 16}$"):
        plan.step(total - 5)


@pytest.mark.parametrize("tail", ["wrap", "drop", "pad"])
def test_the_last_step(tail: str) -> None:
    packs = len(samples_per_pack(planner(pages(100), epochs=1, global_batch_size=1)))
    for size in (1, 3, 7, packs, packs + 5):
        plan = planner(pages(100), epochs=1, global_batch_size=size, tail=tail)
        total = packs // size if tail == "drop" else -(-packs // size)
        assert planner(pages(100), epochs=1, global_batch_size=size, tail=tail).total_steps() == total
        steps = plan.steps()
        given = list(steps)
        assert len(given) == total
        assert {len(step.packs) for step in given} <= {size}
        counts = Counter(samples_of(given))
        if tail == "pad":
            assert counts == {sample: 1 for sample in range(100)}
            assert sum(not pack.samples for step in given for pack in step.packs) == total * size - packs
        elif tail == "wrap":
            assert len(counts) == 100
            assert all(pack.samples for step in given for pack in step.packs)
        else:
            assert set(counts.values()) <= {1}
        assert list(plan.steps(steps.state().to_json())) == []


def samples_per_pack(plan: Planner) -> list[int]:
    return [len(pack.samples) for step in plan.steps() for pack in step.packs]


@pytest.mark.parametrize("tail", ["wrap", "drop"])
def test_more_epochs_after_the_end_continue_exactly(tail: str) -> None:
    """Packs that "drop" left out of the last step come in the next one."""
    first = planner(pages(100), epochs=1, global_batch_size=7, tail=tail)
    steps = first.steps()
    given = list(steps)
    longer = planner(pages(100), epochs=2, global_batch_size=7, tail=tail)
    assert given + list(longer.steps(steps.state())) == list(longer.steps())


def test_datasets_by_epochs_share_a_pass() -> None:
    data = [pages(40, seed=0), pages(25, seed=1)]
    plan = planner(
        Dataset(columns=data[0], name="a"), Dataset(columns=data[1], name="b", epochs=3), epochs=2, tail="pad"
    )
    steps = list(plan.steps())
    counts = Counter(samples_of(steps))
    assert {sample: counts[sample] for sample in range(40)} == {sample: 2 for sample in range(40)}
    assert {sample: counts[sample] for sample in range(40, 65)} == {sample: 6 for sample in range(40, 65)}
    first_round = samples_of(steps)[: 40 + 75]
    thirds = [sum(sample < 40 for sample in first_round[start : start + 38]) for start in (0, 38, 76)]
    assert max(thirds) - min(thirds) <= 6  # interleaved evenly, up to the pool
    assert plan.locate(0) == (0, 0)
    assert plan.locate(40) == (1, 0)
    assert plan.locate(64) == (1, 24)
    with pytest.raises(PlanError, match="sample 65: expected a number from 0 to 64"):
        plan.locate(65)


@pytest.mark.parametrize("unit", ["pages", "tokens"])
def test_datasets_by_weight_keep_their_shares_and_never_end(unit: str) -> None:
    short = pages(30, seed=0, text=(1, 5), side=28)
    long = pages(50, seed=1, text=(40, 60), side=28)
    plan = planner(
        Dataset(columns=short, name="short", weight=3),
        Dataset(columns=long, name="long", weight=1),
        weights_in=unit,
    )
    assert plan.total_steps() is None
    steps = plan.steps()
    given = [next(steps) for _ in range(150)]
    totals = [0, 0]
    for pack in (pack for step in given for pack in step.packs):
        for sample, tokens in zip(pack.samples, pack.tokens, strict=True):
            totals[plan.locate(sample)[0]] += tokens if unit == "tokens" else 1
    assert totals[0] / sum(totals) == pytest.approx(0.75, abs=0.01)
    state = steps.state()
    assert max(at.count for at in state.cursors) < 300  # common rounds are taken off
    assert plan.step(150) == next(steps)
    assert next(planner_by_weight(unit).steps(state)) == plan.step(150)
    steps.close()


def planner_by_weight(unit: str) -> Planner:
    short = Dataset(columns=pages(30, seed=0, text=(1, 5), side=28), name="short", weight=0.75)
    long = Dataset(columns=pages(50, seed=1, text=(40, 60), side=28), name="long", weight=0.25)
    return planner(short, long, weights_in=unit)


def test_counts_are_rebased_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = planner_by_weight("tokens").steps()
    expected = [next(steps) for _ in range(100)]
    steps.close()
    monkeypatch.setattr("wdstream.plan.sample_stream.MAX_COUNT", 500)
    steps = planner_by_weight("tokens").steps()
    assert [next(steps) for _ in range(100)] == expected
    steps.close()


def test_slabs_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(planner(pages(90), pages(23, seed=1), epochs=2).steps())
    monkeypatch.setattr("wdstream.plan.sample_stream.SLAB", 3)
    monkeypatch.setattr("wdstream.plan.sample_stream.FIRST_SLAB", 1)
    assert list(planner(pages(90), pages(23, seed=1), epochs=2).steps()) == expected


def test_rejects_are_listed_and_never_planned() -> None:
    data = pages(200, text=(0, 130))
    plan = planner(data, epochs=1, tail="pad")
    rejects = dict(plan.rejects())
    assert {"empty text", "too many tokens"} <= set(rejects.values())
    planned = samples_of(list(plan.steps()))
    assert sorted([*planned, *rejects]) == list(range(200))


def test_nothing_to_plan() -> None:
    with pytest.raises(PlanError, match=r"of 20 samples all are rejected \(too many tokens 20\)"):
        planner(pages(20), sequence_length=1).step(0)
    with pytest.raises(PlanError, match="of 20 samples all are rejected"):
        planner(pages(20), sequence_length=1, epochs=2).total_steps()
    with pytest.raises(PlanError, match=r"dataset with a weight has no acceptable sample in epoch 1 .*tokens 40"):
        planner(Dataset(columns=pages(20), name="a", weight=1), sequence_length=1).step(0)
    with pytest.raises(PlanError, match="dataset 'data0' has no samples"):
        planner(pages(0))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_tiny_sets(count: int) -> None:
    plan = planner(pages(count, shard=100), global_batch_size=16, epochs=2, tail="wrap")
    steps = list(plan.steps())
    assert len(steps) == 1
    assert all(len(pack.samples) >= 1 for pack in steps[0].packs)
    assert set(samples_of(steps)) == set(range(count))


def test_shards_without_samples() -> None:
    data = pages(40)
    data.shard_starts = np.array([0, 0, 10, 10, 10, 30, 40, 40])
    plan = planner(data, epochs=2, tail="pad", shuffle_shards=1)
    steps = plan.steps()
    whole = list(plan.steps())
    assert Counter(samples_of(whole)) == {sample: 2 for sample in range(40)}
    for number in range(len(whole)):
        assert next(steps) == whole[number]
        assert list(plan.steps(steps.state())) == whole[number + 1 :]


def test_curriculum_by_epoch() -> None:
    plan = planner(pages(80), epochs=3, tail="pad", curriculum=[{"epochs": 1, "where": "tokens < 40"}])
    counts = Counter(samples_of(list(plan.steps())))
    short = {pack_sample for pack_sample, value in counts.items() if value == 3}
    assert set(counts.values()) == {2, 3}
    tokens = {s: t for step in plan.steps() for p in step.packs for s, t in zip(p.samples, p.tokens, strict=True)}
    assert short == {sample for sample in range(80) if tokens[sample] < 40}


CHANGES = [
    ("index", lambda: planner(pages(90, seed=3))),
    ("order", lambda: planner(pages(90), seed=1)),
    ("order", lambda: planner(pages(90), shuffle_shards=3)),
    ("order", lambda: planner(pages(90), where="tokens < 40")),
    ("order", lambda: planner(pages(90), curriculum=[{"epochs": 1, "where": "tokens < 40"}])),
    ("order", lambda: planner(Dataset(columns=pages(90), name="a", weight=2))),
    ("order", lambda: planner(Dataset(columns=pages(90), name="a", epochs=2))),
    ("packing", lambda: planner(pages(90), sequence_length=129)),
    ("packing", lambda: planner(pages(90), max_patches=255)),
    ("packing", lambda: planner(pages(90), global_batch_size=5)),
    ("packing", lambda: planner(pages(90), pool=15)),
    ("packing", lambda: planner(pages(90), max_pixels=10_000)),
    ("packing", lambda: planner(pages(90), overlength="downscale")),
    ("tiling", lambda: Planner(pages(90), Squares(), TilingPolicy(kind="grid"), **SMALL)),
    ("family", lambda: Planner(pages(90), Squares(fingerprint="0" * 32), UNTILED, **SMALL)),
]


@pytest.mark.parametrize(("name", "changed"), CHANGES)
def test_every_change_is_refused_and_named(name: str, changed: Callable[[], Planner]) -> None:
    state = planner(pages(90)).state_after(3)
    with pytest.raises(StateError) as error:
        changed().steps(state.to_json())
    assert str(error.value).count("expected") == 1
    assert f"\n  {name}: expected" in str(error.value)


def test_a_state_of_other_planning_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    state = planner(pages(90)).state_after(3)
    monkeypatch.setattr("wdstream.plan.datasets.PLAN_VERSION", 99)
    with pytest.raises(StateError, match=r"plan: expected \d+ as in the state, found 99; the version of wdstream's"):
        planner(pages(90)).steps(state.to_json())


SMALL: dict[str, Any] = {
    "sequence_length": 128,
    "max_patches": 256,
    "global_batch_size": 4,
    "pool": 16,
    "shuffle_shards": 2,
}


def test_keep_continues_exactly_once_under_new_settings() -> None:
    old = planner(pages(90), epochs=1, tail="pad")
    steps = old.steps()
    before = samples_of([next(steps) for _ in range(3)])
    new = planner(pages(90), epochs=1, tail="pad", sequence_length=160, pool=8)
    state = new.resume(steps.state(), on_change="keep")
    after = samples_of(list(new.steps(state)))
    rejects = [sample for sample, _ in old.rejects()]
    assert sorted([*before, *after, *rejects]) == list(range(90))
    with pytest.raises(StateError, match="order: expected"):
        planner(pages(90), seed=4).resume(steps.state(), on_change="keep")
    steps.close()


def test_a_pool_sample_that_no_longer_fits_is_left_out() -> None:
    state = planner(pages(90)).state_after(2)
    tighter = planner(pages(90), sequence_length=60)
    kept = tighter.resume(state, on_change="keep")
    rejected = {sample for sample, _ in tighter.rejects()}
    assert rejected & set(kept.pool)
    assert not rejected & set(samples_of([tighter.steps(kept).__next__()]))


def test_new_epoch_after_a_shard_was_added() -> None:
    steps = planner(pages(90), epochs=3, tail="pad").steps()
    for _ in range(3):
        next(steps)
    longer = planner(pages(100, seed=9), epochs=3, tail="pad")
    with pytest.raises(StateError, match="a shard was added, removed or changed"):
        longer.steps(steps.state())
    state = longer.resume(steps.state(), on_change="new_epoch")
    assert (state.step, state.passes, state.pool) == (3, 1, ())
    counts = Counter(samples_of(list(longer.steps(state))))
    assert counts == {sample: 2 for sample in range(100)}
    several = planner(Dataset(columns=pages(100, seed=9), name="a", epochs=4), epochs=2, tail="pad")
    late = replace(steps.state(), passes=0, cursors=(Cursor(epoch=3, position=1),))
    counts = Counter(samples_of(list(several.steps(several.resume(late, on_change="new_epoch")))))
    assert counts == {sample: 4 for sample in range(100)}
    endless = planner(Dataset(columns=pages(100, seed=9), name="a", weight=1))
    assert endless.resume(late, on_change="new_epoch").cursors == (Cursor(epoch=4),)
    willing = planner(pages(100, seed=9), epochs=3, tail="pad", on_change="new_epoch")
    assert list(willing.steps(steps.state().to_json())) == list(longer.steps(state))
    assert willing.total_steps(steps.state()) == 3 + len(list(longer.steps(state)))
    assert willing.total_steps() == longer.total_steps()
    same = planner(pages(90), epochs=3)
    assert same.resume(steps.state(), on_change="new_epoch") == steps.state()
    steps.close()


def test_a_state_that_is_elsewhere() -> None:
    plan = planner(pages(90))
    tree = plan.state_after(2).to_json()
    changes: list[tuple[dict[str, Any], str]] = [
        ({"pool": [90]}, "the saved pool holds sample 90, but the datasets have 90 samples"),
        ({"cursors": [[0, 99, 0, 0]]}, "is at block 99, sample 0, which this dataset does not have"),
        ({"cursors": [[0, 0, 99, 0]]}, "is at block 0, sample 99"),
        ({"cursors": [[0, 0, 0, 0]] * 2}, "has 2 datasets, the plan 1"),
    ]
    for change, message in changes:
        with pytest.raises(StateError, match=message):
            plan.steps({**tree, **change})


def test_settings_are_checked() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"sequence_length": 0}, "sequence_length: expected greater than 0, found 0"),
        ({"tail": "cut"}, "tail: expected 'wrap', 'drop' or 'pad', found 'cut'"),
        (
            {"curriculum": [{"epoch": 1}]},
            r"curriculum\[0\].where: missing\ncurriculum\[0\].epoch: unknown key",
        ),
        ({"where": "tokens <"}, "is not an expression"),
        ({"deal": "random"}, "deal: expected 'total' or 'phase'"),
    ]
    for settings, message in wrong:
        with pytest.raises(ConfigError, match=message):
            planner(pages(9), **settings)
    with pytest.raises(ConfigError, match="datasets given by weight have no common epoch"):
        planner(Dataset(columns=pages(9), name="a", weight=1), epochs=1)
    with pytest.raises(PlanError, match="global_batch_size 4 on 5 ranks: 1 of them would never have a pack"):
        planner(pages(9)).steps(world_size=5)


def test_interleaved_rows_and_texts() -> None:
    rng = np.random.default_rng(5)
    sizes = [[(int(w), int(h)) for w, h in rng.integers(1, 90, (rng.integers(0, 4), 2))] for _ in range(70)]
    data = Columns(text_tokens=rng.integers(1, 20, 70), sizes=sizes, shard_starts=np.arange(0, 70, 7))
    plan = planner(data, epochs=1, tail="pad")
    counts = Counter(samples_of(list(plan.steps())))
    assert counts == {sample: 1 for sample in range(70)}


def test_threads_may_share_a_plan() -> None:
    """A loader's thread runs through the plan while another asks for steps; what is remembered only saves time."""
    plan = planner(pages(600, side=400), epochs=1, max_patches=1000, sequence_length=400)
    expected = list(planner(pages(600, side=400), epochs=1, max_patches=1000, sequence_length=400).steps())
    with ThreadPoolExecutor(4) as pool:
        found = [future.result() for future in [pool.submit(lambda: list(plan.steps())) for _ in range(4)]]
    assert found == [expected] * 4


def test_a_plan_pickles() -> None:
    plan = planner(pages(90), Dataset(columns=pages(23, seed=1), name="b", epochs=2), epochs=2)
    total = plan.total_steps()
    steps = plan.steps()
    next(steps)
    copy = pickle.loads(pickle.dumps(plan))
    assert (copy.fingerprints, copy.settings, copy.total_steps()) == (plan.fingerprints, plan.settings, total)
    assert list(copy.steps(steps.state())) == list(steps)
    assert copy.step(7) == plan.step(7)


def test_wrong_arguments_say_what_was_expected() -> None:
    small = {"sequence_length": 128, "max_patches": 256}
    with pytest.raises(TypeError, match=r"dataset 'data0': expected opened shards, .*; got 'shards', a str$"):
        Planner("shards", Squares(), UNTILED, **small)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"family: expected a model family, .*; got 'models/tiny', a str$"):
        Planner(pages(3), "models/tiny", UNTILED, **small)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"tiling: expected a tiling policy, .*; got None, a NoneType$"):
        Planner(pages(3), Squares(), None, **small)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="sequence_len: unknown key; known keys: curriculum, deal,"):
        Planner(pages(3), Squares(), UNTILED, sequence_len=3)


def test_a_misspelt_member_is_an_error() -> None:
    class Misspelt(Columns):
        """As if a member had another name."""

    data = Misspelt(text_tokens=np.array([3]), sizes=[[]], shard_starts=np.array([0]))
    del data.text_bytes
    with pytest.raises(TypeError, match=r"a Misspelt without text_bytes$"):
        planner(data)


def test_help_shows_the_settings() -> None:
    shown = inspect.signature(Planner).parameters
    assert list(shown)[:3] == ["datasets", "family", "tiling"]
    assert list(shown)[3:] == list(PlanSettings.model_fields)
    assert str(shown["pool"]) == "pool: int = 128"
    assert shown["epochs"].annotation == (int | None)
