"""How long a page will be, from its image headers and its text; nothing is decoded. For streams without an index."""

from dataclasses import dataclass, replace

import numpy as np

from wdstream.errors import DecodeError, UnfitError
from wdstream.families.base import Family
from wdstream.families.shared.chat import render_chat
from wdstream.nodes.tile import Tiling
from wdstream.pixels.header import image_size
from wdstream.plan.sample_lengths import FULL_SCALE, Reject, scaled_size
from wdstream.records import MAX_SIDE, Page, Size, TextSegment, TokenSegment
from wdstream.tiling.labels import tile_text_pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPage:
    """A page with its images still encoded, and its exact lengths.

    Attributes:
        page: the page; a chat row's turns written out.
        image_sizes: (width, height) of each image in pixels, orientation applied.
        tokens: of the sample that it becomes.
        patches: vision patches of all its tiles.
        text_tokens: of these tokens, its text: without images, labels, and what a family puts around every document.
        scale: its images are first shrunk to scale / 64 of their sides.
    """

    page: Page
    image_sizes: tuple[Size, ...]
    tokens: int
    patches: int
    text_tokens: int
    scale: int = FULL_SCALE

    @property
    def key(self) -> str:
        """The page's key."""
        return self.page.key


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLimits:
    """What a page may be, to be packed.

    Attributes:
        max_tokens: tokens a pack, or fewer where the family takes no document so long.
        max_patches: vision patches a pack.
        max_pixels: of an image.
        downscale: shrink the images of a page that is too long, as far as it takes, and no further.
    """

    max_tokens: int
    max_patches: int
    max_pixels: int
    downscale: bool = False


def measure_page(page: Page, *, family: Family, tiling: Tiling) -> MeasuredPage:
    """The lengths by the rules of plan/protocols.py; text is tokenised once here and once when the sample is built.

    Raises:
        DecodeError: an image's header cannot be read.
        RowError: the family's chat template refuses the row.
        UnfitError: an image is longer than any tiling takes, or the family refuses the size of a tile.
    """
    sizes = tuple(_size(page.key, number, data) for number, data in enumerate(page.images))
    if any(max(size) > MAX_SIDE for size in sizes):
        raise UnfitError(_too_large(page.key, sizes))
    written = render_chat(page, family)
    texts = [segment.text for segment in written.segments if isinstance(segment, TextSegment)]
    runs = [len(segment.ids) for segment in written.segments if isinstance(segment, TokenSegment)]
    text = sum(family.encoder.count(texts)) + sum(runs)
    bare = MeasuredPage(page=written, image_sizes=sizes, tokens=0, patches=0, text_tokens=text)
    return _at_scale(bare, FULL_SCALE, family=family, tiling=tiling)


def fit_page(page: MeasuredPage, limits: PageLimits, *, family: Family, tiling: Tiling) -> MeasuredPage:
    """The page, its images shrunk if it must be and may; the plan's rules (plan/sample_lengths.py), for one page.

    Raises:
        UnfitError: no pack takes it; says why.
    """
    if page.text_tokens == 0:
        raise UnfitError(f"page {page.key!r}: {Reject.EMPTY_TEXT.reason}")
    if any(width * height > limits.max_pixels for width, height in page.image_sizes):
        raise UnfitError(_too_large(page.key, page.image_sizes))
    scale, shrunk = page.scale, page
    while not _fits(shrunk, limits):
        scale -= 1
        if scale < 1 or not limits.downscale or not page.image_sizes:
            raise UnfitError(_too_long(page, limits))
        try:
            shrunk = _at_scale(page, scale, family=family, tiling=tiling)
        except UnfitError:  # a size that the family refuses; a smaller one may do
            continue
    return shrunk


def measured_lengths(page: MeasuredPage) -> tuple[int, int]:
    """(tokens, patches), what Pack asks for."""
    return page.tokens, page.patches


def _at_scale(page: MeasuredPage, scale: int, *, family: Family, tiling: Tiling) -> MeasuredPage:
    """The page with its images shrunk to `scale`, measured."""
    plans = [tiling.plan_tiles(*scaled_size(width, height, scale)) for width, height in page.image_sizes]
    outputs = np.array([size for plan in plans for size in plan.sizes], dtype=np.int64).reshape(-1, 2)
    tokens, patches = family.image_cost(outputs[:, 0], outputs[:, 1])
    if (tokens < 0).any():
        tile = outputs[tokens < 0][0].tolist()
        raise UnfitError(f"page {page.key!r}: {family.name} refuses a tile of {tile} pixels")
    labels = sum(family.encoder.count([piece for plan in plans for piece in tile_text_pieces(plan) if piece]))
    is_chat = any(isinstance(segment, TokenSegment) for segment in page.page.segments)
    around = family.prefix_tokens + (0 if is_chat else 1)  # the EOS; a chat row holds its own
    return replace(
        page,
        tokens=around + page.text_tokens + labels + int(tokens.sum()),
        patches=int(patches.sum()),
        scale=scale,
    )


def _fits(page: MeasuredPage, limits: PageLimits) -> bool:
    return page.tokens <= limits.max_tokens and page.patches <= limits.max_patches


def _too_large(key: str, sizes: tuple[Size, ...]) -> str:
    return f"page {key!r}: {Reject.TOO_MANY_PIXELS.reason}, {sizes}"


def _too_long(page: MeasuredPage, limits: PageLimits) -> str:
    return (
        f"page {page.key!r}: {page.tokens} tokens and {page.patches} patches; a pack takes at most "
        f"{limits.max_tokens} and {limits.max_patches}"
    )


def _size(key: str, number: int, data: bytes) -> Size:
    try:
        return image_size(data)
    except DecodeError as error:
        raise DecodeError(f"page {key!r}, image {number}: {error}") from error
