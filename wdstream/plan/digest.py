"""64-bit digests of steps: of what is planned, which ranks compare; of the pages by name, for the ledger of a run."""

import hashlib
from collections.abc import Iterable, Sequence

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


def pack_digest(number: int, keys: Sequence[str]) -> int:
    """64 bits of sha256 over a pack's number and its keys in order."""
    text = "\n".join((str(number), *keys))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def pages_digest(packs: Iterable[tuple[int, Sequence[str]]]) -> str:
    """16 hex digits over (pack number, keys) of a step: a sum, so the deal to ranks does not matter."""
    return f"{sum(pack_digest(number, keys) for number, keys in packs) % (1 << 64):016x}"
