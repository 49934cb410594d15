"""The largest pack: all tokens, and images up to the patches that there may be."""

import pytest

from wdstream.families.base import Family
from wdstream.train.memory.full_pack import full_pack


@pytest.mark.parametrize("name", ["qwen2_5_vl", pytest.param("idefics3", marks=pytest.mark.slow)])
def test_it_fills_both_budgets(name: str, families: dict[str, Family]) -> None:
    family = families[name]
    batch = full_pack(family, sequence_length=2048, max_patches=4096)
    assert batch.input_ids.shape == (1, 2048)
    images = int((batch.input_ids == family.image_id).sum())
    assert 0 < images < 2048
    assert (batch.labels != -100).sum() > 0
    small = full_pack(family, sequence_length=2048, max_patches=1)
    assert int((small.input_ids == family.image_id).sum()) == 0
