"""What reaches a flash-attention kernel through transformers' real glue; the kernel, which needs a GPU, is torch here.

A kernel of variable lengths sees documents only through cu_seqlens and max_seqlen. The glue takes them from the batch
if all four are there; with positions alone it takes two rows for dense ones, and documents see each other.

Spans: batches, families.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForImageTextToText, modeling_flash_attention_utils

from wdstream.batches.collate import collate, encode_pack
from wdstream.families.base import Family
from wdstream.families.registry import FAMILIES as KNOWN
from wdstream.testing import assert_no_leak, make_samples

Call = tuple[list[int], list[int], int, int]


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None) -> torch.Tensor:
    """Causal attention of (L, heads, size), grouped keys repeated."""
    groups = query.shape[1] // key.shape[1]
    query, key, value = (part.transpose(0, 1) for part in (query, key, value))
    key, value = (part.repeat_interleave(groups, dim=0) for part in (key, value))
    return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale).transpose(0, 1)


def dense_kernel(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    rows = zip(query, key, value, strict=True)
    return torch.stack([attend(*row, kwargs["softmax_scale"]) for row in rows])


def varlen_kernel(
    calls: list[Call], query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **kwargs: Any
) -> torch.Tensor:
    starts, ends = kwargs["cu_seqlens_q"].tolist(), kwargs["cu_seqlens_k"].tolist()
    assert kwargs["cu_seqlens_q"].dtype == torch.int32
    assert type(kwargs["max_seqlen_q"]) is type(kwargs["max_seqlen_k"]) is int
    calls.append((starts, ends, kwargs["max_seqlen_q"], kwargs["max_seqlen_k"]))
    spans = [slice(start, end) for start, end in pairwise(starts)]
    parts = [attend(query[span], key[span], value[span], kwargs["softmax_scale"]) for span in spans]
    return torch.cat(parts)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Call]]:
    """Put torch kernels where the glue looks for a GPU's; yields what the kernel of variable lengths was given."""
    seen: list[Call] = []

    def settings(**kwargs: Any) -> dict[str, Any]:
        return {name: kwargs.get(name) for name in ("softmax_scale", "max_seqlen_q", "max_seqlen_k")}

    kernels = (dense_kernel, partial(varlen_kernel, seen), None, None, None)
    monkeypatch.setattr(
        modeling_flash_attention_utils, "lazy_import_flash_attention", lambda *_: (kernels, (settings, settings))
    )
    yield seen


def load(family: Family) -> torch.nn.Module:
    """The tiny model, its language model set to use flash attention; the vision tower keeps sdpa."""
    model = AutoModelForImageTextToText.from_pretrained(family.model_dir, dtype=torch.float32)
    model.config.get_text_config()._attn_implementation = "flash_attention_2"
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed" not in name:
                weight.mul_(3.0)
    evaluated: torch.nn.Module = model.eval()
    return evaluated


FAMILIES = [
    *(
        "qwen2_vl",
        "qwen2_5_vl",
        "qwen3_vl",
        "idefics3",
        "smolvlm",
        "llava_onevision",
        "internvl",
        "got_ocr2",
        "lighton_ocr",
    ),
    *("glm4v", "paddleocr_vl", "llava", "mistral3", "aya_vision"),
]


def test_families_for_flash_attention_are_all_here(families: dict[str, Family]) -> None:
    assert {name for name in KNOWN if "flash_attention_2" in families[name].attention} == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_limits_of_documents_reach_the_kernel(name: str, families: dict[str, Family], calls: list[Call]) -> None:
    family = families[name]
    samples = make_samples(family)
    batch = collate([encode_pack(samples[:2], family), encode_pack(samples[2:4], family)], family)
    inputs = family.model_inputs(batch, device="cpu", dtype=torch.float32)
    model = load(family)
    with torch.no_grad():
        logits = model(**inputs).logits
    limits = batch["cu_seq_lens_q"].tolist()
    assert limits[-1] == batch["input_ids"].numel()
    assert len(limits) == 2 + 2 + 1 + 1  # documents of both rows, the padding of the shorter row, and the end
    assert calls == [(limits, limits, batch["max_length_q"], batch["max_length_q"])] * 3  # one call a layer
    with torch.no_grad():
        for row, start, sample in [(0, 0, samples[0]), (1, samples[2].num_tokens, samples[3])]:
            alone = collate([encode_pack([sample], family)], family)
            expected = model(**family.model_inputs(alone, device="cpu", dtype=torch.float32)).logits[0]
            found = logits[row, start : start + sample.num_tokens]
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_no_leak_and_seeded_faults(families: dict[str, Family], calls: list[Call]) -> None:
    family = families["qwen2_5_vl"]
    model, samples = load(family), make_samples(family)[:3]
    assert_no_leak(model, family, samples)

    def off_by_one(inputs: dict[str, Any]) -> dict[str, Any]:
        limits = inputs["cu_seq_lens_q"].clone()
        limits[1:-1] += 1
        return {**inputs, "cu_seq_lens_q": limits, "cu_seq_lens_k": limits}

    def one_document(inputs: dict[str, Any]) -> dict[str, Any]:
        limits = torch.tensor([0, inputs["input_ids"].numel()], dtype=torch.int32)
        return {**inputs, "cu_seq_lens_q": limits, "cu_seq_lens_k": limits}

    for fault in (off_by_one, one_document):
        with pytest.raises(AssertionError, match=r"see each other|something else in a pack"):
            assert_no_leak(model, family, samples, alter=fault)


def test_positions_alone_leak_over_two_rows(families: dict[str, Family], calls: list[Call]) -> None:
    """Why a batch carries both: the glue reads packing from positions only for a single row."""
    family = families["qwen2_5_vl"]
    model, samples = load(family), make_samples(family)
    batch = collate([encode_pack(samples[:2], family), encode_pack(samples[2:4], family)], family)
    inputs = family.model_inputs(batch, device="cpu", dtype=torch.float32)
    with torch.no_grad():
        right = model(**inputs).logits
        wrong = model(**{key: value for key, value in inputs.items() if "length" not in key}).logits
    assert float((right - wrong).abs().max()) > 0.01
