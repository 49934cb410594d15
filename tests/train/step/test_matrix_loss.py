"""The loss of a plain output matrix: torch's own sum and gradients bit for bit, with the losses of tokens."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wdstream.train.step.matrix_loss import matrix_losses

CHUNK = 256
fused = pytest.mark.skipif(not hasattr(functional, "linear_cross_entropy"), reason="this PyTorch has none of its own")


def of_torch(reduction: str, rows: Tensor, weight: Tensor, bias: Tensor | None, ids: Tensor) -> Tensor:
    options = nn.LinearCrossEntropyOptions(batch_chunk_size=CHUNK, chunking_method=None)
    found: Tensor = functional.linear_cross_entropy(
        rows, weight, ids, linear_bias=bias, ignore_index=-100, reduction=reduction, options=options
    )
    return found


def make(num_rows: int, *, width: int = 24, words: int = 700, has_bias: bool = False) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(num_rows)
    ids = torch.randint(0, words, (num_rows,), generator=generator)
    ids[::5] = -100
    rows = torch.randn(num_rows, width, generator=generator)
    weight = torch.randn(words, width, generator=generator)
    return [rows, weight, torch.randn(words, generator=generator) if has_bias else None, ids]


def leaves(made: list[Tensor | None], *, is_frozen: bool) -> list[Tensor | None]:
    rows, *head, ids = made
    own = [None if one is None else one.clone().requires_grad_(not is_frozen) for one in head]
    assert rows is not None
    return [rows.clone().requires_grad_(), *own, ids]


@fused
@pytest.mark.parametrize("is_frozen", [False, True])
@pytest.mark.parametrize(("num_rows", "words", "has_bias"), [(700, 700, False), (CHUNK, 700, True), (7, 9, False)])
def test_the_bits_are_those_of_torch(num_rows: int, words: int, has_bias: bool, is_frozen: bool) -> None:
    made = make(num_rows, words=words, has_bias=has_bias)
    theirs, ours = leaves(made, is_frozen=is_frozen), leaves(made, is_frozen=is_frozen)
    wanted = of_torch("sum", *theirs)  # type: ignore[arg-type]
    total, losses = matrix_losses(*ours, chunk=CHUNK)  # type: ignore[arg-type]
    (wanted * 0.37).backward()
    (total * 0.37).backward()
    assert torch.equal(total, wanted)
    assert torch.equal(losses, of_torch("none", *made))  # type: ignore[arg-type]
    for one, other in zip(ours[:-1], theirs[:-1], strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert (one.grad is None) == (other.grad is None) == (is_frozen and one is not ours[0])
            assert one.grad is None or other.grad is None or torch.equal(one.grad, other.grad)


def test_sum_and_gradients_are_those_of_whole_logits() -> None:
    rows, weight, _, ids = leaves(make(700), is_frozen=False)
    assert rows is not None and weight is not None and ids is not None
    wanted = functional.cross_entropy(rows @ weight.T, ids, reduction="sum")
    want = torch.autograd.grad(wanted, (rows, weight))
    total, losses = matrix_losses(rows, weight, None, ids, chunk=CHUNK)
    found = torch.autograd.grad(total, (rows, weight))
    assert total.item() == pytest.approx(wanted.item(), rel=1e-6)
    for one, other in zip(found, want, strict=True):
        assert (one - other).norm() < 1e-5 * other.norm()
    assert losses[::5].abs().max() == 0.0
    assert not losses.requires_grad


def test_nothing_is_prepared_for_a_backward_pass_that_does_not_come() -> None:
    rows, weight, _, ids = leaves(make(CHUNK), is_frozen=False)
    assert rows is not None and weight is not None and ids is not None
    with torch.no_grad():
        total, _ = matrix_losses(rows, weight, None, ids, chunk=CHUNK)
    assert total.grad_fn is None
    with pytest.raises(RuntimeError, match="does not require grad"):
        total.backward()


def test_gradients_are_given_once_and_have_none_of_their_own() -> None:
    rows, weight, _, ids = leaves(make(CHUNK), is_frozen=False)
    assert rows is not None and weight is not None and ids is not None
    total, _ = matrix_losses(rows, weight, None, ids, chunk=CHUNK)
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="kept for no second backward pass"):
        total.backward()
    total, _ = matrix_losses(rows, weight, None, ids, chunk=CHUNK)
    gradient = torch.autograd.grad(total * rows.sum(), rows, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
