"""Packs of items, as the planner has them."""

from collections.abc import Sequence

import numpy as np

from wdstream.plan.packer import Item
from wdstream.plan.step_columns import NUM_FIELDS, PackedSamples


def packed(packs: Sequence[Sequence[Item]]) -> PackedSamples:
    """Packs of these items, in order."""
    values = np.array([item for pack in packs for item in pack], dtype=np.int64).reshape(-1, NUM_FIELDS).T
    return PackedSamples.of([values], [len(pack) for pack in packs])
