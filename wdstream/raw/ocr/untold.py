"""Rows and samples without a text: read from their one picture where an engine is asked for, refused elsewhere."""

from dataclasses import replace

from wdstream.raw.images import read_picture
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import StoredImage, StoredPage, require_text
from wdstream.records import Page, TextSegment, TurnSegment
from wdstream.text.messages import supervised_text


def text_of_page(page: Page) -> str:
    """All texts of a page, one after the other."""
    return "".join(segment.text for segment in page.segments if isinstance(segment, TextSegment))


def is_to_be_read(page: Page, settings: RawSettings) -> bool:
    """Whether the text of a page is what an engine reads on its one picture; of turns, each has its own."""
    if settings.ocr == "none" or len(page.images) != 1 or text_of_page(page).strip():
        return False
    return not any(isinstance(segment, TurnSegment) for segment in page.segments)


def require_answer(page: Page, absence: str, settings: RawSettings) -> None:
    """Refuse a row or sample of which nothing would be supervised, unless an engine reads it or such pages are kept.

    Raises:
        SourceError: with `absence`, where it has no text at all.
    """
    if not is_to_be_read(page, settings):
        reason = "the answer is empty" if text_of_page(page).strip() else absence
        require_text(supervised_text(page.segments), reason, settings)


def with_text(stored: StoredPage, settings: RawSettings) -> StoredPage:
    """A page with a text: its own, or, where it has one picture and no text, what the engine reads on that.

    Raises:
        SourceError: it reads nothing that it is sure of, or fails.
    """
    page = stored.page
    if not is_to_be_read(page, settings):
        return stored
    image = StoredImage(data=page.images[0], extension=stored.extensions[0], size=stored.sizes[0])
    found = read_picture(image, settings)
    pictures = tuple(segment for segment in page.segments if not isinstance(segment, TextSegment))
    segments = (*pictures, TextSegment(text=found.text)) if found.text else pictures
    return replace(stored, page=replace(page, segments=segments, meta={**page.meta, **found.on_image(image.size)}))
