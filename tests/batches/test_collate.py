"""Packs to rows: positions restart, limits of documents cover all rows, padding is one more document."""

import numpy as np
import pytest
import torch

from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.sample import build_sample
from wdstream.errors import PlanError
from wdstream.families.base import Family
from wdstream.records import EncodedPack, Failure
from wdstream.testing import make_document


def pack(family: Family, *documents: list[str | tuple[int, int]], number: int = 0) -> EncodedPack:
    samples = [build_sample(make_document(f"k{n}", parts), family) for n, parts in enumerate(documents)]
    failures = [Failure(key="k0", sample=7, reason="truncated")] if number == 3 else []
    return encode_pack(samples, family, number=number, failures=failures)


def test_pack_concatenates_documents(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    row = pack(family, [(56, 112), "ab"], ["only text here"])
    first, second = row.lengths
    assert row.keys == ("k0", "k1")
    assert row.position_ids.shape == (4, first + second)
    assert row.position_ids[0].tolist() == [*range(first), *range(second)]
    assert row.position_ids[:, first:].tolist() == [list(range(second))] * 4
    assert row.pixels["pixel_values"].shape == (32, 588)
    assert row.pixels["pixel_values"].dtype == np.uint8
    assert row.pixels["image_grid_thw"].tolist() == [[1, 8, 4]]
    assert row.labels[first] == -100


def test_batch_of_two_rows(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    long = pack(family, [(56, 56), "some words and more words"], ["text"], number=2)
    short = pack(family, [(84, 56)], number=3)
    batch = collate([long, short], family)
    length = len(long.input_ids)
    rest = length - len(short.input_ids)
    limits = np.cumsum([0, *long.lengths, *short.lengths, rest]).tolist()
    assert batch["input_ids"].shape == batch["labels"].shape == (2, length)
    assert batch["position_ids"].shape == (4, 2, length)
    assert batch["position_ids"][:, 1, -rest:].tolist() == [list(range(rest))] * 4
    assert batch["input_ids"][1, -rest:].tolist() == [family.pad_id] * rest
    assert (batch["labels"][1, -rest:] == -100).all()
    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == limits
    assert batch["cu_seq_lens_q"].dtype == torch.int32
    assert batch["max_length_q"] == batch["max_length_k"] == max(*long.lengths, *short.lengths, rest)
    assert type(batch["max_length_q"]) is int
    assert batch["image_grid_thw"].tolist() == [[1, 4, 4], [1, 4, 6]]
    assert batch["pixel_values"].dtype == torch.uint8
    assert batch["keys"] == [["k0", "k1"], ["k0"]]
    assert batch["packs"] == [2, 3]
    assert batch["lengths"] == [list(long.lengths), list(short.lengths)]
    assert batch["failures"] == [Failure(key="k0", sample=7, reason="truncated")]
    assert "attention_mask" not in batch


def test_pad_to_a_fixed_length(families: dict[str, Family]) -> None:
    family = families["qwen3_vl"]
    row = pack(family, ["words"])
    batch = collate([row], family, pad_to=50)
    assert batch["input_ids"].shape == (1, 50)
    assert batch["cu_seq_lens_q"].tolist() == [0, len(row.input_ids), 50]
    assert batch["max_length_q"] == 50 - len(row.input_ids)
    with pytest.raises(PlanError, match=f"{len(row.input_ids)} tokens, more than the 2 of a row"):
        collate([row], family, pad_to=2)


def test_no_pack_is_an_error(families: dict[str, Family]) -> None:
    with pytest.raises(PlanError, match="at least one pack"):
        collate([], families["qwen3_vl"])


def test_an_empty_pack_is_all_padding(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    batch = collate([pack(family)], family, pad_to=8)
    assert batch["input_ids"].tolist() == [[family.pad_id] * 8]
    assert batch["cu_seq_lens_q"].tolist() == [0, 8]
    assert len(batch["image_grid_thw"]) == 0


def test_model_inputs_drop_metadata(families: dict[str, Family]) -> None:
    family = families["qwen2_5_vl"]
    with_image = collate([pack(family, [(56, 56), "a"])], family)
    inputs = family.model_inputs(with_image, device="cpu", dtype=torch.float32)
    assert set(inputs) == {
        *("input_ids", "labels", "position_ids", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"),
        *("use_cache", "pixel_values", "image_grid_thw"),
    }
    assert inputs["use_cache"] is False
    assert inputs["pixel_values"].shape == (16, 1176)
    assert inputs["pixel_values"].dtype == torch.float32
    text_only = family.model_inputs(collate([pack(family, ["a"])], family), device="cpu", dtype=torch.float32)
    assert "pixel_values" not in text_only
