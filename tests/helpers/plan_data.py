"""Datasets and a family in memory, so that the plan is tested without shards and tokenizers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wdstream.plan.deal import CostModel
from wdstream.plan.planner import Planner
from wdstream.tiling.policy import TilingPolicy

Ints = NDArray[np.int64]

UNTILED = TilingPolicy(kind="none")


@dataclass(frozen=True)
class Squares:
    """A family whose images cost one patch per started 28 x 28 pixels, and a token per 4 patches with 2 ids around."""

    fingerprint: str = "f" * 32
    text_fingerprint: str = "e" * 32
    size_multiple: int = 28
    prefix_tokens: int = 0
    cost: CostModel = field(
        default_factory=lambda: CostModel(per_token=10, per_token_squared=1, per_patch=5, per_image_patch_squared=2)
    )
    refused_width: int = -1
    max_document_tokens: int | None = None

    def image_cost(self, widths: Ints, heights: Ints) -> tuple[Ints, Ints]:
        patches = -(-widths // 28) * -(-heights // 28)
        is_refused = widths == self.refused_width
        return np.where(is_refused, -1, -(-patches // 4) + 2), np.where(is_refused, -1, patches)

    def text_cost(self, text: str) -> int:
        return len(text)


@dataclass
class Columns:
    """n samples; by default each one image."""

    text_tokens: Ints
    sizes: list[list[tuple[int, int]]]
    shard_starts: Ints
    fingerprint: str = "a" * 32
    metadata: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    starts_with_text: NDArray[np.bool_] | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    held_out: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        self.num_images = np.array([len(images) for images in self.sizes], dtype=np.int32)
        self.image_start = np.concatenate(([0], np.cumsum(self.num_images))).astype(np.int64)
        flat = np.array([size for images in self.sizes for size in images], dtype=np.int32).reshape(-1, 2)
        self.image_width, self.image_height = flat[:, 0], flat[:, 1]
        self.text_bytes = self.text_tokens * 4
        self.text_chars = self.text_tokens * 3

    def __len__(self) -> int:
        return len(self.text_tokens)

    def tokens(self, fingerprint: str) -> Ints:
        assert fingerprint == "e" * 32
        return self.text_tokens

    def supervised(self, fingerprint: str) -> Ints | None:
        return None

    def paragraphs(self, fingerprint: str) -> tuple[Ints, Ints] | None:
        return None

    def why_no_metadata(self, name: str) -> str | None:
        return self.left_out.get(name)

    def content_digest(self, tokenizer: str, *, paragraphs: bool, metadata: Sequence[str]) -> str:
        return ""


def pages(count: int, *, shard: int = 10, seed: int = 0, text: tuple[int, int] = (1, 60), side: int = 200) -> Columns:
    """Pages of one image each, sides from 1 to `side` pixels, `text` tokens from and to, `shard` of them a shard."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, side + 1, (count, 1, 2)).tolist()
    return Columns(
        text_tokens=rng.integers(*text, count, endpoint=True),
        sizes=[[(width, height) for width, height in images] for images in sizes],
        shard_starts=np.arange(0, count, shard),
        fingerprint=f"{seed:032x}",
    )


def planner(*datasets: object, **settings: object) -> Planner:
    """A planner of small packs over datasets, untiled."""
    small = {"sequence_length": 128, "max_patches": 256, "global_batch_size": 4, "pool": 16, "shuffle_shards": 2}
    return Planner(list(datasets), Squares(), UNTILED, **(small | settings))  # type: ignore[arg-type]
