"""Datasets in memory whose texts have paragraphs, for plans that split."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.helpers.plan_data import Columns, Ints


@dataclass
class LongPages(Columns):
    """Samples with the tokens of their paragraphs; whole texts have as many as all paragraphs together and `joints`."""

    paragraph_tokens: Sequence[Sequence[int]] = field(default_factory=list)

    def paragraphs(self, fingerprint: str) -> tuple[Ints, Ints]:
        assert fingerprint == "e" * 32
        starts = np.concatenate(([0], np.cumsum([len(row) for row in self.paragraph_tokens]))).astype(np.int64)
        return starts, np.array([count for row in self.paragraph_tokens for count in row], dtype=np.int32)


def rows(
    samples: Sequence[tuple[Sequence[int], Sequence[tuple[int, int]]]],
    *,
    shard: int = 10,
    joints: int = 0,
    seed: int = 0,
) -> LongPages:
    """Samples as (tokens of paragraphs, sizes of images); with less than two paragraphs there is nothing to split.

    `joints`: tokens that a whole text has more than its paragraphs.
    """
    return LongPages(
        text_tokens=np.array([sum(paragraphs) + joints * (len(paragraphs) > 1) for paragraphs, _ in samples]),
        sizes=[list(images) for _, images in samples],
        shard_starts=np.arange(0, len(samples), shard),
        fingerprint=f"{seed:032x}",
        paragraph_tokens=[paragraphs if len(paragraphs) > 1 else [] for paragraphs, _ in samples],
    )


def long_pages(count: int, *, shard: int = 10, seed: int = 0) -> LongPages:
    """Pages of 1 to 12 paragraphs of up to 40 tokens, some of many more, with one small image or none."""
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(count):
        paragraphs = rng.integers(0, 41, rng.integers(1, 13)) + 100 * (rng.random() < 0.1)
        images = [tuple(map(int, rng.integers(1, 120, 2)))] * int(rng.integers(0, 2))
        samples.append((paragraphs.tolist(), images))
    return rows(samples, shard=shard, seed=seed)  # type: ignore[arg-type]
