"""Public helpers for tests, ours and yours: tiny models, pages and documents, proofs of isolation and resuming."""

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wdstream.errors import FamilyError
from wdstream.families.base import Family
from wdstream.proofs.documents import make_document, make_samples
from wdstream.records import Sample, Size
from wdstream.testing.resume import assert_resumes_exactly
from wdstream.testing.tiny.build import make_tiny_model

if TYPE_CHECKING:
    import torch

    from wdstream.proofs.isolation import Alter, Isolation

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
    """Write a folder of raw pages that `make-shards` reads: JPEG images of typeset words, each with its text file.

    Args:
        out: folder to fill; made if missing.
        num_pages: pages `page-00000.jpg` + `.txt`, of several shapes in turn.
        seed: of the words.

    Returns:
        `out`.
    """
    from PIL import Image, ImageDraw

    from wdstream.storage.atomic import write_file

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
            write_file(out / f"page-{number:05}{suffix}", content)
    return out


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
    from wdstream.proofs.isolation import require_isolation

    try:
        return require_isolation(model, family, samples, max_leak=max_leak, tolerance=tolerance, alter=alter)
    except FamilyError as error:
        raise AssertionError(str(error)) from error
