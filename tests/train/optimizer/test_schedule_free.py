"""Schedule-free AdamW: evaluated and exported are the averaged weights, and training notices nothing of it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.helpers.training import Workplace
from wdstream.config.training import TrainConfig
from wdstream.storage.json_lines import read_lines
from wdstream.train.optimizer.optimizer import make_optimizer
from wdstream.train.optimizer.schedule_free import averaged_weights


def test_other_optimizers_have_no_other_weights() -> None:
    layer = nn.Linear(2, 2)
    before = layer.weight.detach().clone()
    with averaged_weights(make_optimizer(layer, TrainConfig())):
        assert torch.equal(layer.weight, before)


def test_the_average_is_there_inside_alone() -> None:
    pytest.importorskip("schedulefree")
    layer = nn.Linear(4, 4)
    optimizer = make_optimizer(layer, TrainConfig(optimizer="schedule_free", schedule="constant", lr=0.1))
    for _ in range(3):
        layer(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    before = layer.weight.detach().clone()
    with averaged_weights(optimizer):
        assert not torch.equal(layer.weight, before)
    assert torch.equal(layer.weight, before)
    layer(torch.ones(2, 4)).sum().backward()
    optimizer.step()  # in training mode, or it would refuse


@pytest.mark.slow
def test_a_run_continues_bit_for_bit_however_often_it_is_evaluated(workplace: Workplace, tmp_path: Path) -> None:
    pytest.importorskip("schedulefree")
    run = ("train.optimizer=schedule_free", "train.schedule=constant", "train.max_steps=4", "train.lr=0.003")
    assert workplace.train(tmp_path / "straight", *run) == 0
    for stop in (1, 2, 9):
        assert workplace.train(tmp_path / "halting", *run, "train.eval_every=1", f"train.stop_after={stop}") == 0
    names = ("straight", "halting")
    losses = [[line["loss"] for line in read_lines(tmp_path / name / "metrics.jsonl")] for name in names]
    assert losses[0] == losses[1]
    finals = [(tmp_path / name / "final" / "model.safetensors").read_bytes() for name in names]
    assert finals[0] == finals[1]
    newest = tmp_path / "straight" / "checkpoints" / "step-00000004" / "model.safetensors"
    assert newest.read_bytes() != finals[0], "a checkpoint holds the weights that are trained, final/ their average"
