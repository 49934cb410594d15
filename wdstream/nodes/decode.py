"""Decode: encoded images to pixels."""

from functools import partial

from wdstream.errors import ConfigError, DecodeError, PageError
from wdstream.nodes.as_page import as_page
from wdstream.nodes.mapper import Map, OnError
from wdstream.nodes.node import Node, is_count
from wdstream.pixels.decode import decode_image
from wdstream.records import MAX_PIXELS, DecodedPage, Pixels
from wdstream.text.maps.field_map import FieldMap, MapText
from wdstream.text.row_forms import DEFAULT_RULES, RowRules, rules_with_map


class Decode(Map[object, DecodedPage]):
    """Samples (see as_page.py for the accepted forms) to DecodedPage. With Tile the costly node: give it workers.

    Args:
        source: any node.
        max_pixels: images with more are refused.
        rules: how rows are read: another placeholder, fields that are metadata.
        map: which field or part is what (as_page.py).
        preset: the name of a layout.
        workers: see Map.
        on_error: see Map.
        max_skipped: see Map.
    """

    def __init__(
        self,
        source: Node[object],
        *,
        max_pixels: int = MAX_PIXELS,
        rules: RowRules = DEFAULT_RULES,
        map: FieldMap | MapText | None = None,
        preset: str | None = None,
        workers: int = 0,
        on_error: OnError = "raise",
        max_skipped: int | None = None,
    ) -> None:
        if not is_count(max_pixels, least=1):
            raise ValueError(f"Decode: max_pixels={max_pixels!r}, expected 1 or more")
        if not isinstance(rules, RowRules):
            raise TypeError(f"Decode: rules={rules!r:.80}, expected RowRules(...)")
        function = partial(decode_page, max_pixels=max_pixels, rules=rules_with_map(rules, map, preset))
        super().__init__(source, function, workers=workers, on_error=on_error, max_skipped=max_skipped)


def decode_page(sample: object, *, max_pixels: int = MAX_PIXELS, rules: RowRules = DEFAULT_RULES) -> DecodedPage:
    """Decode all images of one sample; images that are pixels already are left alone.

    Raises:
        RowError: the sample has none of the accepted forms.
        DecodeError: names the page and the image that cannot be decoded or is above `max_pixels`.
        ConfigError: see as_page.py.
    """
    page = as_page(sample, rules=rules, max_pixels=max_pixels)
    if isinstance(page, DecodedPage):
        return page

    def decode(index: int, data: bytes) -> Pixels:
        try:
            return decode_image(data, max_pixels=max_pixels)
        except DecodeError as error:
            raise DecodeError(f"page {page.key!r}, image {index}: {error}") from error
        except (PageError, ConfigError):
            raise
        except Exception as error:
            kind = type(error).__name__
            raise DecodeError(f"page {page.key!r}, image {index}: cannot be decoded: {kind}: {error}") from error

    images = tuple(decode(index, data) for index, data in enumerate(page.images))
    return DecodedPage(key=page.key, images=images, segments=page.segments, meta=page.meta)
