"""What the ranks exchange after a step: one small gather, from which all of them draw the same conclusions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from wdstream.batches.batch import Batch
from wdstream.errors import TrainError
from wdstream.plan.deal import pack_digest
from wdstream.records import NO_PACK, Failure
from wdstream.runs.digest import join_digests, pack_digests
from wdstream.train.contents import StepContents
from wdstream.train.step.step import StepOutcome
from wdstream.train.watch.memory import NO_MEMORY, PeakMemory, peak_memory

# Where these are among the figures of a rank, as `exchange` lists them.
_WAIT, _IS_STOPPING, _NUM_FAILURES, _DATA_STEPS, _IS_SAVE_DUE, _HAS_FAILED_SAVE = 2, 3, 4, 9, 10, 11
_DIGEST, _PLAN_DIGEST, _MEMORY = slice(5, 7), slice(7, 9), slice(12, 15)
_WEIGHTS, _DATASETS = slice(15, 17), slice(17, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFigures:
    """One step over all ranks; equal on every rank.

    Attributes:
        loss: mean over the supervised tokens of the step, by their weights; 0 where there are none.
        grad_norm: norm of the gradient before clipping.
        wait_seconds: the longest that a rank waited for data.
        is_stopping: a rank was asked to stop.
        digest: 16 hex digits over the pack numbers and keys that the ranks really trained on (`pages_digest`).
        failures: pages that failed and kept their slot, in rank order.
        num_supervised: tokens that the loss was computed on.
        data_steps: what the main process has to tell of the steps of the data (total.py); 0 is nothing.
        is_save_due: the main process's clock says that it is time for a checkpoint.
        has_failed_save: a rank could not write its part of a checkpoint.
        dataset_losses: (summed loss, tokens) of each of several datasets.
        memory: of the process that used most so far, each kind by itself.
        z_loss: what `train.z_loss` adds to the loss.
    """

    loss: float
    grad_norm: float
    wait_seconds: float
    is_stopping: bool
    digest: str
    failures: tuple[Failure, ...]
    num_supervised: int = 0
    data_steps: int = 0
    is_save_due: bool = False
    has_failed_save: bool = False
    dataset_losses: tuple[tuple[float, float], ...] = ()
    memory: PeakMemory = NO_MEMORY
    z_loss: float = 0.0


def exchange(
    accelerator: Accelerator,
    contents: StepContents,
    batches: Sequence[Batch],
    outcome: StepOutcome,
    *,
    wait_seconds: float,
    is_stopping: bool,
    data_steps: int = 0,
    is_save_due: bool = False,
    has_failed_save: bool = False,
    dataset_losses: Sequence[tuple[float, float]] = (),
) -> StepFigures:
    """Bring the ranks' figures together and compare them with what the step should hold.

    Those of `dataset_losses` are (summed loss, tokens) of each of several datasets on this rank.

    Raises:
        TrainError: the ranks have different plans, or trained another number of supervised tokens than planned,
            though no page failed.
    """
    own_failures = [failure for batch in batches for failure in batch.failures]
    digest = sum(pack_digest(number, keys) for number, keys in trained_packs(batches)) % (1 << 64)
    row = [
        outcome.loss_sum,
        float(outcome.num_supervised),
        wait_seconds,
        float(is_stopping),
        float(len(own_failures)),
        *_halves(digest),
        *_halves(contents.digest),
        float(data_steps),
        float(is_save_due),
        float(has_failed_save),
        *peak_memory(),
        float(outcome.num_supervised) if outcome.sum_of_weights is None else outcome.sum_of_weights,
        outcome.z_sum,
        *(value for of_dataset in dataset_losses for value in of_dataset),
    ]
    table = accelerator.gather(torch.tensor([row], dtype=torch.float64, device=accelerator.device)).cpu()
    check_same_plan(contents.step, table[:, _PLAN_DIGEST].tolist())
    failures = gather_object(own_failures) if table[:, _NUM_FAILURES].any() else []
    found = _figures_of(table, outcome.grad_norm, tuple(failures))
    if not failures and not contents.is_skipped:
        _check_supervised(contents, found.num_supervised)
    return found


def _figures_of(table: Tensor, grad_norm: float, failures: tuple[Failure, ...]) -> StepFigures:
    """What the rows of all ranks say together."""
    sums = table.sum(dim=0)
    loss_sum, num_supervised = sums[:2].tolist()
    high, low = sums[_DIGEST].tolist()
    sum_of_weights, z_sum = sums[_WEIGHTS].tolist()
    return StepFigures(
        loss=loss_sum / sum_of_weights if sum_of_weights else 0.0,
        grad_norm=grad_norm,
        wait_seconds=float(table[:, _WAIT].max()),
        is_stopping=bool(table[:, _IS_STOPPING].any()),
        digest=f"{((int(high) << 32) + int(low)) % (1 << 64):016x}",
        failures=failures,
        num_supervised=int(num_supervised),
        data_steps=int(table[:, _DATA_STEPS].max()),
        is_save_due=bool(table[0, _IS_SAVE_DUE]),
        has_failed_save=bool(table[:, _HAS_FAILED_SAVE].any()),
        dataset_losses=tuple((loss, tokens) for loss, tokens in sums[_DATASETS].view(-1, 2).tolist()),
        memory=PeakMemory(*table[:, _MEMORY].amax(dim=0).tolist()),
        z_loss=z_sum / sum_of_weights if sum_of_weights else 0.0,
    )


def _check_supervised(contents: StepContents, found: int) -> None:
    if found != contents.num_supervised:
        raise TrainError(
            f"step {contents.step}: {contents.num_supervised} supervised tokens planned, {found} found; the shards, "
            "the tokenizer or the code changed under the plan: `wdstream verify SHARDS --tokenizer MODEL` names the "
            "pages"
        )


def bytes_digest(batches: Iterable[Batch]) -> str:
    """sha256 over ids, labels, positions and pixels of the whole step, as `wdstream digest` prints it.

    All ranks call it together, each with its own micro-batches.
    """
    own = {number: digest for batch in batches for number, digest in pack_digests(batch).items()}
    return join_digests(dict(item for packs in gather_object([own]) for item in packs.items()))


def check_same_plan(step: int, digests: Sequence[Sequence[float]]) -> None:
    """Compare the ranks' digests of the step's plan, each in halves.

    Raises:
        TrainError: they differ; names the first rank that differs from rank 0, and both values.
    """
    for rank, digest in enumerate(digests):
        if digest != digests[0]:
            ours, theirs = (f"{int(high):08x}{int(low):08x}" for high, low in (digests[0], digest))
            raise TrainError(
                f"step {step}: rank 0 plans {ours} and rank {rank} plans {theirs}: they read different shards, "
                "configurations or versions of wdstream; make them the same and start again"
            )


def _halves(digest: int) -> tuple[float, float]:
    """A 64-bit number as two floats: float64 holds whole numbers up to 2**53 only."""
    return float(digest >> 32), float(digest & 0xFFFFFFFF)


def trained_packs(batches: Iterable[Batch]) -> Iterable[tuple[int, Sequence[str]]]:
    """(pack number, keys in order) of every pack in these micro-batches."""
    for batch in batches:
        yield from ((pack, keys) for pack, keys in zip(batch.packs, batch.page_keys, strict=True) if pack != NO_PACK)
