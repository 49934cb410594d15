"""A sample of one image, or a row, as a page: what tars and plugins share."""

from collections.abc import Mapping
from dataclasses import replace

from wdstream.raw.images import store_image
from wdstream.raw.ocr.untold import require_answer, with_text
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import StoredPage
from wdstream.shards.page_members import page_from_members
from wdstream.shards.samples.told import reading_of_sample
from wdstream.text.row_forms import RowRules


def page_of_sample(key: str, members: Mapping[str, bytes], settings: RawSettings, rules: RowRules) -> StoredPage:
    """The page of a sample, with its own key.

    Args:
        key: of the sample.
        members: extension to bytes.
        settings: how images are stored, and whether there has to be a text.
        rules: how a row is read.

    Raises:
        PageError: it cannot become a page.
    """
    page = page_from_members(key, members, rules=rules)
    require_answer(page, "its sample holds none", settings)
    images = [store_image(image, settings) for image in page.images]
    stored = StoredPage(
        page=replace(page, images=tuple(image.data for image in images)),
        extensions=tuple(image.extension for image in images),
        sizes=tuple(image.size for image in images),
        reading=reading_of_sample(key, members, rules),
    )
    return with_text(stored, settings)
