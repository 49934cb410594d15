"""One part of a page that is split, as the plan cut it: the page's images, and some of its paragraphs."""

from dataclasses import replace

from wdstream.errors import ShardError
from wdstream.pages.paragraphs import page_paragraphs
from wdstream.plan.split import PagePart
from wdstream.records import TextSegment, TiledPage


def take_part(page: TiledPage, part: PagePart) -> TiledPage:
    """The part, under a name of its own; each paragraph is a segment, and so tokenised by itself, as it was counted.

    Raises:
        ShardError: the page has other paragraphs than the index says.
    """
    paragraphs = page_paragraphs(page.segments)
    if len(paragraphs) != part.num_paragraphs:
        raise ShardError(
            f"page {page.key!r}: planned {part.num_paragraphs} paragraphs, found {len(paragraphs)}; the index counts "
            "those of other shards. Run `wdstream index SHARDS --rebuild`, then `wdstream lengths SHARDS --tokenizer "
            "PATH --paragraphs`"
        )
    texts = (TextSegment(text=text) for text in paragraphs[part.begin : part.end])
    segments = (*page.segments[:-1], *texts)
    return replace(page, key=part.name(page.key), segments=segments, goes_on=not part.is_last)
