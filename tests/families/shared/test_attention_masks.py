"""Masks of packed rows: literal ones, and equal to the masks of the documents each by itself."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wdstream.families.shared.attention import additive, image_blocks, mask_arrays, prompt_blocks, visible

IMAGE = 9


def batch_of(rows: list[list[list[int]]], *, supervised: list[list[int]] | None = None) -> dict[str, Any]:
    """Arrays of rows of documents, each a list of ids; blocks are images, or prompts where `supervised` has labels."""
    ids = np.array([[number for document in row for number in document] for row in rows], dtype=np.int64)
    lengths = [[len(document) for document in row] for row in rows]
    if supervised is None:
        blocks = image_blocks(ids, IMAGE)
    else:
        blocks = prompt_blocks(np.array(supervised, dtype=np.int64), lengths)
    return {name: torch.from_numpy(array) for name, array in mask_arrays(blocks, lengths).items()}


def drawn(mask: torch.Tensor) -> list[str]:
    """A mask (L, L) as lines of x and dots."""
    return ["".join("x" if seen else "." for seen in row) for row in mask.tolist()]


def test_images_of_the_second_document_see_both_ways() -> None:
    batch = batch_of([[[1, IMAGE, IMAGE, 2], [3, 4, IMAGE, IMAGE]]])
    assert batch["document_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    assert batch["block_ids"].tolist() == [[-1, 0, 0, -1, -1, -1, 1, 1]]
    assert batch["block_ids"].dtype == batch["document_ids"].dtype == torch.int32
    assert drawn(visible(batch, "cpu")[0]) == [
        "x.......",
        "xxx.....",
        "xxx.....",
        "xxxx....",
        "....x...",
        "....xx..",
        "....xxxx",
        "....xxxx",
    ]


def test_window_and_causal_layers() -> None:
    batch = batch_of([[[1, 2, IMAGE, IMAGE, IMAGE, 3]]])
    assert drawn(visible(batch, "cpu", window=2)[0]) == ["x.....", "xx....", ".xxxx.", "..xxx.", "...xx.", "....xx"]
    assert drawn(visible(batch, "cpu", has_blocks=False)[0]) == drawn(torch.ones(6, 6).tril() > 0)
    # Backwards the window holds inside an image too, forwards it sets no limit: as in the model's own mask.
    assert drawn(visible(batch, "cpu", window=1)[0])[2:5] == ["..xxx.", "...xx.", "....x."]


def test_prompts_end_where_learning_begins() -> None:
    batch = batch_of([[[1, 2, 3, 4], [5, 6], [7]]], supervised=[[-100, -100, 3, 4, -100, -100, 7]])
    assert batch["block_ids"].tolist() == [[0, 0, -1, -1, 1, 1, -1]]
    assert drawn(visible(batch, "cpu")[0]) == [
        "xx.....",
        "xx.....",
        "xxx....",
        "xxxx...",
        "....xx.",
        "....xx.",
        "......x",
    ]


def test_two_images_do_not_see_each_other_both_ways() -> None:
    mask = visible(batch_of([[[IMAGE, IMAGE, 1, IMAGE, IMAGE]]]), "cpu")[0]
    assert drawn(mask) == ["xx...", "xx...", "xxx..", "xxxxx", "xxxxx"]


def test_additive_mask() -> None:
    allowed = torch.tensor([[[True, False], [True, True]]])
    for dtype in (torch.float32, torch.bfloat16):
        mask = additive(allowed, dtype)
        assert mask.dtype == dtype
        assert mask.tolist() == [[[[0.0, torch.finfo(dtype).min], [0.0, 0.0]]]]


def test_no_rows_and_no_tokens() -> None:
    empty = mask_arrays(image_blocks(np.empty((2, 0), dtype=np.int64), IMAGE), [[], []])
    assert {name: array.shape for name, array in empty.items()} == {"document_ids": (2, 0), "block_ids": (2, 0)}


DOCUMENT = st.lists(st.sampled_from([1, IMAGE]), min_size=1, max_size=9)


@settings(deadline=None, max_examples=150)
@given(
    rows=st.lists(st.lists(DOCUMENT, min_size=1, max_size=4), min_size=1, max_size=3),
    window=st.none() | st.integers(1, 6),
    has_blocks=st.booleans(),
)
def test_packed_masks_are_those_of_the_documents(
    rows: list[list[list[int]]], window: int | None, has_blocks: bool
) -> None:
    longest = max(sum(map(len, row)) for row in rows)
    padded = [[*row, [0] * (longest - sum(map(len, row)))] for row in rows]
    padded = [[document for document in row if document] for row in padded]
    found = visible(batch_of(padded), "cpu", window=window, has_blocks=has_blocks)
    for row, documents in enumerate(padded):
        expected = torch.zeros(longest, longest, dtype=torch.bool)
        start = 0
        for one in documents:
            alone = visible(batch_of([[one]]), "cpu", window=window, has_blocks=has_blocks)[0]
            expected[start : start + len(one), start : start + len(one)] = alone
            start += len(one)
        assert torch.equal(found[row], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_query_is_without_a_key(dtype: torch.dtype) -> None:
    """A row of nothing but the lowest number would make its softmax see everything."""
    batch = batch_of([[[1, IMAGE, IMAGE], [1], [0, 0, 0]]])
    for window in (None, 1, 2):
        assert (additive(visible(batch, "cpu", window=window), dtype).amax(dim=-1) == 0).all()
