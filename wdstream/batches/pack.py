"""Samples to one pack: everything a rank computes for a row, as arrays; the last station before collate."""

from collections.abc import Sequence

import numpy as np

from wdstream.families.base import Family
from wdstream.records import EncodedPack, Failure, Sample


def encode_pack(
    samples: Sequence[Sample], family: Family, *, number: int = 0, failures: Sequence[Failure] = ()
) -> EncodedPack:
    """Lay samples end to end: ids, labels, positions that restart per document, and all pixels in one buffer.

    Args:
        samples: the documents, in order; none gives an empty pack.
        family: lays out pixels and positions.
        number: the pack's number in the run.
        failures: pages that failed and keep their slot.
    """
    empty = np.empty(0, dtype=np.int64)
    positions = [
        family.positions(sample.input_ids, [(tile.shape[1], tile.shape[0]) for tile in sample.tiles])
        for sample in samples
    ]
    return EncodedPack(
        number=number,
        input_ids=np.concatenate([empty, *(sample.input_ids for sample in samples)]),
        labels=np.concatenate([empty, *(sample.labels for sample in samples)]),
        position_ids=np.concatenate([empty.reshape(1, 0).repeat(family.num_position_rows, 0), *positions], axis=1),
        lengths=tuple(sample.num_tokens for sample in samples),
        pixels=family.layout([tile for sample in samples for tile in sample.tiles]),
        keys=tuple(sample.key for sample in samples),
        failures=tuple(failures),
    )
