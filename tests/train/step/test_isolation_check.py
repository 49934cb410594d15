"""The leak check at the first step: passes on a right batch, stops on a seeded fault."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForImageTextToText

from wdstream.batches.batch import Batch
from wdstream.batches.collate import collate, encode_pack
from wdstream.errors import TrainError
from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.testing import make_samples
from wdstream.train.model.checkpointing import layers_of
from wdstream.train.step.isolation_check import check_no_leak, disturb
from wdstream.train.step.loss import LossHead
from wdstream.train.step.step import Engine

Inputs = dict[str, Any]


class Faulty:
    """A family with a fault in its model inputs: documents then see each other without an error."""

    def __init__(self, family: Family, fault: Callable[[Inputs], Inputs]) -> None:
        self._family, self._fault = family, fault
        self.layout = family.layout

    def model_inputs(self, batch: Any, **place: Any) -> Inputs:
        return self._fault(self._family.model_inputs(batch, **place))


def without_restart(inputs: Inputs) -> Inputs:
    positions = inputs["position_ids"].clone()
    positions[0] = torch.arange(positions.shape[-1])
    return {**inputs, "position_ids": positions}


FAULTS: dict[str, Callable[[Inputs], Inputs]] = {
    "mask of ones": lambda inputs: {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])},
    "no text row of M-RoPE": lambda inputs: {**inputs, "position_ids": inputs["position_ids"][1:]},
    "no restart": without_restart,
}
"""A cache, the other known one, cannot come here: the loss switches it off whatever the inputs say."""


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Engine:
    model = AutoModelForImageTextToText.from_pretrained(tiny_model, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():  # attention of freshly made weights is nearly uniform: make it matter
            parameter.mul_(3.0 if parameter.ndim > 1 else 1.0)
    return Engine(
        accelerator=Accelerator(cpu=True),
        model=model,
        head=LossHead(model),
        family=load_family(tiny_model),
        dtype=torch.float32,
        seed=0,
        needs_images=True,
    )


def make_batch(engine: Engine, *places: int) -> Batch:
    samples = make_samples(engine.family)
    return collate([encode_pack([samples[place] for place in places], engine.family)], engine.family)


def test_isolated_documents_pass(engine: Engine) -> None:
    assert check_no_leak(engine, make_batch(engine, 0, 1, 2)) is True
    assert engine.model.training is False  # as it was


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught(fault: str, engine: Engine) -> None:
    faulty = replace(engine, family=Faulty(engine.family, FAULTS[fault]))  # type: ignore[arg-type]
    with pytest.raises(TrainError, match="packed documents see each other"):
        check_no_leak(faulty, make_batch(engine, 0, 1, 2))


@pytest.mark.slow
def test_compiled_layers_are_checked_too(engine: Engine) -> None:
    model = copy.deepcopy(engine.model)
    for layer in layers_of(model)[0]:
        layer.compile(backend="aot_eager", dynamic=False)
    compiled = replace(engine, model=model, head=LossHead(model))
    assert check_no_leak(compiled, make_batch(engine, 0, 1, 2)) is True
    faulty = replace(compiled, family=Faulty(engine.family, without_restart))  # type: ignore[arg-type]
    with pytest.raises(TrainError, match="packed documents see each other"):
        check_no_leak(faulty, make_batch(engine, 0, 1, 2))


def test_nothing_to_compare(engine: Engine) -> None:
    assert check_no_leak(engine, make_batch(engine, 0)) is False


def test_a_row_without_tokens_is_passed_over(engine: Engine) -> None:
    """The last step may be filled up with packs of no pages, and a run may begin with it."""
    assert check_no_leak(engine, make_batch(engine)) is False


def test_only_words_of_other_documents_move() -> None:
    ids = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8, 0]])
    labels = torch.tensor([[-100, 2, 3, -100, 5, -100, 7, 8, -100]])
    last, disturbed, is_checked = disturb(ids, labels, [[3, 2, 3]])
    assert is_checked
    assert disturbed.tolist() == [[1, 5, 2, 4, 3, 6, 7, 8, 0]]
    assert last.tolist() == [[-100] * 6 + [7, 8, -100]]
