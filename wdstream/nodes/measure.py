"""How long a page will be, from its image headers and its text; nothing is decoded. For streams without an index."""

from dataclasses import dataclass

import numpy as np

from wdstream.errors import DecodeError, UnfitError
from wdstream.families.base import Family
from wdstream.families.shared.chat import render_chat
from wdstream.pixels.header import image_size
from wdstream.plan.protocols import TileModel
from wdstream.plan.sample_lengths import LengthEstimator, LengthLimits, Reject, SampleSizes
from wdstream.records import Page, Size, TextSegment, TokenSegment
from wdstream.text.messages import has_supervised

SIZES_KEPT = 4096
"""Image sizes whose lengths are kept; pages come one by one here, and a longer table takes longer to extend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPage:
    """A page with its images still encoded, and its exact lengths.

    Attributes:
        page: the page; a chat row's turns written out.
        image_sizes: (width, height) of each image in pixels, orientation applied.
        tokens: of the sample that it becomes.
        patches: vision patches of all its tiles.
        scale: its images are first shrunk to scale / 64 of their sides.
    """

    page: Page
    image_sizes: tuple[Size, ...]
    tokens: int
    patches: int
    scale: int

    @property
    def key(self) -> str:
        """The key of the page."""
        return self.page.key


class PageMeasurer:
    """Measures single pages by the plan's own estimator, so that a stream has the lengths that a plan would have."""

    def __init__(self, family: Family, tiling: TileModel, limits: LengthLimits) -> None:
        self._family = family
        self._limits = limits
        self._estimator = LengthEstimator(family, tiling, limits, max_sizes=SIZES_KEPT)

    def __call__(self, page: Page) -> MeasuredPage:
        """The lengths of a page that fits a pack, its images shrunk if they must be and may.

        Raises:
            DecodeError: an image's header cannot be read.
            RowError: the family's chat template refuses the row.
            UnfitError: no pack takes the page; says why.
        """
        image_sizes = tuple(_size(page.key, index, data) for index, data in enumerate(page.images))
        written = render_chat(page, self._family) if has_supervised(page.segments) else page
        sides = np.array(image_sizes, dtype=np.int64).reshape(-1, 2)
        lengths = self._estimator.estimate(
            SampleSizes(
                text_tokens=np.array([self._text_tokens(written)]),
                num_images=np.array([len(image_sizes)]),
                widths=sides[:, 0],
                heights=sides[:, 1],
            )
        )
        tokens, patches, reject = int(lengths.tokens[0]), int(lengths.patches[0]), Reject(int(lengths.reject[0]))
        if reject != Reject.ACCEPTED:
            raise UnfitError(f"page {page.key!r}: {self._why(reject, image_sizes, tokens, patches)}")
        return MeasuredPage(
            page=written, image_sizes=image_sizes, tokens=tokens, patches=patches, scale=int(lengths.scale[0])
        )

    def _text_tokens(self, page: Page) -> int:
        """Tokens of the text of a page without its EOS; none where nothing is supervised, as the index counts them."""
        if not has_supervised(page.segments):
            return 0
        texts = [segment.text for segment in page.segments if isinstance(segment, TextSegment)]
        ids = [len(segment.ids) for segment in page.segments if isinstance(segment, TokenSegment)]
        # The estimator counts an EOS for every sample; a chat row has its own among its ids.
        return sum(self._family.encoder.count(texts)) + sum(ids) - bool(ids)

    def _why(self, reject: Reject, image_sizes: tuple[Size, ...], tokens: int, patches: int) -> str:
        if reject in (Reject.TOO_MANY_TOKENS, Reject.TOO_MANY_PATCHES):
            return (
                f"{tokens} tokens and {patches} patches; a pack takes at most {self._limits.max_tokens} and "
                f"{self._limits.max_patches}"
            )
        return reject.reason if reject == Reject.EMPTY_TEXT else f"{reject.reason}, {image_sizes}"


def _size(key: str, index: int, data: bytes) -> Size:
    try:
        return image_size(data)
    except DecodeError as error:
        raise DecodeError(f"page {key!r}, image {index}: {error}") from error
