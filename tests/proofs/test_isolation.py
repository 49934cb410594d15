"""Packed equals unpacked, in logits and gradients, and padding never matters: every family, tiled and untiled."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.helpers.isolation import FLAGGED, documents, gradients, inputs_of, load, ones_mask
from tests.helpers.published import SPLITTING
from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.families.registry import FAMILIES
from wdstream.proofs.isolation import without_compiler
from wdstream.testing import assert_no_leak

Loaded = tuple[torch.nn.Module, Family]
CASES = [
    (name, mode, attention)
    for name in FAMILIES
    for mode in ("tiled", "untiled")[: 1 + (name in SPLITTING)]
    for attention in ("sdpa", "eager")
    if (name, attention) != ("paligemma2", "sdpa")  # refused: sdpa cannot cap attention scores
]
WITHOUT_FLEX = ("glm4v", "qwen2_5_vl", "qwen2_vl", "qwen3_vl")
QUICK_FLEX = ("gemma3", "internvl")


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def loaded(
    request: pytest.FixtureRequest, families: dict[str, Family], whole_families: dict[str, Family]
) -> Iterator[Loaded]:
    name, mode, attention = request.param
    family = families[name] if mode == "tiled" else whole_families[name]
    yield load(family, attention), family.for_attention(attention)


def test_packed_is_unpacked(loaded: Loaded) -> None:
    """Logits within 1e-5; changing one document changes no other by anything."""
    model, family = loaded
    samples = documents(family)
    if family.is_splitting:
        assert len(family.layout(samples[0].tiles)["pixel_values"]) > 1
    found = assert_no_leak(model, family, samples, tolerance=1e-5, max_leak=0.0)
    assert found.leak == 0.0
    assert found.scale > 0.1


def test_gradients_of_a_pack_are_the_sum_of_its_documents(loaded: Loaded) -> None:
    model, family = loaded
    samples = documents(family)
    alone_loss, alone = gradients(model, [inputs_of(family, [[sample]]) for sample in samples])
    packed_loss, packed = gradients(model, [inputs_of(family, [samples])])
    # Two rows, both padded: neither rows nor padding change anything.
    parts = [samples[:2], samples[2:]]
    longest = max(sum(sample.num_tokens for sample in part) for part in parts)
    rows_loss, rows = gradients(model, [inputs_of(family, parts, pad_to=longest + 9)])
    assert packed.keys() == alone.keys() == rows.keys()
    whole = float(torch.stack([gradient.norm() for gradient in alone.values()]).norm())
    for found_loss, found in ((packed_loss, packed), (rows_loss, rows)):
        assert found_loss == pytest.approx(alone_loss, rel=1e-6)
        for name, gradient in alone.items():
            # Some (biases of keys without rotary positions) have a true gradient of 0 and show rounding alone.
            size = max(float(gradient.norm()), 0.1 * whole)
            assert float((found[name] - gradient).norm()) <= 1e-5 * size, name


def test_padding_never_matters(loaded: Loaded) -> None:
    model, family = loaded
    samples = documents(family)[:2]
    length = sum(sample.num_tokens for sample in samples)
    with torch.no_grad():
        bare = model(**inputs_of(family, [samples])).logits
        inputs = inputs_of(family, [samples], pad_to=length + 7)
        padded = model(**inputs).logits
        inputs["input_ids"][:, length:] = family.eos_id
        changed = model(**inputs).logits
    torch.testing.assert_close(padded[:, :length], bare, rtol=0, atol=1e-5)
    assert torch.equal(changed[:, :length], padded[:, :length])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK_FLEX else pytest.mark.slow) for name in FAMILIES]
)
def test_flex_attention_forward(name: str, families: dict[str, Family]) -> None:
    """All parts of the model under flex attention; PyTorch has no backward of it on CPU. Where transformers has none,
    the family says so."""
    if name in WITHOUT_FLEX:
        with pytest.raises(FamilyError, match="its class in transformers knows no other"):
            families[name].for_attention("flex_attention")
        with pytest.raises(ValueError, match="does not support an attention implementation through torch's flex"):
            load(families[name], "flex_attention")
        return
    family = families[name].for_attention("flex_attention")
    model, samples = load(family, "flex_attention"), documents(family)
    config: Any = model.config
    assert config.get_text_config()._attn_implementation == "flex_attention"
    with without_compiler():
        assert assert_no_leak(model, family, samples[:4], tolerance=1e-5, max_leak=0.0).leak == 0.0
        with pytest.raises(AssertionError, match=FLAGGED):
            assert_no_leak(model, family, samples[:2], alter=ones_mask)
