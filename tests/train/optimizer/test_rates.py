"""The learning rate of a step: schedules, warm-up, stages, and what other settings would have given."""

import pytest

from wdstream.config.learning import LearningSettings
from wdstream.errors import ConfigError
from wdstream.train.optimizer.rates import check_stages, learning_rate, needs_total, parts_before, rate_change, stage_at


def rates(total_steps: int = 8, **settings: object) -> list[float]:
    config = LearningSettings.of({"lr": 1.0, **settings})
    return [round(learning_rate(step, config, total_steps=total_steps), 6) for step in range(total_steps)]


def test_warm_up_and_cosine() -> None:
    assert rates(warmup_steps=3) == [0.25, 0.5, 0.75, 1.0, 0.868198, 0.55, 0.231802, 0.1]


def test_no_warm_up_starts_at_the_peak_and_ends_at_the_floor() -> None:
    assert rates(3, min_lr_ratio=0.0) == [1.0, 0.5, 0.0]


def test_run_of_one_step_and_run_shorter_than_its_warm_up() -> None:
    assert rates(1) == [1.0]
    assert rates(2, warmup_steps=10) == [0.090909, 0.181818]


def test_other_schedules() -> None:
    assert rates(5, schedule="linear", min_lr_ratio=0.2) == [1.0, 0.8, 0.6, 0.4, 0.2]
    assert rates(4, schedule="constant", warmup_steps=1) == [0.5, 1.0, 1.0, 1.0]
    stable: dict[str, object] = {"schedule": "warmup_stable_decay", "min_lr_ratio": 0.0}
    assert rates(7, **stable, warmup_steps=1, decay_steps=2) == [0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
    assert rates(7, **stable, decay_ratio=0.3) == [1.0, 1.0, 1.0, 1.0, 0.666667, 0.333333, 0.0]  # 2.1 steps, so 3
    assert rates(10, **stable)[-3:] == [1.0, 1.0, 0.0]  # a tenth
    assert rates(4, **stable, warmup_steps=2, decay_steps=9) == [0.333333, 0.666667, 1.0, 0.0]  # what the warm-up left


def test_warm_up_by_ratio() -> None:
    assert rates(10, schedule="constant", warmup_ratio=0.3) == rates(10, schedule="constant", warmup_steps=3)
    assert rates(10, schedule="constant", warmup_ratio=0.21) == rates(10, schedule="constant", warmup_steps=3)


STAGES = ({"train": ["projector"], "steps": 3, "lr": 2.0}, {"train": ["language"], "warmup_steps": 1})


def test_each_stage_has_a_schedule_of_its_own() -> None:
    config = LearningSettings.of({"lr": 1.0, "stages": STAGES, "min_lr_ratio": 0.0})
    assert [stage_at(step, config).number for step in range(6)] == [0, 0, 0, 1, 1, 1]
    assert rates(6, stages=STAGES, min_lr_ratio=0.0) == [2.0, 1.0, 0.0, 0.5, 1.0, 0.0]
    assert [needs_total(step, config) for step in range(6)] == [False] * 4 + [True] * 2
    check_stages(config, 4)
    with pytest.raises(ConfigError, match=r"train.stages: the last one would begin with step 3, and the run has 3"):
        check_stages(config, 3)
    with pytest.raises(ConfigError, match=r"set train.max_steps, or run `wdstream plan`"):
        check_stages(config, None)
    check_stages(LearningSettings(), None)
    assert [parts_before(step, config) for step in (0, 3, 4)] == [set(), {"projector"}, {"projector", "language"}]
    assert parts_before(3, LearningSettings()) is None


def test_what_needs_the_number_of_steps() -> None:
    cases: list[tuple[dict[str, object], list[bool]]] = [
        ({}, [True, True]),
        ({"warmup_steps": 1}, [False, True]),
        ({"warmup_steps": 1, "min_lr_ratio": 1.0}, [False, False]),
        ({"schedule": "constant"}, [False, False]),
        ({"schedule": "constant", "warmup_ratio": 0.1}, [True, True]),
        ({"schedule": "warmup_stable_decay", "decay_steps": 1, "warmup_steps": 1}, [False, True]),
    ]
    for settings, wanted in cases:
        assert [needs_total(step, LearningSettings.of(settings)) for step in (0, 1)] == wanted, settings


def test_a_longer_run_says_that_its_rate_jumps() -> None:
    before, after = LearningSettings(lr=1e-3), LearningSettings(lr=1e-3)
    note = rate_change(1000, before, after, steps_before=1000, steps_after=2000)
    assert note is not None
    assert note.startswith("the learning rate jumps: step 999 had 1.00e-04, and step 1000 has 5.50e-04")
    assert note.endswith("since the run has 2000 steps and not 1000")
    assert rate_change(500, before, after, steps_before=1000, steps_after=1000) is None
    assert rate_change(0, before, LearningSettings(lr=1), steps_before=1, steps_after=1) is None
    other = rate_change(5, before, LearningSettings(lr=2e-3), steps_before=10, steps_after=10)
    assert other is not None and "not 10" not in other


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup_steps": 1, "warmup_ratio": 0.1}, "warmup_steps and warmup_ratio both say"),
        ({"schedule": "warmup_stable_decay", "decay_steps": 1, "decay_ratio": 0.1}, "decay_steps and decay_ratio both"),
        ({"decay_steps": 1}, "decay_steps is of schedule: warmup_stable_decay, and schedule is cosine"),
        ({"decay_ratio": 0.1, "schedule": "linear"}, "decay_ratio is of schedule: warmup_stable_decay"),
        ({"schedule": "constant", "min_lr_ratio": 0.2}, "min_lr_ratio has no effect on schedule: constant"),
        ({"stages": [{"train": ["language"]}, {"train": ["vision"]}]}, "each but the last one needs steps"),
        ({"stages": [{"train": ["language"], "steps": 3}]}, "the last one lasts to the end of the run"),
        ({"stages": STAGES, "warmup_steps": 3}, "each has a warm-up of its own"),
        ({"stages": STAGES, "parts": {"projector": {"frozen": True}}}, "one trains projector, and parts.projector"),
        ({"stages": STAGES, "parts": {"vision": {"lr": 1}}}, "none trains vision, so parts.vision has no effect"),
        ({"freeze_vision": True, "stages": STAGES}, "freeze_vision: true freezes projector, and a stage trains it"),
        ({"freeze_vision": True, "parts": {"vision": {"lr": 1}}}, "freezes vision, and parts.vision says otherwise"),
        ({"parts": {"vision": {}}}, "parts.vision: says nothing"),
        ({"parts": {"vision": {"frozen": True, "lr": 1}}}, "what is frozen has no lr"),
        ({"parts": {"tower": {"frozen": True}}}, "expected 'language', 'vision', 'projector' or 'embeddings'"),
        ({"lr": float("inf")}, "lr: expected a finite number, found inf"),
        ({"betas": [0.9, 1.0]}, r"betas\[1\]: expected less than 1, found 1"),
        (
            {"stages": [{"train": ["vision"], "steps": 3, "warmup_steps": 3}, {"train": ["language"]}]},
            "fewer than the 3",
        ),
        ({"stages": [{"train": ["vision", "vision"]}]}, "names a part twice"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LearningSettings.of(settings)
