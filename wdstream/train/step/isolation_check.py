"""At the first step of every start: proof that this model, attention and batch do not let packed documents mix.

The wrong attention mask raises no error, it only trains worse. So the loss of the last document of a row is computed
twice, the second time with the words of the documents before it in another order. Without a leak nothing changes.
"""

import torch
from torch import Tensor

from wdstream.batches.batch import Batch
from wdstream.errors import TrainError
from wdstream.records import IGNORED
from wdstream.train.step.loss import find_targets
from wdstream.train.step.step import Engine, complete, model_inputs, undisturbed

TOLERANCE = 1e-4
"""Of the loss, relative; sums in another order stay far below it, a leak far above."""


def check_no_leak(engine: Engine, batch: Batch) -> bool:
    """Whether `batch` has documents that could see each other, and do not; False for a batch with nothing to compare.

    All ranks call it together: each runs two forward passes, whatever its batch holds.

    Raises:
        TrainError: a document sees another one of its row.
    """
    batch = complete(engine, batch)
    labels, disturbed, is_checked = disturb(batch.input_ids, batch.labels, batch.lengths)
    with undisturbed(engine):  # no dropout: the two passes differ in the disturbed ids only
        inputs = model_inputs(engine, batch)
        targets = find_targets(labels).to(engine.accelerator.device)
        before = float(engine.head.loss_sum(engine.model, inputs, targets))
        inputs["input_ids"] = disturbed.to(engine.accelerator.device)
        after = float(engine.head.loss_sum(engine.model, inputs, targets))
    if is_checked and abs(after - before) > TOLERANCE * max(1.0, abs(before)):
        raise TrainError(
            f"packed documents see each other: the loss of a document went from {before:.6f} to {after:.6f} when only "
            "other documents of its row changed; use another model.attn (sdpa is proven), or report this model"
        )
    return is_checked


def disturb(input_ids: Tensor, labels: Tensor, lengths: list[list[int]]) -> tuple[Tensor, Tensor, bool]:
    """(labels of each row's last document only, ids with the words of the others rotated, anything to compare).

    input_ids and labels are int64 (B, L); only supervised ids move, so image blocks stay what they are.
    """
    last_labels = torch.full_like(labels, IGNORED)
    disturbed = input_ids.clone()
    is_checked = False
    for row, row_lengths in enumerate(lengths):
        if len(row_lengths) < 2:
            continue
        start, end = sum(row_lengths[:-1]), sum(row_lengths)
        words = torch.nonzero(labels[row, :start] != IGNORED).flatten()
        disturbed[row, words] = input_ids[row, words].roll(1)
        has_change = bool((disturbed[row] != input_ids[row]).any())
        has_target = bool((labels[row, start:end] != IGNORED).any())
        if has_change and has_target:
            last_labels[row, start:end] = labels[row, start:end]
            is_checked = True
    return last_labels, disturbed, is_checked
