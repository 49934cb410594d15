"""The training loss, computed inside the model's output head so that the full logits never exist.

A row of 8,192 tokens over a vocabulary of 150,000 is 5 GB of float32 logits, most of them for image tokens that are
not trained. `LossHead` replaces the head's forward: with targets it selects the hidden states of supervised positions
and computes their cross-entropy chunk by chunk; without targets it is the plain head. Being inside the model's forward,
the DDP and FSDP hooks around it keep working.

    hidden (B, L, H) ──select──► (S, H) ──chunks of 512 rows──► sum of cross-entropies, one float32 number

The sum over all ranks and micro-batches, divided by the supervised tokens of the step, equals the Hugging Face loss.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from wdstream.errors import TrainError
from wdstream.records import IGNORED
from wdstream.train.step.matrix_loss import matrix_losses

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK_ROWS = 512
"""Hidden states per chunk: 512 x 150,000 float32 logits are 300 MB; smaller chunks save little and cost kernels."""
_HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What is supervised of a micro-batch. B rows of L tokens, S supervised positions.

    Attributes:
        positions: int64 (S,), places in the flattened (B * L) hidden states whose next token is supervised.
        ids: int64 (S,), that next token.
        num_supervised: S, or 0 where nothing is supervised (one ignored position then keeps the graph whole).
        weights: float32 (S,), of each position in the sums; None: 1.
        z_loss: coefficient of the squared log-partitions, which are added to the sum.
        label_smoothing: share of a target that is spread over all words.
    """

    positions: Tensor
    ids: Tensor
    num_supervised: int
    weights: Tensor | None = None
    z_loss: float = 0.0
    label_smoothing: float = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether the loss is the sum of cross-entropies and nothing else."""
        return self.weights is None and not self.z_loss and not self.label_smoothing

    @property
    def sum_of_weights(self) -> float:
        """What the sum of this micro-batch is a part of, in numbers of tokens."""
        return float(self.num_supervised) if self.weights is None else float(self.weights.double().sum())

    def to(self, device: torch.device) -> "Targets":
        """The same targets on another device."""
        return replace(
            self,
            positions=self.positions.to(device, non_blocking=True),
            ids=self.ids.to(device, non_blocking=True),
            weights=None if self.weights is None else self.weights.to(device, non_blocking=True),
        )


def find_targets(labels: Tensor) -> Targets:
    """Targets of int64 labels (B, L); the hidden state at t predicts the label at t + 1 of the same row.

    Run on the host, where finding the non-zero places needs no device synchronisation.
    """
    next_labels = functional.pad(labels[:, 1:], (0, 1), value=IGNORED).flatten()
    positions = torch.nonzero(next_labels != IGNORED).flatten()
    num_supervised = len(positions)
    if num_supervised == 0:  # one ignored position: the loss is exactly 0, and every parameter still has a gradient
        positions = torch.zeros(1, dtype=torch.int64)
    return Targets(positions=positions, ids=next_labels[positions], num_supervised=num_supervised)


class LossHead:
    """Owns the forward of a model's output head.

    Args:
        model: a Hugging Face model with an output embedding, bare or under PEFT, not yet wrapped by Accelerate.

    Raises:
        TrainError: the model has no output head.
    """

    def __init__(self, model: "PreTrainedModel") -> None:
        head = model.get_output_embeddings()
        if head is None:
            raise TrainError(f"{type(model).__name__} has no output head (lm_head); a language model is needed")
        # Trained whole next to an adapter (modules_to_save), the head that computes is peft's copy inside.
        copies: nn.ModuleDict | None = getattr(head, "modules_to_save", None)
        head = head if copies is None else copies["default"]
        self._head: nn.Module = head
        self._plain_forward = head.forward
        self._config = model.config.get_text_config()
        self._softcap: float | None = getattr(self._config, "final_logit_softcapping", None)
        self._targets: Targets | None = None
        self._kept: list[Tensor] | None = None
        self.z_sum: Tensor | None = None
        """Of the last forward pass with a z-loss: its share of the sum, without a graph."""
        head.forward = self._forward

    def loss_sum(self, model: nn.Module, inputs: Mapping[str, object], targets: Targets) -> Tensor:
        """Sum of cross-entropies of a micro-batch, and of what its targets add: a float32 scalar with a graph.

        `model` is the model of the constructor, or a wrapper around it; `inputs` carry no labels. The cache is off:
        with one, Hugging Face models stop isolating packed documents.
        """
        with self._computing(targets):
            outputs = model(**{**inputs, "use_cache": False})
        loss: Tensor = outputs.logits
        return loss

    @contextmanager
    def keeping_token_losses(self, is_wanted: bool = True) -> Iterator[list[Tensor]]:
        """A list to which each forward pass inside appends the cross-entropies of its supervised positions.

        They are float32 (S,) without a graph; losses and gradients stay the same bits. Empty where not `is_wanted`.
        """
        kept: list[Tensor] = []
        self._kept = kept if is_wanted else None
        try:
            yield kept
        finally:
            self._kept = None

    @contextmanager
    def _computing(self, targets: Targets) -> Iterator[None]:
        """Targets set; a soft cap is taken over from the model, which would otherwise cap our loss."""
        self._targets = targets
        if self._softcap is not None:
            self._config.final_logit_softcapping = None
        try:
            yield
        finally:
            self._targets = None
            if self._softcap is not None:
                self._config.final_logit_softcapping = self._softcap

    def _forward(self, hidden: Tensor) -> Tensor:
        if self._targets is None:
            return self._plain_forward(hidden)  # type: ignore[no-any-return]
        rows = hidden.flatten(0, 1).index_select(0, self._targets.positions)  # (S, H)
        if not self._targets.is_plain:
            return self._weighted_loss(rows, self._targets)
        dtype = _computed_in(rows)
        if not self._is_matrix or (dtype in _HALF and not hasattr(functional, "linear_cross_entropy")):
            return self._chunked_loss(rows, self._targets.ids)
        return self._matrix_loss(rows.to(dtype), self._targets.ids)

    @property
    def _is_matrix(self) -> bool:
        """Whether the head is a plain matrix, whose gradients can be made along with the loss."""
        return type(self._head) is nn.Linear and self._softcap is None

    def _matrix_loss(self, rows: Tensor, ids: Tensor) -> Tensor:
        """For plain matrices: no logits are computed twice."""
        head = cast("nn.Linear", self._head)
        weight, bias = head.weight.to(rows.dtype), None if head.bias is None else head.bias.to(rows.dtype)
        if rows.dtype in _HALF:
            # A half-precision "sum" accumulates in half precision (2192 for 2205.1); "none" is exact and summed by us.
            options = nn.LinearCrossEntropyOptions(batch_chunk_size=CHUNK_ROWS, chunking_method=None)
            losses: Tensor = functional.linear_cross_entropy(
                rows, weight, ids, linear_bias=bias, ignore_index=IGNORED, reduction="none", options=options
            )
            losses = losses.float()
            total = losses.sum()
        else:
            total, losses = matrix_losses(rows, weight, bias, ids, chunk=CHUNK_ROWS)
        if self._kept is not None:
            self._kept.append(losses.detach())
        return total.float()

    def _chunked_loss(self, rows: Tensor, ids: Tensor) -> Tensor:
        """For heads that are more than a matrix: chunks whose logits are computed again in the backward pass."""

        def chunk_loss(chunk: Tensor, chunk_ids: Tensor) -> tuple[Tensor, Tensor]:
            # With nll_loss it is what cross_entropy computes.
            scores = functional.log_softmax(self._logits(chunk), dim=-1)
            with torch.no_grad():
                losses = functional.nll_loss(scores, chunk_ids, reduction="none", ignore_index=IGNORED)
            return functional.nll_loss(scores, chunk_ids, reduction="sum", ignore_index=IGNORED), losses

        total = rows.new_zeros((), dtype=torch.float32)
        of_chunks: list[Tensor] = []
        for chunk, chunk_ids in zip(torch.split(rows, CHUNK_ROWS), torch.split(ids, CHUNK_ROWS), strict=True):
            loss, losses = checkpoint(chunk_loss, chunk, chunk_ids, use_reentrant=False)
            total = total + loss
            of_chunks.append(losses)
        if self._kept is not None:
            self._kept.append(torch.cat(of_chunks))
        return total

    def _weighted_loss(self, rows: Tensor, targets: Targets) -> Tensor:
        """The sum with weights, smoothed labels and z-loss, in chunks likewise."""
        ids = targets.ids
        weights = ids.ne(IGNORED).float() if targets.weights is None else targets.weights

        def chunk_sums(chunk: Tensor, chunk_ids: Tensor, chunk_weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            logits, smoothing = self._logits(chunk), targets.label_smoothing
            scores = functional.log_softmax(logits, dim=-1)
            losses = functional.nll_loss(scores, chunk_ids, reduction="none", ignore_index=IGNORED)
            smooth = (1 - smoothing) * losses - smoothing * scores.mean(dim=-1) if smoothing else losses
            squares = torch.logsumexp(logits, dim=-1).square() if targets.z_loss else torch.zeros_like(losses)
            return (smooth * chunk_weights).sum(), targets.z_loss * (squares * chunk_weights).sum(), losses.detach()

        total = z_sum = rows.new_zeros((), dtype=torch.float32)
        of_chunks: list[Tensor] = []
        for chunk in zip(*(torch.split(each, CHUNK_ROWS) for each in (rows, ids, weights)), strict=True):
            loss, z_part, losses = checkpoint(chunk_sums, *chunk, use_reentrant=False)
            total, z_sum = total + loss, z_sum + z_part
            of_chunks.append(losses)
        if self._kept is not None:
            self._kept.append(torch.cat(of_chunks))
        self.z_sum = z_sum.detach() if targets.z_loss else None
        return total + z_sum if targets.z_loss else total

    def _logits(self, rows: Tensor) -> Tensor:
        """Float32, with the model's soft cap."""
        logits = self._plain_forward(rows).float()
        return logits if self._softcap is None else torch.tanh(logits / self._softcap) * self._softcap


def _computed_in(rows: Tensor) -> torch.dtype:
    """The dtype of autocast, where it is on."""
    device = rows.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else rows.dtype
