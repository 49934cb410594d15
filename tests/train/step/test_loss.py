"""The loss head: equal to Hugging Face's loss, gradients too, without full logits; losses of tokens that it keeps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText

from wdstream.errors import TrainError
from wdstream.train.step.loss import LossHead, find_targets


def load(path: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(path, attn_implementation="sdpa", dtype=torch.float32)


def make_inputs(num_rows: int = 2, length: int = 40) -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(0, 900, (num_rows, length), generator=generator)
    labels = torch.where(torch.rand(input_ids.shape, generator=generator) < 0.4, input_ids, -100)
    labels[:, 0] = -100
    positions = torch.arange(length).expand(4, num_rows, length)
    return {"input_ids": input_ids, "position_ids": positions}, labels


def gradients(model: nn.Module) -> Tensor:
    found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat(found)


def reference(path: Path, inputs: dict[str, Tensor], labels: Tensor) -> tuple[Tensor, Tensor]:
    model = load(path)
    loss = model(**inputs, labels=labels, num_items_in_batch=torch.tensor(1.0), use_cache=False).loss
    loss.backward()
    return loss.detach(), gradients(model)


def test_targets_are_the_next_tokens() -> None:
    labels = torch.tensor([[-100, -100, 5, 6], [7, 8, -100, 9]])
    targets = find_targets(labels)
    assert targets.positions.tolist() == [1, 2, 4, 6]  # the label 7 at a row's start is predicted by nothing
    assert targets.ids.tolist() == [5, 6, 8, 9]
    assert targets.num_supervised == 4


def test_sum_equals_hugging_face(tiny_model: Path) -> None:
    inputs, labels = make_inputs()
    wanted_loss, wanted_gradients = reference(tiny_model, inputs, labels)
    model = load(tiny_model)
    head = LossHead(model)
    targets = find_targets(labels)
    loss = head.loss_sum(model, inputs, targets)
    loss.backward()
    assert targets.num_supervised == int((labels[:, 1:] != -100).sum())
    assert loss.item() == pytest.approx(wanted_loss.item(), rel=1e-6)
    error = (gradients(model) - wanted_gradients).norm() / wanted_gradients.norm()
    assert error < 1e-6


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_heads_that_are_more_than_a_matrix(tiny_model: Path, softcap: float | None) -> None:
    """A head with an adapter, or with capped logits, takes the path of recomputed chunks; same numbers."""

    class Head(nn.Linear):
        pass

    inputs, labels = make_inputs()
    model = load(tiny_model)
    model.lm_head.__class__ = Head
    hidden = model.model(**inputs, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden)
    logits = logits if softcap is None else torch.tanh(logits / softcap) * softcap
    wanted = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
    wanted.backward()
    wanted_gradients = gradients(model)
    model.zero_grad()
    text = model.config.get_text_config()
    text.final_logit_softcapping = softcap
    head = LossHead(model)
    loss = head.loss_sum(model, inputs, find_targets(labels))
    loss.backward()
    assert text.final_logit_softcapping == softcap
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert (gradients(model) - wanted_gradients).norm() / wanted_gradients.norm() < 1e-6


def test_nothing_supervised_is_zero_with_a_whole_graph(tiny_model: Path) -> None:
    inputs, labels = make_inputs()
    model = load(tiny_model)
    targets = find_targets(torch.full_like(labels, -100))
    loss = LossHead(model).loss_sum(model, inputs, targets)
    loss.backward()
    assert targets.num_supervised == 0
    assert loss.item() == 0.0
    assert gradients(model).abs().max() == 0.0
    assert model.lm_head.weight.grad is not None


def test_without_targets_it_is_the_plain_head(tiny_model: Path) -> None:
    inputs, _ = make_inputs()
    plain, ours = load(tiny_model), load(tiny_model)
    LossHead(ours)
    with torch.no_grad():
        assert torch.equal(plain(**inputs, use_cache=False).logits, ours(**inputs, use_cache=False).logits)


def test_bfloat16_sum_is_exact(tiny_model: Path) -> None:
    inputs, labels = make_inputs(length=20)
    model = load(tiny_model)
    head = LossHead(model)
    exact = head.loss_sum(model, inputs, find_targets(labels)).item()
    with torch.autocast("cpu", torch.bfloat16):
        half = head.loss_sum(model, inputs, find_targets(labels))
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(exact, rel=2e-3)  # a bfloat16 sum would be off by up to 4e-3


def test_model_without_head_is_refused() -> None:
    class Headless:
        def get_output_embeddings(self) -> None:
            return None

    with pytest.raises(TrainError, match="Headless has no output head"):
        LossHead(Headless())


def plain(model: Any) -> None:
    pass


def more_than_a_matrix(model: Any) -> None:
    model.lm_head.__class__ = type("Head", (nn.Linear,), {})


def capped(model: Any) -> None:
    model.config.get_text_config().final_logit_softcapping = 5.0


@pytest.mark.parametrize("change", [plain, more_than_a_matrix, capped])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kept_losses_change_no_bit(tiny_model: Path, change: Callable[[Any], None], dtype: torch.dtype) -> None:
    inputs, labels = make_inputs(num_rows=3, length=400)
    targets = find_targets(labels)

    def run(keeps: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
        model = load(tiny_model).to(dtype)
        change(model)
        head = LossHead(model)
        with head.keeping_token_losses(keeps) as kept:
            loss = head.loss_sum(model, inputs, targets)
            loss.backward()
        return loss.detach(), gradients(model), kept

    loss, gradient, nothing = run(False)
    same_loss, same_gradient, kept = run(True)
    assert nothing == []
    assert torch.equal(loss, same_loss) and torch.equal(gradient, same_gradient)
    assert kept[0].dtype == torch.float32 and kept[0].shape == targets.positions.shape
    assert not kept[0].requires_grad
    assert float(kept[0].double().sum()) == pytest.approx(float(loss), rel=1e-6)


def test_each_is_the_loss_of_its_token(tiny_model: Path) -> None:
    inputs, labels = make_inputs()
    model = load(tiny_model)
    logits = model(**inputs, use_cache=False).logits[:, :-1].flatten(0, 1)
    wanted = nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), reduction="none")
    head = LossHead(model)
    with head.keeping_token_losses() as kept:
        head.loss_sum(model, inputs, find_targets(labels))
    is_supervised = labels[:, 1:].flatten() != -100
    assert torch.allclose(kept[0], wanted[is_supervised], rtol=1e-5)
    with torch.no_grad():
        head.loss_sum(model, inputs, find_targets(labels))
    assert len(kept) == 1
