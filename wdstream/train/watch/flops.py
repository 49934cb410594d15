"""What a step costs by the model's shape, and what share of the devices' speed that is (MFU).

The plan's cost model (plan/deal.py) says what a step costs when everything is trained: 6 FLOPs per parameter and token,
of which 2 are the forward pass, 2 the gradient of the activations and 2 that of the weights; attention has no weights,
a third of it is the forward pass. Of a part that is frozen the gradient of its weights is left out, and where nothing
trained is below it, as of a frozen vision tower, the whole backward pass. What gradient checkpointing computes again
does not count.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from wdstream.train.model.parts import model_part

# Dense bfloat16 TFLOP/s (V100: float16) as NVIDIA's data sheets give them; of names that begin alike the longer comes
# first.
PEAK_TFLOPS: tuple[tuple[str, float], ...] = (
    ("B200", 2250.0),
    ("GH200", 989.0),
    ("H200 NVL", 835.0),
    ("H200", 989.0),
    ("H100 PCIe", 756.0),
    ("H100 NVL", 835.0),
    ("H100", 989.0),
    ("A100", 312.0),
    ("L40S", 362.0),
    ("L40", 181.0),
    ("L4", 121.0),
    ("A40", 150.0),
    ("A10G", 70.0),
    ("A10", 125.0),
    ("V100", 125.0),
    ("RTX 4090", 165.0),
    ("RTX 3090", 71.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """FLOPs of a step over all ranks if everything were trained, as its plan counts them.

    Attributes:
        weights: of the language model's weights.
        attention: of its attention.
        vision: of the vision tower.
    """

    weights: float
    attention: float
    vision: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CostShares:
    """Which shares of a StepCost are really computed: 1.0 where all is trained, 1/3 for a forward pass alone."""

    weights: float
    attention: float
    vision: float

    def flops(self, cost: StepCost) -> float:
        """FLOPs of a step."""
        return self.weights * cost.weights + self.attention * cost.attention + self.vision * cost.vision


def cost_shares(parameters: Iterable[tuple[str, nn.Parameter]]) -> CostShares:
    """The shares of a model, by which of its named parameters are trained now."""
    total, trained = {"language": 0, "vision": 0}, {"language": 0, "vision": 0}
    for name, parameter in parameters:
        part, numbers = model_part(name), getattr(parameter, "ds_numel", parameter.numel())
        if part in total:
            total[part] += numbers
            trained[part] += numbers * parameter.requires_grad
    share = {part: trained[part] / max(total[part], 1) for part in total}
    reaches_tower = trained["vision"] > 0
    return CostShares(
        weights=(2 + share["language"]) / 3,
        attention=1.0,
        vision=(1 + reaches_tower + share["vision"]) / 3,
    )


_OTHER_CHIP = r"(?!.* (MIG|Laptop)\b)(?! (Ti|D|SUPER)\b)"  # the same name, and not the same speed


def device_peak(dtype: torch.dtype) -> float | None:
    """FLOP/s that this process's GPU gives at most; None where that is not known, or it computes in float32."""
    if not torch.cuda.is_available() or dtype not in (torch.bfloat16, torch.float16):
        return None
    return peak_by_name(torch.cuda.get_device_name())


def peak_by_name(name: str) -> float | None:
    """FLOP/s of a GPU, by whole words of its name: an RTX A4000 is no A40; None where that is not known."""
    found = (peak for known, peak in PEAK_TFLOPS if re.search(rf"\b{known}\b{_OTHER_CHIP}", name))
    return next((peak * 1e12 for peak in found), None)
