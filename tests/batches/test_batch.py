"""A batch is a record whose items are a mapping as well."""

import pickle
from pathlib import Path

import pytest
import torch

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
