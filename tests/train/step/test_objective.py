"""Weights by dataset, z-loss, smoothed labels: equal to their formulas, and the same for any split of a step."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForImageTextToText

from tests.helpers.paths import ROOT
from tests.helpers.processes import run_world
from tests.helpers.training import Workplace
from wdstream.batches.collate import collate, encode_pack
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import ConfigError
from wdstream.families.registry import load_family
from wdstream.plan.step_columns import PackPlans
from wdstream.records import PackPlan, StepPlan
from wdstream.storage.json_lines import read_lines
from wdstream.testing import make_samples
from wdstream.train.step.loss import LossHead
from wdstream.train.step.objective import DatasetWeights, Objective, objective_of

WORKER = str(ROOT / "tests/workers/gradient.py")
SETTINGS: dict[str, Any] = {"z_loss": 0.01, "label_smoothing": 0.1, "weights": [1.0, 0.25]}


def by_formula(tiny_model: Path) -> tuple[Tensor, float, float]:
    """Gradient, sum of the losses and of the z-losses of the worker's step, every document by itself."""
    family = load_family(tiny_model)
    model = AutoModelForImageTextToText.from_pretrained(tiny_model, dtype=torch.float32)
    samples = make_samples(family)
    every = [0, 1, 2, 3, 4, 1, 0, 2, 3, 4, 1]
    weights = [1.0 if number < 3 else 0.25 for number in every]
    total = sum(w * int((samples[n].labels != -100).sum()) for n, w in zip(every, weights, strict=True))
    loss_sum = z_sum = 0.0
    for number, weight in zip(every, weights, strict=True):
        batch = collate([encode_pack([samples[number]], family)], family)
        logits = model(**family.model_inputs(batch, device="cpu", dtype=torch.float32)).logits[0, :-1]
        targets = batch.labels[0, 1:]
        is_supervised = targets != -100
        losses = functional.cross_entropy(logits, targets, reduction="none", label_smoothing=0.1)
        squares = 0.01 * logits.logsumexp(-1).square()
        loss, z_loss = (weight * each[is_supervised].sum() for each in (losses, squares))
        ((loss + z_loss) / total).backward()
        loss_sum, z_sum = loss_sum + loss.item(), z_sum + z_loss.item()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]), loss_sum, z_sum


@pytest.fixture(scope="module")
def wanted(tiny_model: Path) -> tuple[Tensor, float, float]:
    return by_formula(tiny_model)


def check(
    tiny_model: Path, out: Path, wanted: tuple[Tensor, float, float], size: int, micro_batches: int, rows: int
) -> None:
    arguments = [str(tiny_model), str(out), str(micro_batches), str(rows), json.dumps(SETTINGS)]
    run_world(WORKER, arguments, size=size)
    found = torch.load(out, weights_only=True)
    gradient, loss_sum, z_sum = wanted
    assert (found["gradient"] - gradient).norm() / gradient.norm() < 2e-6
    if size == 1:
        assert found["loss_sum"] == pytest.approx(loss_sum, rel=1e-6)
        assert found["z_sum"] == pytest.approx(z_sum, rel=1e-6)


def test_the_objective_is_its_formula(tiny_model: Path, tmp_path: Path, wanted: tuple[Tensor, float, float]) -> None:
    check(tiny_model, tmp_path / "out.pt", wanted, size=1, micro_batches=1, rows=4)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "micro_batches", "rows"), [(1, 4, 1), (2, 2, 1), (4, 1, 1), (2, 1, 2)])
def test_any_split_of_a_step_has_the_same_gradient(
    tiny_model: Path, tmp_path: Path, wanted: tuple[Tensor, float, float], size: int, micro_batches: int, rows: int
) -> None:
    check(tiny_model, tmp_path / "out.pt", wanted, size, micro_batches, rows)


@pytest.mark.parametrize("objective", [Objective(z_loss=0.5), Objective(label_smoothing=0.2)])
def test_nothing_supervised_is_zero_with_a_whole_graph(tiny_model: Path, objective: Objective) -> None:
    family = load_family(tiny_model)
    model = AutoModelForImageTextToText.from_pretrained(tiny_model, dtype=torch.float32)
    batch = collate([encode_pack(make_samples(family)[:1], family)], family)
    batch["labels"] = torch.full_like(batch.labels, -100)
    targets = objective.targets(batch)
    inputs = dict(family.model_inputs(batch, device="cpu", dtype=torch.float32))
    inputs.pop("labels", None)
    loss = LossHead(model).loss_sum(model, inputs, targets)
    loss.backward()
    assert (loss.item(), targets.sum_of_weights) == (0.0, 0.0)
    assert model.lm_head.weight.grad is not None
    assert not model.lm_head.weight.grad.any()


def test_weights_of_a_planned_step_follow_its_datasets(workplace: Workplace, tmp_path: Path) -> None:
    both = "data.train=[{path: SHARDS, name: a, loss_weight: 0.5}, {datasets: [{path: EVAL, name: b}]}]"
    places = {"SHARDS": workplace.root / "shards", "EVAL": workplace.root / "shards-eval"}
    for name, place in places.items():
        both = both.replace(name, str(place))
    config = workplace.config(tmp_path, both, "data.eval=[]")
    plan = plan_from_config(config)
    objective = objective_of(config, plan.mixture.offsets)
    assert objective.weights is not None
    step = plan.step(1)
    assert isinstance(step.packs, PackPlans)
    first = int(plan.mixture.offsets[1])
    wanted = sum(
        count * (0.5 if sample < first else 1.0)
        for pack in step.packs
        for sample, count in zip(pack.samples, pack.supervised, strict=True)
    )
    plain = StepPlan(step=1, packs=list(step.packs), assignment=step.assignment)
    assert objective.weights.total(step) == pytest.approx(wanted, rel=1e-12)
    assert objective.weights.total(plain) == objective.weights.total(step)
    assert objective_of(workplace.config(tmp_path), plan.mixture.offsets).weights is None


def test_a_run_with_weights_logs_the_z_loss_apart(workplace: Workplace, tmp_path: Path) -> None:
    first, second = f"path: {workplace.root}/shards", f"path: {workplace.root}/shards-eval"
    scales = f"data.train=[{{{first}, loss_weight: 4}}, {{{second}, loss_weight: 4.0000001}}]"
    few = ("data.eval=[]", "train.max_steps=2", "train.lr=0.001")
    assert workplace.train(tmp_path / "plain", *few, f"data.train=[{{{first}}}, {{{second}}}]") == 0
    # A weight that all tokens have, as good as, changes nothing but the rounding; it is the mean that is weighted.
    assert workplace.train(tmp_path / "scaled", *few, scales, "train.z_loss=0.0001") == 0
    plain, scaled = (list(read_lines(tmp_path / name / "metrics.jsonl")) for name in ("plain", "scaled"))
    assert scaled[0]["loss"] == pytest.approx(plain[0]["loss"], rel=1e-6)
    assert scaled[0]["z_loss"] == pytest.approx(1e-4 * np.log(1024) ** 2, rel=0.05)
    assert "z_loss" not in plain[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"train": [{"path": "a"}], "eval": [{"path": "b", "loss_weight": 2}]}, "eval: b: loss_weight is of datasets"),
        ({"train": [{"datasets": [{"path": "a"}], "loss_weight": 2}]}, "give it to the datasets inside of the mix"),
        ({"train": [{"path": "a", "loss_weight": 2}], "streaming": {}}, "so it has no loss_weight"),
        ({"train": [{"path": "a", "loss_weight": 0}]}, "loss_weight: expected greater than 0"),
        (
            {"train": [{"path": "a"}], "eval": [{"datasets": [{"path": "b", "loss_weight": 2}]}]},
            "eval: b: loss_weight is of datasets that are trained on",
        ),
    ],
)
def test_weights_that_would_be_ignored_are_refused(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.of({"model": {"path": "m"}, "data": data})


def test_weights_reach_the_next_token_of_their_document(tiny_model: Path) -> None:
    """Position t predicts token t + 1, so it has the weight of the document of t + 1."""
    family = load_family(tiny_model)
    samples = make_samples(family)
    lengths = [len(samples[0].input_ids), len(samples[3].input_ids)]
    batch = collate([encode_pack([samples[0], samples[3]], family)], family)
    weights = DatasetWeights(np.array([0, 3, 5]), [1.0, 0.25])
    counts = {name: (0, 0) for name in ("tokens", "patches", "supervised", "scales")}
    pack = PackPlan(number=0, samples=(0, 3), language_cost=1, vision_cost=1, **counts)
    batch["step_plan"] = StepPlan(step=0, packs=[pack], assignment=())
    found = Objective(weights=weights).targets(batch)
    assert found.weights is not None
    assert weights.of_tokens(batch)[0].tolist() == [1.0] * lengths[0] + [0.25] * lengths[1]
    inside = [int((each.labels != -100).sum()) for each in (samples[0], samples[3])]
    assert found.sum_of_weights == inside[0] + 0.25 * inside[1]
