"""A synthetic set of pages like real ones: formats, crops and text lengths of a document corpus. Used by bench_plan.py.

Page formats come as often as in the 873 PDF pages of facts: A4 63 %, letter 14 %, A4 landscape 10 %, slides of 363x272
pt 9 %, odd sizes 4 %, rendered at 110 to 170 dpi. One image in eight is a crop of a page (a figure, a table, a
paragraph). Text is log-normal: a full page has a median of 550 tokens. Documents are runs of 1 to 72 pages, 37 on
average.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from wdstream.plan.deal import training_flops

COLUMNS = {
    "num_images": np.int32,
    "image_start": np.int64,
    "image_width": np.int32,
    "image_height": np.int32,
    "text_bytes": np.int32,
    "text_chars": np.int32,
    "tokens": np.int32,
}
FORMATS = np.array([(595, 842), (612, 792), (842, 595), (363, 272), (410, 410), (877, 1932), (718, 300)])  # points
SHARES = (0.63, 0.14, 0.10, 0.09, 0.02, 0.01, 0.01)
CHUNK = 1 << 20


class QwenLengths:
    """Lengths of Qwen2.5-VL (3B), by its rule of sizes; see wdstream/families for the real one."""

    fingerprint = "5" * 32
    text_fingerprint = "7" * 32
    size_multiple = 28
    prefix_tokens = 0
    max_document_tokens: int | None = None
    cost = training_flops(
        language_parameters=3_090_000_000,
        language_layers=36,
        language_width=2048,
        vision_parameters=669_000_000,
        vision_layers=4,  # the other 28 attend in windows
        vision_width=1280,
    )

    def image_cost(self, widths: NDArray[np.int64], heights: NDArray[np.int64]) -> tuple[Any, Any]:
        """Tokens and patches of tiles; tiles of the adaptive policy have sides that are multiples of 28 already."""
        cells = np.maximum((widths + 14) // 28, 1) * np.maximum((heights + 14) // 28, 1)
        return cells + 2, cells * 4

    def text_cost(self, text: str) -> int:
        """About a token per three characters of a label."""
        return -(-len(text) // 3)


class PageLikeColumns:
    """The index of such a set, its columns mapped from files."""

    fingerprint = "9" * 32
    starts_with_text = None
    held_out = None
    metadata: Mapping[str, NDArray[Any]] = {}

    def __init__(self, folder: Path, count: int, shard_samples: int = 10_000) -> None:
        self.shard_starts = np.arange(0, count, shard_samples)
        self._count = count
        for name in COLUMNS.keys() - {"tokens"}:
            setattr(self, name, np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))
        self._tokens: Any = np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return self._count

    def tokens(self, fingerprint: str) -> Any:
        """The token column."""
        assert fingerprint == QwenLengths.text_fingerprint
        return self._tokens

    def supervised(self, fingerprint: str) -> None:
        """All text is."""

    def paragraphs(self, fingerprint: str) -> None:
        """Not counted."""

    def why_no_metadata(self, name: str) -> None:
        """No page has any."""

    def content_digest(self, tokenizer: str, *, paragraphs: bool, metadata: Sequence[str]) -> str:
        """The fingerprint covers all."""
        return ""


def write_columns(folder: Path, count: int) -> PageLikeColumns:
    """Write the columns of `count` pages, a part at a time."""
    files = {name: open_memmap(folder / f"{name}.npy", "w+", dtype, (count,)) for name, dtype in COLUMNS.items()}
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        for name, values in _pages(size, start).items():
            files[name][start : start + size] = values
    for file in files.values():
        file.flush()
    return PageLikeColumns(folder, count)


def document_of(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The document of each row: runs of 1 to 72 pages."""
    lengths = np.random.default_rng(11).integers(1, 73, int(rows.max()) // 20 + 100)
    return np.searchsorted(np.cumsum(lengths), rows, side="right")


def _pages(size: int, start: int) -> dict[str, Any]:
    rng = np.random.default_rng(start)
    dpi = rng.uniform(110, 170, size)
    widths, heights = (FORMATS[rng.choice(len(FORMATS), size, p=SHARES)] * dpi[:, None] / 72).T
    is_crop = rng.random(size) < 0.12
    crops = np.where(is_crop[:, None], rng.uniform(0.25, 1.0, (size, 2)), 1.0)
    area = crops.prod(axis=1)
    tokens = np.clip(rng.lognormal(np.log(550), 0.6, size) * area, 8, 4000).astype(np.int32)
    return {
        "num_images": 1,
        "image_start": np.arange(start, start + size),
        "image_width": (widths * crops[:, 0]).astype(np.int32),
        "image_height": (heights * crops[:, 1]).astype(np.int32),
        "text_bytes": tokens * 4,
        "text_chars": tokens * 3,
        "tokens": tokens,
    }
