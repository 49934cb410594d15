"""Raw pages for trials: typeset words as images, each with its text."""

import io
import random
from pathlib import Path

from PIL import Image, ImageDraw

from wdstream.records import Size
from wdstream.storage.atomic import write_file

WORDS = ["page", "plan", "pack", "tile", "shard", "length", "exact", "token", "patch", "rank", "step", "seed"]
WORDS += ["über", "漢字"]
PAGE_SIZES: tuple[Size, ...] = ((620, 877), (877, 620), (400, 900), (640, 640), (300, 120))
LINE_HEIGHT = 22


def make_pages(out: Path, *, num_pages: int = 8, seed: int = 0) -> Path:
    """Write a folder of raw pages that `make-shards` reads: JPEG images of typeset words, with their text in `.txt`.

    Args:
        out: folder to fill; made if missing.
        num_pages: pages `page-00000.jpg` + `.txt`, of several shapes in turn.
        seed: of the words.

    Returns:
        `out`.
    """
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
        for row, line in enumerate(lines):
            draw.text((10, 8 + row * LINE_HEIGHT), line.encode("latin-1", "replace").decode("latin-1"), fill="black")
        data = io.BytesIO()
        image.save(data, format="JPEG", quality=85)
        for suffix, content in ((".jpg", data.getvalue()), (".txt", "\n".join(lines).encode())):
            write_file(out / f"page-{number:05}{suffix}", content)
    return out
