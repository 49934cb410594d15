from dataclasses import replace

from wdstream.plan.deal import step_digest
from wdstream.records import PackPlan, StepPlan

PACK = PackPlan(number=4, samples=(7, 8), tokens=(10, 20), patches=(4, 0), supervised=(3, 4), scales=(64, 64))
STEP = StepPlan(step=1, packs=(PACK, replace(PACK, number=5, samples=(9, 10))), assignment=((0,), (1,)))


def test_the_digest_never_changes() -> None:
    assert step_digest(STEP) == 5998044867177990231


def test_every_part_counts_but_not_the_deal() -> None:
    changed = [
        replace(STEP, step=2),
        replace(STEP, packs=STEP.packs[::-1]),
        replace(STEP, packs=(replace(PACK, samples=(8, 7)), STEP.packs[1])),
        replace(STEP, packs=(replace(PACK, tokens=(10, 21)), STEP.packs[1])),
        replace(STEP, packs=(replace(PACK, scales=(64, 63)), STEP.packs[1])),
    ]
    assert len({step_digest(step) for step in (STEP, *changed)}) == 6
    assert step_digest(replace(STEP, assignment=((1,), (0,)))) == step_digest(STEP)
