"""`train.gradient_checkpointing: auto`: the cheapest choice that fits; no bit of a run changes."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from tests.helpers.processes import run_world
from tests.helpers.training import TRAIN, Workplace, arguments
from wdstream.config.schema import Config
from wdstream.families.registry import load_family
from wdstream.storage.json_lines import read_lines
from wdstream.train.memory.automatic import (
    MARGIN,
    Device,
    choose_checkpointing,
    device_of,
    free_gib,
    settle_memory,
    usable_gib,
)
from wdstream.train.memory.estimate import GIB, SET_ASIDE, estimate_memory

SHORT = ("train.max_steps=2", "data.eval=[]")


def make_config(path: Path, **train: object) -> Config:
    data = {"train": [{"path": "none"}], "sequence_length": 1024, "max_patches": 1024}
    return Config.model_validate({"model": {"path": str(path), "dtype": "float32"}, "data": data, "train": train})


def test_the_cheapest_that_fits_is_chosen(tiny_model: Path) -> None:
    config, family = make_config(tiny_model, micro_batch_size=4), load_family(tiny_model)
    ways = estimate_memory(config, family, world=2, gpu_gib=100).ways["fsdp2"]
    needed = [(ways[name].needed(4) + SET_ASIDE) / GIB for name in ("false", "selective", "true")]
    assert needed[0] > needed[1] > needed[2]
    for gib, wanted in zip(needed, (False, "selective", True), strict=True):
        device = Device(way="fsdp2", world=2, gib=(gib + 1e-6) / (1 - MARGIN))
        chosen, note = choose_checkpointing(config, family, device)
        assert chosen == wanted
        assert f"auto: {str(wanted).lower()}, with which a step takes {gib:.1f} of" in note
    chosen, note = choose_checkpointing(config, family, Device(way="fsdp2", world=2, gib=0.5))
    assert chosen is True
    assert f"{needed[2] - 0.45:.1f} more than fit" in note


def test_what_cannot_be_estimated_is_on_the_safe_side(tiny_model: Path) -> None:
    family = load_family(tiny_model)
    chosen, note = choose_checkpointing(make_config(Path("nowhere")), family, Device(way="ddp", world=1, gib=80))
    assert chosen is True
    assert "could not be estimated" in note


def test_without_a_known_limit_it_is_off(tiny_model: Path) -> None:
    accelerator, family, messages = Accelerator(cpu=True), load_family(tiny_model), list[str]()
    settled = settle_memory(make_config(tiny_model), family, accelerator, messages)
    assert settled.train.gradient_checkpointing is False
    asked = make_config(tiny_model, gradient_checkpointing="selective", gpu_gib=0.1)
    assert settle_memory(asked, family, accelerator, messages) == asked
    assert messages == []
    assert device_of(accelerator, 3.0) == Device(way="ddp", world=1, gib=3.0)


def test_a_run_may_use_no_more_than_there_is() -> None:
    assert usable_gib(24.0, None) == usable_gib(24.0, 80.0) == 24.0
    assert usable_gib(80.0, 24.0) == usable_gib(None, 24.0) == 24.0
    assert usable_gib(None, None) is None


def test_what_other_programs_hold_of_a_gpu_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a GPU: 80 GiB, of which others hold 50 and this process 2, 1 of them for its tensors."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (28 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: GIB)
    assert free_gib(torch.device("cuda", 0)) == 29


def losses(output: Path) -> list[float]:
    return [line["loss"] for line in read_lines(output / "metrics.jsonl")]


def test_a_run_says_what_was_chosen_and_computes_the_same(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert workplace.train(tmp_path / "plain", *SHORT) == 0
    assert "gradient_checkpointing" not in "".join(capfd.readouterr())
    assert workplace.train(tmp_path / "auto", *SHORT, "train.gpu_gib=1") == 0
    assert "gradient_checkpointing: auto: true, and even so" in " ".join("".join(capfd.readouterr()).split())
    assert losses(tmp_path / "auto") == losses(tmp_path / "plain")
    assert torch.equal(*(weights(tmp_path / name) for name in ("auto", "plain")))


def weights(output: Path) -> torch.Tensor:
    from safetensors.torch import load_file

    found = load_file(next((output / "final").glob("*.safetensors")))
    return torch.cat([found[name].flatten().float() for name in sorted(found)])


@pytest.mark.slow
def test_two_processes_choose_the_same(workplace: Workplace, tmp_path: Path) -> None:
    run_world(TRAIN, arguments(workplace, tmp_path / "two", *SHORT, "train.gpu_gib=1"), size=2)
    assert len(losses(tmp_path / "two")) == 2
