"""The largest pack that a plan may make: images to the last patch, words to the last token, all words supervised."""

import numpy as np

from wdstream.batches.batch import Batch
from wdstream.batches.collate import encode_pack
from wdstream.batches.form import BatchForm
from wdstream.families.base import Family
from wdstream.records import IGNORED, Sample

LARGEST_SIDE = 1024
"""Pixels of the sides of its images, unless the family or the budget takes less."""


def full_pack(family: Family, *, sequence_length: int, max_patches: int, form: BatchForm | None = None) -> Batch:
    """One row of `sequence_length` tokens with as many square images as both budgets take, padded as `form` says."""
    side, count = _images(family, sequence_length, max_patches)
    blocks = [family.image_ids(side, side)] * count
    words = sequence_length - sum(map(len, blocks))
    input_ids = np.concatenate([*blocks, np.full(words, family.eos_id, dtype=np.int64)])
    labels = np.concatenate([*(np.full_like(ids, IGNORED) for ids in blocks), np.full(words, family.eos_id)])
    tiles = tuple(np.zeros((side, side, 3), dtype=np.uint8) for _ in blocks)
    sample = Sample(key="", input_ids=input_ids, labels=labels, tiles=tiles, num_patches=0)
    return (form or BatchForm()).batch([encode_pack([sample], family)], family)


def _images(family: Family, sequence_length: int, max_patches: int) -> tuple[int, int]:
    """(side, number) of the images: as large as they may be, and at least one where one fits at all."""
    step = family.size_multiple
    largest = max(min(LARGEST_SIDE, int(family.max_pixels**0.5)) // step, 2) * step
    for side in range(largest, 0, -step):
        tokens, patches = (int(part[0]) for part in family.image_cost(np.array([side]), np.array([side])))
        if tokens <= 0:
            continue
        count = min((sequence_length - 2) // tokens, max_patches // max(patches, 1))
        if count:
            return side, count
    return step, 0
