"""The step is exact: any split over ranks, micro-batches and rows has the gradient of one big batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from tests.helpers.paths import ROOT
from tests.helpers.processes import run_world
from tests.helpers.training import documents_alone
from wdstream.batches.collate import collate, encode_pack
from wdstream.config.schema import Config
from wdstream.errors import TrainError
from wdstream.families.registry import load_family
from wdstream.testing import make_samples
from wdstream.train.model.load import load_model
from wdstream.train.optimizer.optimizer import make_optimizer
from wdstream.train.step.loss import LossHead
from wdstream.train.step.step import TrainEngine, pack_seed, train_step

WORKER = str(ROOT / "tests/workers/gradient.py")


def gradient_of(tiny_model: Path, out: Path, *, size: int, micro_batches: int, rows: int) -> dict[str, Any]:
    run_world(WORKER, [str(tiny_model), str(out), str(micro_batches), str(rows), "{}"], size=size)
    found: dict[str, Any] = torch.load(out, weights_only=True)
    return found


@pytest.fixture(scope="module")
def wanted(tiny_model: Path) -> torch.Tensor:
    return documents_alone(tiny_model)


@pytest.mark.parametrize(("size", "micro_batches", "rows"), [(1, 1, 4), (2, 2, 1)])
def test_gradient_equals_the_documents_alone(
    tiny_model: Path, tmp_path: Path, wanted: torch.Tensor, size: int, micro_batches: int, rows: int
) -> None:
    found = gradient_of(tiny_model, tmp_path / "out.pt", size=size, micro_batches=micro_batches, rows=rows)
    assert found["gradient"].shape == wanted.shape
    assert (found["gradient"] - wanted).norm() / wanted.norm() < 2e-6
    assert found["norm"] == pytest.approx(wanted.norm().item(), rel=1e-5)


@pytest.fixture
def engine(tiny_model: Path) -> TrainEngine:
    config = Config.model_validate({"model": {"path": str(tiny_model)}, "data": {"train": [{"path": "none"}]}})
    model = load_model(config, torch.device("cpu"))
    return TrainEngine(
        accelerator=Accelerator(cpu=True),
        model=model,
        optimizer=make_optimizer(model, config.train),
        head=LossHead(model),
        family=load_family(tiny_model),
        dtype=torch.float32,
        max_grad_norm=1.0,
        seed=0,
        needs_images=True,
    )


def weights(engine: TrainEngine) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in engine.model.parameters()])


def test_a_step_without_supervised_tokens_changes_nothing(engine: TrainEngine) -> None:
    before = weights(engine)
    empty = collate([encode_pack([], engine.family)], engine.family)
    outcome = train_step(engine, [empty], num_supervised=0, rate=1.0)
    assert (outcome.loss_sum, outcome.num_supervised, outcome.grad_norm) == (0.0, 0, 0.0)
    assert torch.equal(weights(engine), before)


def test_a_gradient_that_is_not_finite_stops_before_the_weights(engine: TrainEngine) -> None:
    batch = collate([encode_pack(make_samples(engine.family)[:1], engine.family)], engine.family)
    broken = next(engine.model.parameters())
    with torch.no_grad():
        broken[0, 0] = torch.inf
    before = weights(engine)
    with pytest.raises(TrainError, match="the gradient norm is nan"):
        train_step(engine, [batch], num_supervised=9, rate=1.0)
    assert torch.equal(weights(engine), before)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "micro_batches", "rows"), [(1, 4, 1), (1, 2, 2), (2, 1, 2)])
def test_gradient_of_other_splits(
    tiny_model: Path, tmp_path: Path, wanted: torch.Tensor, size: int, micro_batches: int, rows: int
) -> None:
    found = gradient_of(tiny_model, tmp_path / "out.pt", size=size, micro_batches=micro_batches, rows=rows)
    assert (found["gradient"] - wanted).norm() / wanted.norm() < 2e-6


def test_seeds_of_packs_are_fixed_and_differ() -> None:
    assert pack_seed(0, 0) == 0x4E4642B990FB86AF
    assert len({pack_seed(seed, pack) for seed in range(50) for pack in range(200)}) == 10_000
    assert all(0 <= pack_seed(seed, 10**12) < 2**63 for seed in (0, 1, 2**40))
