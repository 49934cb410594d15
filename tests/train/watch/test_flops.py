"""Work of the model in a step: which share of the plan's cost is computed, by what is trained; peaks of devices."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.helpers.training import Workplace
from wdstream.config.build import plan_from_config
from wdstream.storage.json_lines import read_lines
from wdstream.train.watch.flops import PEAK_TFLOPS, CostShares, StepCost, cost_shares, device_peak

COST = StepCost(weights=600.0, attention=60.0, vision=90.0)


def parameters(language: bool, vision: bool, adapter: int = 0) -> list[tuple[str, nn.Parameter]]:
    found = [
        ("model.language_model.layers.0.mlp.up_proj.weight", nn.Parameter(torch.zeros(90), requires_grad=language)),
        ("model.visual.blocks.0.mlp.up_proj.weight", nn.Parameter(torch.zeros(50), requires_grad=vision)),
        ("lm_head.weight", nn.Parameter(torch.zeros(10), requires_grad=language)),
    ]
    lora = [("model.language_model.layers.0.mlp.up_proj.lora_A.default.weight", nn.Parameter(torch.zeros(adapter)))]
    return found + (lora if adapter else [])


def test_all_is_trained() -> None:
    shares = cost_shares(parameters(language=True, vision=True))
    assert shares == CostShares(weights=1.0, attention=1.0, vision=1.0)
    assert shares.flops(COST) == 750.0


def test_a_frozen_tower_is_a_forward_pass() -> None:
    assert cost_shares(parameters(language=True, vision=False)).flops(COST) == pytest.approx(600 + 60 + 30)


def test_an_adapter_leaves_out_the_gradient_of_the_weights() -> None:
    shares = cost_shares(parameters(language=False, vision=False, adapter=10))
    assert shares.weights == pytest.approx((2 + 10 / 100) / 3)
    assert shares.attention == 1.0
    assert shares.vision == pytest.approx(1 / 3)


def test_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_peak(torch.bfloat16) is None or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, wanted in (
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA A10G", 70e12),
        ("NVIDIA GH200 480GB", 989e12),
        ("NVIDIA H200 NVL", 835e12),
        ("NVIDIA RTX A4000", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA H200 MIG 1g.18gb", None),
        ("Some other", None),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda name=name: name)
        assert device_peak(torch.bfloat16) == wanted
    assert device_peak(torch.float32) is None
    names = [name for name, _ in PEAK_TFLOPS]
    assert not [(one, two) for at, one in enumerate(names) for two in names[at + 1 :] if one in two]


def test_a_run_says_what_it_costs_and_where_it_is(workplace: Workplace, tmp_path: Path) -> None:
    settings = ("train.max_steps=2", "train.peak_tflops=0.5", "data.eval=[]", "train.freeze_vision=true")
    assert workplace.train(tmp_path / "run", *settings) == 0
    plan = plan_from_config(workplace.config(tmp_path / "run"))
    for line in read_lines(tmp_path / "run" / "metrics.jsonl"):
        packs = plan.step(int(line["step"])).packs
        flops = sum(pack.language_cost + pack.vision_cost / 3 for pack in packs)
        assert line["tflops"] * line["step_s"] * 1e12 == pytest.approx(flops, rel=1e-6)
        assert line["mfu_pct"] == pytest.approx(100 * line["tflops"] / 0.5)
        assert line["epoch"] == plan.epochs_at(plan.state_after(int(line["step"])))["shards"]
        assert 0 < line["epoch"] < 3
        assert line["cpu_peak_gb"] > 0.1
        assert "gpu_peak_gb" not in line or torch.cuda.is_available()
