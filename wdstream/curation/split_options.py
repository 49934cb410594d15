"""The options of split."""

from pydantic import Field

from wdstream.settings import Settings


class SplitOptions(Settings):
    """What is held out. The string under a field is the help of its option."""

    holdout: str | None = None
    """A share of the documents, such as 2%, or a number of pages, such as 500; left out, what is held out is shown."""
    by: str | None = None
    """What a document is, of which all pages are held out or none: a raw `file` (of rows, each row), as is meant for
    shards of make-shards; the `name` of a page without a number at its end, as is meant for tars of others; its
    `folder`, each `page`, or a metadata field that pages have."""
    seed: int = Field(default=0, ge=0)
    """Another seed holds other documents out."""
    remove: bool = False
    """Hold nothing out any more."""
    copies: bool = True
    """Compare pages that look alike in the index, to find copies of a held-out page that are trained on."""
