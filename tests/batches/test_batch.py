"""A batch is a dict whose items are attributes as well."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from accelerate.utils import send_to_device

from wdstream.batches.collate import collate, encode_pack
from wdstream.batches.sample import build_sample
from wdstream.families.registry import load_family
from wdstream.proofs.documents import make_document


def test_every_field_is_an_item(tiny_models: dict[str, Path]) -> None:
    family = load_family(tiny_models["qwen2_5_vl"])
    batch = collate([encode_pack([build_sample(make_document("k", [(112, 84), "words"]), family)], family)], family)
    items = {**batch}
    assert len(items) == len(batch)
    assert items["keys"] == batch.page_keys == [["k"]]
    assert items["input_ids"] is batch.input_ids
    assert items["pixel_values"] is batch["pixel_values"] is batch.arrays["pixel_values"]
    assert batch.num_patches == len(batch["pixel_values"])
    assert "pixels" not in batch
    assert batch.get("arrays") is None
    with pytest.raises(KeyError, match="pixels"):
        batch["pixels"]
    assert repr(batch) == f"<Batch of step None: 1 packs of {batch.lengths[0][0]} tokens, 1 pages, 48 patches>"
    again = pickle.loads(pickle.dumps(batch))
    assert torch.equal(again.labels, batch.labels)
    assert again.keys() == batch.keys()
    assert type(again) is type(batch)
    with pytest.raises(AttributeError, match="the batch has no pixels; it has input_ids, labels"):
        batch.pixels  # noqa: B018
    with pytest.raises(AttributeError):
        batch.step = 3  # an attribute would not be an item


def test_what_is_done_to_batches_takes_it(tiny_models: dict[str, Path]) -> None:
    family = load_family(tiny_models["qwen2_5_vl"])
    batch = collate([encode_pack([build_sample(make_document("k", [(112, 84), "words"]), family)], family)], family)
    moved = send_to_device(batch, "cpu")
    assert type(moved) is type(batch)
    assert torch.equal(moved.labels, batch.labels)
    assert type(copy.copy(batch)) is type(batch)
    by_hand = {key: value.to("cpu") if hasattr(value, "to") else value for key, value in batch.items()}
    for inputs in (moved, by_hand):
        assert "keys" not in family.model_inputs(inputs, device="cpu", dtype=torch.float32)
    batch["weight"] = 2
    assert batch.pop("keys") == [["k"]]
    batch |= {"labels": batch.labels + 1}
    assert batch.labels is batch["labels"]
    assert "weight" not in batch.arrays
    assert "weight" in repr(batch)
