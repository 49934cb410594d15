"""Collate: packs to batches of tensors."""

from functools import partial

from wdstream.batches.batch import Batch
from wdstream.batches.collate import collate, encode_pack
from wdstream.families.base import Family
from wdstream.nodes.label import check_family
from wdstream.nodes.mapper import BatchMap
from wdstream.nodes.node import Node
from wdstream.records import Sample


class Collate(BatchMap[list[Sample], Batch]):
    """Every `micro_batch_size` packs (lists of samples, as Pack gives them) to one batch, see batches/batch.py."""

    def __init__(
        self, source: Node[list[Sample]], *, family: Family, micro_batch_size: int = 1, drop_last: bool = False
    ) -> None:
        check_family(family, "Collate")
        super().__init__(source, partial(batch_samples, family=family), size=micro_batch_size, drop_last=drop_last)


def batch_samples(packs: list[list[Sample]], *, family: Family) -> list[Batch]:
    """One batch, in a list, of some packs of samples."""
    return [collate([encode_pack(samples, family) for samples in packs], family)]
