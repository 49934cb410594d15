"""Rows of one length: the same documents, more padding, and shapes that do not depend on what is in them."""

import pytest
import torch

from wdstream.batches.batch import Batch
from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.form import BatchForm
from wdstream.errors import PlanError
from wdstream.families.base import Family
from wdstream.testing import make_samples


def shapes(batch: Batch) -> dict[str, object]:
    texts = {"input_ids", "labels", "position_ids", "cu_seq_lens_q", "cu_seq_lens_k"}
    lengths = {name: batch[name] for name in ("max_length_q", "max_length_k")}
    return {name: tuple(batch[name].shape) for name in texts} | lengths


@pytest.mark.parametrize("name", ["qwen2_5_vl", "gemma3"])
def test_shapes_do_not_depend_on_the_documents(name: str, families: dict[str, Family]) -> None:
    family = families[name].for_attention("sdpa")
    samples = make_samples(family)
    form = BatchForm(row_length=2048)
    batches = [
        form.batch([encode_pack(part, family), encode_pack([], family)], family)
        for part in (samples, samples[1:2], [samples[1]] * 40)
    ]
    assert [shapes(batch) for batch in batches] == [shapes(batches[0])] * 3
    assert batches[0].input_ids.shape == (2, 2048)
    assert len(batches[0].cu_seq_lens_q) == 65


def test_rows_may_have_as_many_documents_each(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    samples, form = make_samples(family), BatchForm(row_length=2048, row_documents=42)
    packs = [encode_pack(part, family) for part in (samples, samples[1:2], [samples[1]] * 40, [])]
    assert {len(form.batch(pair, family).cu_seq_lens_q) for pair in (packs[:2], packs[2:])} == {85}
    more = BatchForm(row_length=2048, row_documents=20)  # than were thought: a state of another pool
    assert len(more.batch(packs[2:3], family).cu_seq_lens_q) == 65


def test_limits_come_again_at_the_end_alone(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    packs = [encode_pack(make_samples(family)[:2], family)]
    plain, fixed = (collate(packs, family, pad_to=1024), BatchForm(row_length=1024).batch(packs, family))
    limits = plain.cu_seq_lens_q
    assert torch.equal(fixed.cu_seq_lens_q[: len(limits)], limits)
    assert fixed.cu_seq_lens_q.dtype == torch.int32
    assert set(fixed.cu_seq_lens_q[len(limits) :].tolist()) == {1024}
    assert fixed.max_length_q == fixed.max_length_k == 1024
    for key in ("input_ids", "labels", "position_ids"):
        assert torch.equal(fixed[key], plain[key])


def test_by_default_nothing_is_changed(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    packs = [encode_pack(make_samples(family)[:2], family)]
    plain, same = collate(packs, family), BatchForm().batch(packs, family)
    assert plain.keys() == same.keys()
    assert all(
        torch.equal(plain[key], same[key]) if isinstance(plain[key], torch.Tensor) else plain[key] == same[key]
        for key in plain
    )


def test_a_pack_that_is_longer_is_an_error(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    with pytest.raises(PlanError, match="more than the 8 of a row"):
        BatchForm(row_length=8).batch([encode_pack(make_samples(family)[:1], family)], family)
