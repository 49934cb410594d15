import numpy as np
import pytest

from wdstream.errors import PlanError
from wdstream.plan.deal import CostModel, training_flops


def test_formula() -> None:
    cost = CostModel(per_token=10, per_token_squared=2, per_patch=3, per_image_patch_squared=5)
    assert [cost.language(tokens) for tokens in (1, 4)] == [12, 72]
    assert cost.vision(np.array([1, 4])).tolist() == [8, 92]


def test_training_flops_of_a_small_model() -> None:
    cost = training_flops(
        language_parameters=1000,
        language_layers=2,
        language_width=16,
        vision_parameters=500,
        vision_layers=1,
        vision_width=8,
    )
    assert cost == CostModel(per_token=6000, per_token_squared=192, per_patch=3000, per_image_patch_squared=96)


@pytest.mark.parametrize("value", [-1, 0.5])
def test_coefficients_are_integers(value: float) -> None:
    with pytest.raises(PlanError, match=r"CostModel.per_patch: expected an integer of at least 0"):
        CostModel(per_patch=value)  # type: ignore[arg-type]
