"""Parameters that no gradient can reach, such as a norm after the layer whose output a model takes.

DDP waits for the gradient of every trainable parameter and ends a run that has one less, so they are frozen at the
start. The graph of one forward pass over a blank document says which they are: no backward pass is needed.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from wdstream.batches.collate import collate
from wdstream.families.base import Family
from wdstream.train.step.blank import dummy_pack
from wdstream.train.step.loss import LossHead, find_targets

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def find_unreached(model: "PreTrainedModel | PeftModel", head: LossHead, family: Family) -> tuple[str, ...]:
    """Names of the trainable parameters that the loss of a page does not depend on.

    Args:
        model: in training mode, not yet wrapped by Accelerate.
        head: that owns its output head.
        family: makes the page.
    """
    batch = collate([dummy_pack(family)], family)
    first = next(model.parameters())
    inputs = dict(family.model_inputs(batch, device=first.device, dtype=first.dtype))
    inputs.pop("labels", None)
    with torch.random.fork_rng([]):
        loss = head.loss_sum(model, inputs, find_targets(batch.labels).to(first.device))
    reached = _leaves(loss)
    return tuple(name for name, one in model.named_parameters() if one.requires_grad and id(one) not in reached)


def freeze_named(model: nn.Module, names: Collection[str]) -> None:
    """Freeze parameters by name."""
    for name, parameter in model.named_parameters():
        if name in names:
            parameter.requires_grad_(False)


def _leaves(loss: Tensor) -> set[int]:
    """Identities of the tensors that get a gradient from a loss."""
    todo, seen, found = [loss.grad_fn], set(), set[int]()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(variable := getattr(node, "variable", None), Tensor):
            found.add(id(variable))
        todo += [parent for parent, _ in node.next_functions]
    return found
