"""Public helpers for tests, ours and yours: tiny checkpoints, pages and documents, proofs of isolation and resuming."""

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wdstream.families.base import Family
from wdstream.families.tiny.build import make_tiny_model
from wdstream.nodes.resume import assert_resumes_exactly
from wdstream.records import ImageSegment, LabelledPage, Pixels, Sample, Segment, Size, TextSegment

if TYPE_CHECKING:
    import torch

    from wdstream.batches.isolation import Alter, Isolation

__all__ = ["assert_no_leak", "assert_resumes_exactly", "make_document", "make_pages", "make_samples", "make_tiny_model"]

WORDS = (
    "page",
    "plan",
    "pack",
    "tile",
    "shard",
    "length",
    "exact",
    "token",
    "patch",
    "rank",
    "step",
    "seed",
    "über",
    "漢字",
)
PAGE_SIZES: tuple[Size, ...] = ((620, 877), (877, 620), (400, 900), (640, 640), (300, 120))
LINE_HEIGHT = 22


def make_pages(out: Path, *, num_pages: int = 8, seed: int = 0) -> Path:
    """Write a folder of raw pages that `make-shards` reads: JPEG images of typeset words, each with its text beside it.

    Args:
        out: folder to fill; made if missing.
        num_pages: pages `page-00000.jpg` + `.txt`, of several shapes in turn.
        seed: of the words.

    Returns:
        `out`.
    """
    from PIL import Image, ImageDraw

    from wdstream.shards.atomic import atomic_write

    out.mkdir(parents=True, exist_ok=True)
    draw_words = random.Random(seed)
    for number in range(num_pages):
        width, height = PAGE_SIZES[number % len(PAGE_SIZES)]
        lines = [
            " ".join(draw_words.choice(WORDS) for _ in range(max(1, width // 80)))
            for _ in range(max(1, height // LINE_HEIGHT - 1))
        ]
        image = Image.new("RGB", (width, height), "white")
        draw = ImageDraw.Draw(image)
        for place, line in enumerate(lines):
            draw.text((10, 8 + place * LINE_HEIGHT), line.encode("latin-1", "replace").decode("latin-1"), fill="black")
        data = io.BytesIO()
        image.save(data, format="JPEG", quality=85)
        for suffix, content in ((".jpg", data.getvalue()), (".txt", "\n".join(lines).encode())):
            with atomic_write(out / f"page-{number:05}{suffix}") as file:
                file.write(content)
    return out


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
    """Five small documents that packing must get right: image first, last, in the middle, several images, none."""
    from wdstream.batches.sample import build_sample

    documents: dict[str, list[str | Size]] = {
        "image-first": [(60, 90), "A page and its text."],
        "text-only": ["Plain words, no image at all, and a few more of them."],
        "several": [(90, 60), "\n<row0_col0>", (64, 64), "\n<row0_col1>", (40, 100), "Text after three tiles."],
        "image-last": ["The image comes last.", (56, 84)],
        "image-between": ["Before,", (112, 56), "and after."],
    }
    return [build_sample(make_document(key, parts, seed=seed), family) for key, parts in documents.items()]


def assert_no_leak(
    model: "torch.nn.Module",
    family: Family,
    samples: Sequence[Sample],
    *,
    tolerance: float = 1e-5,
    max_leak: float = 0.0,
    alter: "Alter | None" = None,
) -> "Isolation":
    """Assert that a pack of `samples` computes what each document computes alone, and that none sees another.

    Args:
        model: in eval mode.
        family: of the model.
        samples: at least two documents.
        tolerance: largest distance of a document's logits to those of the document alone.
        max_leak: largest change of a document's logits by changing another document; 0 is bitwise.
        alter: applied to the model's keyword arguments in the packed passes, to try a recipe of your own.

    Returns:
        The measured figures.

    Raises:
        AssertionError: names the two documents and the figure.
    """
    from wdstream.batches.isolation import measure_isolation

    found = measure_isolation(model, family, samples, alter=alter)
    if found.leak > max_leak:
        raise AssertionError(
            f"{family.name}: documents of a pack see each other: changing {found.leaky_pair} moves logits by "
            f"{found.leak:.3g} (allowed {max_leak:.3g}, largest logit {found.scale:.3g})"
        )
    if found.difference > tolerance:
        raise AssertionError(
            f"{family.name}: document '{found.different_key}' computes something else in a pack than alone: logits "
            f"differ by {found.difference:.3g} (allowed {tolerance:.3g}, largest logit {found.scale:.3g})"
        )
    return found
