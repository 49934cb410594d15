"""What a step minimises besides the mean cross-entropy: weights by dataset, a z-loss, smoothed labels.

    sum over supervised tokens of  weight x (cross-entropy + z_loss x log-partition squared)  /  sum of the weights

Both sums are over the whole step, all ranks and micro-batches. The plan knows the second, as it knows the number of
supervised tokens: no rank asks another, and any split of the step has the same gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wdstream.batches.batch import Batch
from wdstream.config.schema import Config
from wdstream.plan.step_columns import PackPlans, datasets_of_samples
from wdstream.records import NO_PACK, Ints, StepPlan
from wdstream.train.step.loss import Targets, find_targets


class DatasetWeights:
    """The weight of each token, by the dataset of its page.

    Args:
        offsets: int64 (datasets + 1,), sample numbers at which each dataset begins.
        weights: of a token of each dataset.
    """

    def __init__(self, offsets: Ints, weights: Sequence[float]) -> None:
        self._offsets = offsets
        self._weights = np.array(weights, dtype=np.float64)

    def total(self, step: StepPlan) -> float:
        """Sum over the supervised tokens of a whole step."""
        if isinstance(step.packs, PackPlans):
            samples, supervised = step.packs.columns.samples, step.packs.columns.supervised
        else:
            samples = np.array([sample for pack in step.packs for sample in pack.samples], dtype=np.int64)
            supervised = np.array([count for pack in step.packs for count in pack.supervised], dtype=np.int64)
        return float(np.dot(self._of_samples(samples), supervised))

    def of_tokens(self, batch: Batch) -> Tensor:
        """float32 (B, L), 0 after the documents of a row."""
        found = np.zeros(tuple(batch.labels.shape), dtype=np.float32)
        assert batch.step_plan is not None, "datasets with weights are planned"
        packs = batch.step_plan.packs
        for row, (number, lengths) in enumerate(zip(batch.packs, batch.lengths, strict=True)):
            if number == NO_PACK:
                continue
            samples = np.array(packs[number - packs[0].number].samples, dtype=np.int64)
            found[row, : sum(lengths)] = np.repeat(self._of_samples(samples), lengths)
        return torch.from_numpy(found)

    def _of_samples(self, samples: Ints) -> NDArray[np.float64]:
        found: NDArray[np.float64] = self._weights[datasets_of_samples(samples, self._offsets)]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What is minimised.

    Attributes:
        z_loss: coefficient of the squared log-partitions.
        label_smoothing: share of a target that is spread over all words.
        weights: by dataset; None: all are 1.
    """

    z_loss: float = 0.0
    label_smoothing: float = 0.0
    weights: DatasetWeights | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is the mean cross-entropy and nothing else."""
        return self.weights is None and not self.z_loss and not self.label_smoothing

    def targets(self, batch: Batch) -> Targets:
        """Of a micro-batch, with what they add."""
        found = replace(find_targets(batch.labels), z_loss=self.z_loss, label_smoothing=self.label_smoothing)
        if self.weights is None:
            return found
        after = torch.nn.functional.pad(self.weights.of_tokens(batch)[:, 1:], (0, 1)).flatten()  # of the next token
        return replace(found, weights=after[found.positions] * found.ids.ge(0))

    def denominator(self, num_supervised: int, batches: Sequence[Batch]) -> float:
        """What the sum over the whole step is divided by."""
        step = batches[0].step_plan
        return float(num_supervised) if self.weights is None or step is None else self.weights.total(step)


def objective_of(config: Config, offsets: Ints | None) -> Objective:
    """The objective of a run.

    Args:
        config: of the run.
        offsets: of the datasets of its plan; None where it has none.
    """
    weights = config.data.loss_weights
    by_dataset = None if offsets is None or set(weights) == {1.0} else DatasetWeights(offsets, weights)
    return Objective(z_loss=config.train.z_loss, label_smoothing=config.train.label_smoothing, weights=by_dataset)
