"""How long a page will be, from its image headers and its text; nothing is decoded. For streams without an index."""

from dataclasses import dataclass

import numpy as np

from wdstream.errors import DecodeError, RowError
from wdstream.families.base import Family
from wdstream.families.chat import render_chat
from wdstream.nodes.tile import Tiling
from wdstream.pages.label import tile_text_pieces
from wdstream.pixels.header import image_size
from wdstream.records import Page, Size, TextSegment, TokenSegment


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPage:
    """A page with its images still encoded, and its exact lengths.

    Attributes:
        page: the page; a chat row's turns written out.
        image_sizes: (width, height) of each image in pixels, orientation applied.
        tokens: of the sample that it becomes.
        patches: vision patches of all its tiles.
    """

    page: Page
    image_sizes: tuple[Size, ...]
    tokens: int
    patches: int

    @property
    def key(self) -> str:
        """The page's key."""
        return self.page.key


def measure_page(page: Page, *, family: Family, tiling: Tiling) -> MeasuredPage:
    """The lengths by the rules of plan/lengths.py; text is tokenised once here and once when the sample is built.

    Raises:
        DecodeError: an image's header cannot be read.
        RowError: the family refuses the size of a tile, or its chat template the row.
    """
    sizes = tuple(_size(page.key, number, data) for number, data in enumerate(page.images))
    plans = [tiling.plan_tiles(width, height) for width, height in sizes]
    outputs = np.array([size for plan in plans for size in plan.sizes], dtype=np.int64).reshape(-1, 2)
    tokens, patches = family.image_cost(outputs[:, 0], outputs[:, 1])
    if (tokens < 0).any():
        raise RowError(f"page {page.key!r}: {family.name} refuses a tile of {outputs[tokens < 0][0].tolist()} pixels")
    written = render_chat(page, family)
    texts = [segment.text for segment in written.segments if isinstance(segment, TextSegment)]
    runs = [len(segment.ids) for segment in written.segments if isinstance(segment, TokenSegment)]
    pieces = [piece for plan in plans for piece in tile_text_pieces(plan) if piece]
    text = sum(family.encoder.count([*texts, *pieces])) + (sum(runs) if runs else 1)  # a chat row holds its EOS
    return MeasuredPage(
        page=written,
        image_sizes=sizes,
        tokens=family.prefix_tokens + text + int(tokens.sum()),
        patches=int(patches.sum()),
    )


def measured_lengths(page: MeasuredPage) -> tuple[int, int]:
    """(tokens, patches), what Pack asks for."""
    return page.tokens, page.patches


def _size(key: str, number: int, data: bytes) -> Size:
    try:
        return image_size(data)
    except DecodeError as error:
        raise DecodeError(f"page {key!r}, image {number}: {error}") from error
