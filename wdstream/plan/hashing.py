"""A 64-bit mix of integers: all randomness of the plan comes from here.

splitmix64's finalizer (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"; constants of
Vigna's public domain version). It is a bijection of 64 bits, so different numbers never collide, and unlike the
streams of a library's random generators it will be the same in ten years.

64-bit digests of steps: of what is planned, which ranks compare; of the pages by name, for the ledger of a run.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from wdstream.records import StepPlan

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def splitmix64(value: int) -> int:
    """Mix one integer of 64 bits (taken modulo 2**64) into another."""
    z = (value + _GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * _MIX_1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX_2) & _MASK
    return z ^ (z >> 31)


def splitmix64_array(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`splitmix64` of each value; same shape."""
    z = values + np.uint64(_GAMMA)  # unsigned arrays wrap around, which is what is wanted
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX_2)
    return z ^ (z >> np.uint64(31))


def combine(*values: int) -> int:
    """One 64-bit key from several integers; their order matters."""
    key = 0
    for value in values:
        key = splitmix64(key ^ splitmix64(value & _MASK))
    return key


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


def pack_digest(number: int, keys: Sequence[str]) -> int:
    """64 bits of sha256 over a pack's number and its keys in order."""
    text = "\n".join((str(number), *keys))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def pages_digest(packs: Iterable[tuple[int, Sequence[str]]]) -> str:
    """16 hex digits over (pack number, keys) of a step: a sum, so the deal to ranks does not matter."""
    return f"{sum(pack_digest(number, keys) for number, keys in packs) % (1 << 64):016x}"
