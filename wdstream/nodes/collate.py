"""Collate: packs to batches of tensors."""

from functools import partial
from typing import Any

from wdstream.batches.collate import collate
from wdstream.batches.pack import encode_pack
from wdstream.families.base import Family
from wdstream.nodes.mapper import BatchMap
from wdstream.nodes.node import Node
from wdstream.pipeline.build_pack import BuiltPack
from wdstream.records import Sample


class Collate(BatchMap[list[Sample], dict[str, Any]]):
    """Every `micro_batch_size` packs (lists of samples, as Pack gives them) to one batch, see batches/collate.py."""

    def __init__(
        self, source: Node[list[Sample]], *, family: Family, micro_batch_size: int = 1, drop_last: bool = False
    ) -> None:
        super().__init__(source, partial(batch_packs, family=family), size=micro_batch_size, drop_last=drop_last)


def batch_packs(packs: list[list[Sample]], *, family: Family) -> list[dict[str, Any]]:
    """One batch, in a list, of some packs."""
    return [collate([encode_pack(samples, family) for samples in packs], family)]


def batch_built(built: list[BuiltPack], *, family: Family) -> list[dict[str, Any]]:
    """One batch, in a list, of some packs of one step.

    Beside what collate gives: `step`; `num_supervised` of the step over all ranks; `num_patches` of the batch;
    `pixel_shapes`, the shape of each pixel array of each pack before they were joined, so that one can tell whose
    pixels are whose; and `unfit`, the pages that were passed over.
    """
    batch = collate([entry.pack for entry in built], family)
    shapes = [{name: array.shape for name, array in entry.pack.pixels.items()} for entry in built]
    unfit = [page for entry in built for page in entry.unfit]
    counts = {"num_supervised": built[0].num_supervised, "num_patches": sum(entry.num_patches for entry in built)}
    return [{**batch, "step": built[0].step, **counts, "pixel_shapes": shapes, "unfit": unfit}]
