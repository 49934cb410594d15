"""A 64-bit digest of steps: ranks compare it now and then, and stop when their plans are not the same."""

import hashlib
from collections.abc import Iterable

import numpy as np

from wdstream.records import StepPlan


def step_digest(step: StepPlan) -> int:
    """64 bits over a step's number and its packs: samples, lengths and scales, in order; not over the deal."""
    packs = [
        np.array(
            [pack.number, len(pack.samples), *pack.samples, *pack.tokens, *pack.patches, *pack.scales], dtype="<i8"
        )
        for pack in step.packs
    ]
    digest = hashlib.blake2b(np.concatenate([[step.step], *packs]).astype("<i8").tobytes(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def join_digests(digests: Iterable[int]) -> int:
    """One digest of several, in order; fits a signed 64-bit integer, so it can be gathered as a tensor."""
    joined = hashlib.blake2b(digest_size=8)
    for digest in digests:
        joined.update(digest.to_bytes(8, "little"))
    return int.from_bytes(joined.digest(), "little") >> 1
