"""Figures of a step over the ranks, and the digest of the pages that were trained."""

from typing import Any

import pytest
import torch
from accelerate import Accelerator

from wdstream.batches.batch import Batch
from wdstream.errors import TrainError
from wdstream.plan.deal import pack_digest, pages_digest
from wdstream.records import Failure
from wdstream.train.contents import StepContents
from wdstream.train.step.exchange import check_same_plan, exchange
from wdstream.train.step.step import StepOutcome

PACKS = [(6, ["a", "b"]), (7, ["c"])]


def make_batch(number: int, keys: list[str], *failures: Failure) -> Batch:
    """A pack of one token of each page."""
    ids = torch.ones(1, len(keys), dtype=torch.int64)
    limits = torch.arange(len(keys) + 1, dtype=torch.int32)
    return Batch(
        input_ids=ids,
        labels=ids,
        position_ids=torch.zeros_like(ids),
        cu_seq_lens_q=limits,
        cu_seq_lens_k=limits,
        max_length_q=1,
        max_length_k=1,
        keys=[keys],
        packs=[number],
        lengths=[[1] * len(keys)],
        failures=list(failures),
        unfit=[],
    )


BATCHES = [make_batch(number, keys) for number, keys in PACKS]


def make_contents(supervised: int) -> StepContents:
    counts: dict[str, Any] = {"num_packs": 2, "num_pages": 3, "num_tokens": 18, "num_patches": 0}
    return StepContents(step=3, num_supervised=2 * supervised, digest=1 << 63, imbalance=1.0, **counts)


def test_digest_is_of_pages_and_packs_not_of_the_deal() -> None:
    assert pack_digest(6, ["a", "b"]) == 0xA873D6DA7D40CFA6
    assert pages_digest(PACKS) == pages_digest(reversed(PACKS))
    changed = [
        [(6, ["a", "b"])],
        [(6, ["a", "b"]), (7, ["c"]), (7, ["c"])],
        [(6, ["b", "a"]), (7, ["c"])],
        [(6, ["a", "c"]), (7, ["b"])],
        [(7, ["a", "b"]), (6, ["c"])],
    ]
    assert pages_digest(PACKS) not in {pages_digest(packs) for packs in changed}


def test_figures() -> None:
    figures = exchange(
        Accelerator(cpu=True),
        make_contents(5),
        BATCHES,
        StepOutcome(loss_sum=20.0, num_supervised=10, grad_norm=1.5),
        wait_seconds=0.25,
        is_stopping=True,
    )
    assert (figures.loss, figures.grad_norm, figures.wait_seconds, figures.is_stopping) == (2.0, 1.5, 0.25, True)
    assert figures.digest == pages_digest(PACKS)
    assert figures.failures == ()


def test_count_other_than_planned_is_an_error_unless_a_page_failed() -> None:
    outcome = StepOutcome(loss_sum=20.0, num_supervised=10, grad_norm=1.5)
    with pytest.raises(TrainError, match="step 3: 12 supervised tokens planned, 10 found"):
        exchange(Accelerator(cpu=True), make_contents(6), BATCHES, outcome, wait_seconds=0.0, is_stopping=False)
    failure = Failure(key="c", sample=0, reason="bad")
    batches = [BATCHES[0], make_batch(7, ["c"], failure)]
    figures = exchange(Accelerator(cpu=True), make_contents(6), batches, outcome, wait_seconds=0.0, is_stopping=False)
    assert figures.loss == 2.0
    assert figures.failures == (failure,)


def test_ranks_with_different_plans_are_stopped() -> None:
    check_same_plan(3, [[1.0, 2.0], [1.0, 2.0]])
    with pytest.raises(TrainError, match="step 3: rank 0 plans 0000000100000002 and rank 2 plans 000000010000000a"):
        check_same_plan(3, [[1.0, 2.0], [1.0, 2.0], [1.0, 10.0]])
