"""Steps that cannot be done say which they were, in a real run."""

import contextlib
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.helpers.training import Workplace
from wdstream.batches.batch import Batch
from wdstream.errors import TrainError
from wdstream.train.step.failing_step import named_loading, named_step


def test_a_step_whose_gradient_is_not_finite_is_named(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    assert workplace.train(output, "train.lr=1e30", "train.warmup_steps=0", "train.max_steps=4") == 1
    said = capfd.readouterr().err
    found = re.search(
        r"step (\d): the gradient norm is (nan|inf) .*; this rank had its packs ([\d, ]+) with (\d+) pages: ", said
    )
    assert found, said
    assert 1 <= int(found[1]) <= 3
    assert f"wdstream trace {output} --step {found[1]}" in said


def test_too_little_memory_says_what_to_lower(tmp_path: Path) -> None:
    batch = Batch(input_ids=torch.zeros(1, 7), packs=[3], keys=[["a/b", ""]])
    with (
        pytest.raises(
            TrainError, match=r"^step 5: out of memory \(.*can't allocate memory.*\); .* has 7 tokens"
        ) as info,
        named_step(5, [batch], tmp_path),
    ):
        torch.empty(1 << 60)
    assert "its packs 3 with 1 pages: a/b (wdstream trace" in str(info.value)


@contextlib.contextmanager
def memory_left(num_bytes: int) -> Iterator[None]:
    """Let this process take no more than this much memory in the block, counted as addresses."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_model_that_does_not_fit_is_one_line(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with memory_left(128 << 20):
        assert workplace.train(tmp_path / "run", "train.adapter={kind: lora, r: 65536}") == 1
    said = capfd.readouterr().err
    assert "wdstream.train: out of memory while the model was loaded (" in said and "Traceback" not in said


def test_python_that_gets_no_memory_says_nothing_itself() -> None:
    with (
        pytest.raises(TrainError, match=r"^out of memory while a list was made \(MemoryError\); `wdstream plan"),
        named_loading("a list was made"),
    ):
        [0] * (1 << 60)
