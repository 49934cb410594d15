"""What a sample costs to train on, in FLOPs: the number that packs are dealt to ranks by.

Formula, for a sample of L tokens whose images have p_1, p_2, ... vision patches each:

    language = per_token * L + per_token_squared * L**2
    vision   = sum over images of (per_patch * p + per_image_patch_squared * p**2)

Source of the coefficients (`training_flops`): a forward and backward pass costs 6 FLOPs per parameter and token
(Kaplan et al. 2020, arXiv 2001.08361, section 2.1), and attention 12 * width FLOPs per layer for each (query, key)
pair that is computed (Chowdhery et al. 2022, arXiv 2204.02311, appendix B). A document of L tokens under a causal
mask computes L**2 / 2 pairs, an image of p patches p**2 of them. Documents of a pack do not attend to each other, so
a pack costs the sum of its samples. Everything is a Python or int64 integer: every rank must find the same numbers,
whatever its machine.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import PlanError


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Coefficients of the cost of a sample, integers of at least 0, in FLOPs (or any one unit: only ratios matter).

    Attributes:
        per_token: of each token in the language model.
        per_token_squared: of each token of a sample, squared: causal attention inside the sample.
        per_patch: of each vision patch, before any merge.
        per_image_patch_squared: of each patch of an image, squared: attention inside the image.

    Raises:
        PlanError: a coefficient is negative or no integer.
    """

    per_token: int = 1
    per_token_squared: int = 0
    per_patch: int = 0
    per_image_patch_squared: int = 0

    def __post_init__(self) -> None:
        for name in ("per_token", "per_token_squared", "per_patch", "per_image_patch_squared"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise PlanError(f"CostModel.{name}: expected an integer of at least 0, found {value!r}")

    def language(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Cost of samples of these many tokens in the language model; same shape."""
        return tokens * self.per_token + tokens * tokens * self.per_token_squared

    def language_of(self, tokens: int) -> int:
        """Cost of one sample in the language model."""
        return tokens * self.per_token + tokens * tokens * self.per_token_squared

    def vision(self, patches: NDArray[np.int64]) -> NDArray[np.int64]:
        """Cost of images of these many patches in the vision tower; same shape."""
        return patches * self.per_patch + patches * patches * self.per_image_patch_squared


def training_flops(
    *,
    language_parameters: int,
    language_layers: int,
    language_width: int,
    vision_parameters: int,
    vision_layers: int,
    vision_width: int,
) -> CostModel:
    """Coefficients from a model's shape, by the formula in this module's docstring.

    Args:
        language_parameters: parameters that every token passes (embeddings of the input left out; active ones for a
            mixture of experts).
        language_layers: attention layers over the whole document.
        language_width: heads times head size of those layers.
        vision_parameters: parameters that every patch passes.
        vision_layers: attention layers over the whole image; layers with windows cost per patch, leave them out.
        vision_width: heads times head size of those layers.
    """
    return CostModel(
        per_token=6 * language_parameters,
        per_token_squared=6 * language_layers * language_width,
        per_patch=6 * vision_parameters,
        per_image_patch_squared=12 * vision_layers * vision_width,
    )
