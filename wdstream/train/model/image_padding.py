"""Images of padding (`data.pad_to: full`): the vision tower computes them, and no token reads what it gives.

The number of patches is then the same in every batch (`batches/form.py`). An image of padding has more than one frame,
which no page has, and comes after all others: its features are taken away where the model would count them.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def drop_image_padding(model: "PreTrainedModel | PeftModel") -> None:
    """Let a model of the Qwen-VL line, with an adapter or without, leave out the features of padding; in place."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner: Any = plain.base_model  # whose forward asks for them
    inner.get_image_features = functools.partial(_without_padding, inner.get_image_features)


def _without_padding(
    features: Callable[..., Any], pixel_values: Tensor, image_grid_thw: Tensor | None = None, **options: Any
) -> Any:
    found = features(pixel_values, image_grid_thw, **options)
    if image_grid_thw is None:
        return found
    count = int((image_grid_thw[:, 0] == 1).sum())  # the model itself has just read the grids
    found.pooler_output = _first(found.pooler_output, count)
    if "deepstack_features" in found:
        found.deepstack_features = [_first(parts, count) for parts in found.deepstack_features]
    return found


def _first(parts: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
    """Of as many images; where there are none, no row."""
    return parts[:count] or (parts[0][:0],)
