"""Synthetic documents to try a model or a recipe with: small, of every kind that packing must get right."""

import random
from collections.abc import Sequence

import numpy as np

from wdstream.batches.sample import build_sample
from wdstream.families.base import Family
from wdstream.records import ImageSegment, LabelledPage, Pixels, Sample, Segment, Size, TextSegment

PROOF_DOCUMENTS: dict[str, tuple[str | Size, ...]] = {
    "image-first": ((60, 90), "A page and its text."),
    "text-only": ("Plain words, no image at all, and a few more of them.",),
    "several": ((90, 60), "\n<row0_col0>", (64, 64), "\n<row0_col1>", (40, 100), "Text after three tiles."),
    "image-last": ("The image comes last.", (56, 84)),
    "image-between": ("Before,", (112, 56), "and after."),
}


def make_document(key: str, parts: Sequence[str | Size], *, seed: int = 0) -> LabelledPage:
    """A labelled page from texts and tile sizes in reading order; the tiles hold noise.

    Args:
        key: of the page.
        parts: a text (supervised), or the (width, height) of a tile.
        seed: of the noise.
    """
    noise = random.Random(f"{seed}/{key}")
    segments: list[Segment] = []
    tiles: list[Pixels] = []
    for part in parts:
        if isinstance(part, str):
            segments.append(TextSegment(text=part))
            continue
        width, height = part
        segments.append(ImageSegment(index=len(tiles)))
        flat = np.frombuffer(noise.randbytes(width * height * 3), dtype=np.uint8)
        tiles.append(flat.reshape(height, width, 3).copy())  # writable, as decoded pixels are
    return LabelledPage(key=key, tiles=tuple(tiles), segments=tuple(segments))


def make_samples(family: Family, *, seed: int = 0) -> list[Sample]:
    """Five small documents: image first, no image, several images, image last, image between texts."""
    return [build_sample(make_document(key, parts, seed=seed), family) for key, parts in PROOF_DOCUMENTS.items()]
