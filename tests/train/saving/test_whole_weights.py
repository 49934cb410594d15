"""Weights and optimizer, copied first or not, give the files that Accelerate's own `save_state` gives."""

import copy
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from wdstream.train.saving.whole_weights import HostCopies, WholeWeights, load_whole_weights


class Tied(nn.Module):
    """Two names for one tensor, and one that is not contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.turned = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)


class Average:
    """Something else with a state, as Accelerate registers it."""

    def __init__(self) -> None:
        self.value = torch.zeros(2)

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "count": 3}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]


@pytest.fixture
def trained() -> tuple[Accelerator, Any, Any, Average]:
    accelerator, average = Accelerator(cpu=True), Average()
    bare = Tied()
    model, optimizer = accelerator.prepare(bare, torch.optim.AdamW(bare.parameters(), lr=0.1))
    accelerator.register_for_checkpointing(average)
    step(model, optimizer)
    return accelerator, model, optimizer, average


def step(model: Any, optimizer: Any) -> None:
    (model.second(model.first(torch.ones(1, 3))).sum() + (model.turned**2).sum()).backward()
    optimizer.step()
    optimizer.zero_grad()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_files_are_accelerates(trained: tuple[Accelerator, Any, Any, Average], tmp_path: Path) -> None:
    accelerator, model, optimizer, average = trained
    for name in ("theirs", "ours", "copied"):
        (tmp_path / name).mkdir()
    accelerator.save_state(str(tmp_path / "theirs"))
    whole = WholeWeights(accelerator, is_adapter_only=False)
    whole.reserve()()
    whole.take(tmp_path / "ours", is_copied=False)()
    for _ in range(2):  # the second time into the copies of the first
        write = whole.take(tmp_path / "copied", is_copied=True)
    step(model, optimizer)
    average.value += 1
    write()
    wanted = contents(tmp_path / "theirs")
    assert set(wanted) == {"model.safetensors", "optimizer.bin", "random_states_0.pkl", "custom_checkpoint_0.pkl"}
    assert contents(tmp_path / "ours") == contents(tmp_path / "copied") == wanted
    weights = model.first.weight.detach().clone()
    accelerator.load_state(str(tmp_path / "copied"))
    assert not torch.equal(model.first.weight, weights)
    assert torch.equal(average.value, torch.zeros(2))


def test_weights_that_ddp_wrote_before_are_loaded(tmp_path: Path) -> None:
    """Their names had a prefix, so that no single process could read them."""
    layer = nn.Linear(2, 2)
    wanted = {name: tensor.clone() + 1 for name, tensor in layer.state_dict().items()}
    save_file({f"module.{name}": tensor for name, tensor in wanted.items()}, tmp_path / "old.safetensors")
    load_whole_weights(layer, tmp_path / "old.safetensors")
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in layer.state_dict().items())
    save_file(wanted, tmp_path / "new.safetensors")
    load_whole_weights(layer, tmp_path / "new.safetensors")
    save_file({"weight": wanted["weight"]}, tmp_path / "short.safetensors")
    with pytest.raises(RuntimeError, match="bias"):
        load_whole_weights(layer, tmp_path / "short.safetensors")
    assert set(load_file(tmp_path / "new.safetensors")) == {"weight", "bias"}


def test_a_copy_keeps_types_and_shares_nothing() -> None:
    tensor = torch.arange(4.0)
    tree: Any = OrderedDict(state={0: (tensor, [tensor[1:]])}, betas=(0.9, 0.95), name="adam")
    copies = HostCopies()
    copies.reserve(tree)
    kept = {number: room.data_ptr() for number, room in copies._kept.items()}
    copied: Any = copies.copy(tree)
    wanted = copy.deepcopy(tree)
    tensor += 1
    assert type(copied) is OrderedDict and list(copied) == list(tree)
    assert copied["betas"] == (0.9, 0.95)
    assert torch.equal(copied["state"][0][0], wanted["state"][0][0])
    assert torch.equal(copied["state"][0][1][0], wanted["state"][0][1][0])
    copies.copy(tree)
    assert {number: room.data_ptr() for number, room in copies._kept.items()} == kept  # asked for once
    shared: Any = copies.copy([tensor, {"table": tensor}, tensor.clone()])
    assert shared[0] is shared[1]["table"] and shared[2] is not shared[0]  # a file has it once, as without the copy
    grown: Any = copies.copy({"weights": torch.zeros(9, dtype=torch.int8)})
    assert grown["weights"].dtype == torch.int8
