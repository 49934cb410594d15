"""The summed cross-entropy of a plain output matrix in full precision, with the loss of each token on the way.

torch's own chunked linear cross-entropy (torch.nn.functional, since 2.13) gives a sum or losses of tokens, and computes
the logits twice where both are wanted. These are its operations in its order, so that sum and gradients have the same
bits; what a chunk knows of its tokens is kept besides. Gradients are made along with the loss, while a chunk's logits
are there, and only multiplied in the backward pass.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from wdstream.records import IGNORED


def matrix_losses(
    rows: Tensor, weight: Tensor, bias: Tensor | None, ids: Tensor, *, chunk: int
) -> tuple[Tensor, Tensor]:
    """(sum of the cross-entropies, with a graph; each of them, without one).

    Args:
        rows: (S, H) of one dtype with all others.
        weight: (V, H).
        bias: (V,), if any.
        ids: int64 (S,); -100 has a loss of 0.
        chunk: rows whose logits are there at a time.
    """
    has_gradients = torch.is_grad_enabled()
    total, losses = _MatrixLosses.apply(rows, weight, bias, ids, chunk, has_gradients)  # type: ignore[no-untyped-call]
    return total, losses


class _MatrixLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, ids: Tensor, chunk: int, has_gradients: bool
    ) -> tuple[Tensor, Tensor]:
        needs_rows, needs_weight, needs_bias = (has_gradients and needed for needed in ctx.needs_input_grad[:3])
        of_rows = torch.empty_like(rows) if needs_rows else None
        of_weight = torch.zeros_like(weight) if needs_weight else None
        of_bias = torch.zeros_like(bias) if bias is not None and needs_bias else None
        is_ignored = ids == IGNORED
        targets, signs = torch.where(is_ignored, 0, ids), (~is_ignored).to(rows.dtype).neg_()
        total, losses = rows.new_zeros(()), rows.new_empty(len(rows))
        buffer = rows.new_empty(min(chunk, len(rows)), len(weight))
        for start in range(0, len(rows), chunk):
            here = slice(start, start + chunk)
            own, sign, target = rows[here], signs[here], targets[here]
            scores = torch.mm(own, weight.T, out=buffer[: len(own)])
            scores = scores if bias is None else scores.add_(bias)
            scores.sub_(scores.amax(1, keepdim=True))
            wanted = scores.gather(1, target.unsqueeze(1)).squeeze(1)
            total.add_(sign.dot(wanted))
            sums = scores.exp_().sum(1)
            if has_gradients:  # of the scores, for each row times its sign
                scores.mul_((sign / sums).unsqueeze(1))
            logs = sums.log_()
            total.sub_(sign.dot(logs))
            losses[here] = (wanted - logs) * sign
            if of_bias is not None:
                of_bias.sub_(scores.sum(0)).index_add_(0, target, sign)
            if of_rows is not None:
                taught = torch.mul(weight.index_select(0, target), sign.unsqueeze(1), out=of_rows[here])
                taught.addmm_(scores, weight, alpha=-1)
            if of_weight is not None:
                of_weight.addmm_(scores.T, own, alpha=-1)
                of_weight.index_add_(0, target, own * sign.unsqueeze(1))
        ctx.gradients = [of_rows, of_weight, of_bias]
        ctx.mark_non_differentiable(losses)
        return total, losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        found, ctx.gradients = ctx.gradients, []
        if not found:
            raise RuntimeError("the gradients of this loss were given once, and are kept for no second backward pass")
        return (*(None if one is None else one.mul_(factor) for one in found), None, None, None)
