"""Evaluation: the mean loss of a supervised token over a whole held-out set, each token once, whatever the world."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate.utils import gather_object

from wdstream.batches.batch import Batch
from wdstream.config.schema import Config, DatasetConfig
from wdstream.records import Failure
from wdstream.train.step import Engine, batch_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalFigures:
    """Result over one set: `loss` is the sum of cross-entropies divided by the `num_tokens` supervised tokens.

    `num_pages` pages were computed; those in `failures` could not be read and count for nothing.
    """

    loss: float
    num_tokens: int
    num_pages: int
    failures: tuple[Failure, ...] = ()


def evaluate(engine: Engine, batches: Iterable[Batch]) -> EvalFigures:
    """The figures over all ranks, the same on each; every rank brings its own micro-batches, all of them equally many.

    Sums are float64, so that the order of packs and ranks shows in the last digits only.
    """
    sums = torch.zeros(4, dtype=torch.float64, device=engine.accelerator.device)
    own_failures: list[Failure] = []
    with undisturbed(engine):
        for batch in batches:
            loss, num_supervised = batch_loss(engine, batch)
            if num_supervised:
                sums[0] += loss
            sums[1] += num_supervised
            sums[2] += sum(len(keys) for keys in batch.page_keys)
            own_failures += batch.failures
    sums[3] = len(own_failures)
    loss_sum, num_tokens, num_pages, num_failures = engine.accelerator.reduce(sums, "sum").tolist()
    return EvalFigures(
        loss=loss_sum / num_tokens if num_tokens else 0.0,
        num_tokens=int(num_tokens),
        num_pages=int(num_pages - num_failures),
        failures=tuple(gather_object(own_failures)) if num_failures else (),
    )


@contextmanager
def undisturbed(engine: Engine) -> Iterator[None]:
    """No gradients and no dropout inside; afterwards every module's mode and the random numbers are as before."""
    modes = [(module, module.training) for module in engine.model.modules()]
    device = engine.accelerator.device
    devices = [] if device.type == "cpu" else [device]
    with torch.no_grad(), torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        engine.model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode


def eval_config(config: Config, dataset: DatasetConfig, *, world_size: int) -> Config:
    """The configuration of one pass over `dataset`: every page once, the last step filled up with empty packs."""
    update = {
        "train": (dataset.model_copy(update={"weight": None, "epochs": 1}),),
        "where": None,
        "curriculum": (),
        "streaming": None,  # evaluation sets have an index, also where the training data have none
        "eval": (),
        "epochs": 1,
        "tail": "pad",
        "seed": 0,
        "global_batch_size": world_size * config.train.micro_batch_size,
    }
    return config.model_copy(update={"data": config.data.model_copy(update=update)})
