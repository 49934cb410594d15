"""Decode: encoded images to pixels."""

from functools import partial

from wdstream.errors import DecodeError
from wdstream.nodes.as_page import as_page
from wdstream.nodes.mapper import Map, OnError
from wdstream.nodes.node import Node
from wdstream.pixels.decode import decode_image
from wdstream.records import MAX_PIXELS, DecodedPage, Pixels


class Decode(Map[object, DecodedPage]):
    """Samples (see as_page.py for the accepted forms) to DecodedPage. With Tile the costly node: give it workers."""

    def __init__(
        self,
        source: Node[object],
        *,
        max_pixels: int = MAX_PIXELS,
        workers: int = 0,
        on_error: OnError = "raise",
        max_skipped: int | None = None,
    ) -> None:
        function = partial(decode_page, max_pixels=max_pixels)
        super().__init__(source, function, workers=workers, on_error=on_error, max_skipped=max_skipped)


def decode_page(sample: object, *, max_pixels: int = MAX_PIXELS) -> DecodedPage:
    """Decode all images of one sample; images that are pixels already are left alone.

    Raises:
        RowError: the sample has none of the accepted forms.
        DecodeError: names the page and the image that cannot be decoded or is above `max_pixels`.
    """
    page = as_page(sample)
    if isinstance(page, DecodedPage):
        return page

    def decode(index: int, data: bytes) -> Pixels:
        try:
            return decode_image(data, max_pixels=max_pixels)
        except DecodeError as error:
            raise DecodeError(f"page {page.key!r}, image {index}: {error}") from error

    images = tuple(decode(index, data) for index, data in enumerate(page.images))
    return DecodedPage(key=page.key, images=images, segments=page.segments, meta=page.meta)
