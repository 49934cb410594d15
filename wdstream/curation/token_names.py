"""Which added tokens of a tokenizer the texts of a set name: `<otsl>`, `<loc_12>`, newline runs, tags.

Text forms none of them, but those that `text.allow_tokens` names; so this says which there would be to allow. Texts of
an even sample of the pages are read.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from wdstream.errors import ConfigError, PageError
from wdstream.records import Page, TextSegment
from wdstream.shards.reader import Shards

_PAGES_AT_ONCE = 64


@dataclass(slots=True, kw_only=True)
class NamedTokens:
    """What was found in a sample of pages.

    Attributes:
        pages: whose texts were read.
        unreadable: pages that could not be read.
        counts: how often texts name each token.
        on_pages: on how many pages each is.
    """

    pages: int = 0
    unreadable: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    on_pages: Counter[str] = field(default_factory=Counter)

    def add(self, other: "NamedTokens") -> None:
        """Take in what was found in another set."""
        self.pages += other.pages
        self.unreadable += other.unreadable
        self.counts.update(other.counts)
        self.on_pages.update(other.on_pages)

    def as_dict(self) -> dict[str, object]:
        """For `--json`, the most frequent tokens first."""
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        found = {token: {"count": count, "pages": self.on_pages[token]} for token, count in ranked}
        return {"pages_read": self.pages, "pages_unreadable": self.unreadable, "tokens": found}


class TokenNames:
    """Looks for the added tokens of a tokenizer.

    Raises:
        ConfigError: there is no tokenizer, or it cannot be read.
    """

    def __init__(self, model: Path) -> None:
        file = model / "tokenizer.json" if model.is_dir() else model
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise ConfigError(f"{file}: not a tokenizer that the tokenizers library reads: {error}") from error
        self._tokenizer.encode_special_tokens = False  # those too, which is what text never does in training
        self._added = {number: str(token) for number, token in self._tokenizer.get_added_tokens_decoder().items()}

    def count(self, shards: Shards, most: int, on_progress: Callable[[int, int], None] | None = None) -> NamedTokens:
        """Read the texts of at most `most` pages, evenly over all, and count the tokens that they name.

        Raises:
            ShardError: a shard is missing, or not what the index says.
        """
        rows = np.unique(np.linspace(0, len(shards) - 1, min(most, len(shards)), dtype=np.int64)).tolist()
        found = NamedTokens()
        for texts in _texts(shards, rows, found):
            for encoding in self._tokenizer.encode_batch(texts, add_special_tokens=False):
                named = Counter(self._added[number] for number in encoding.ids if number in self._added)
                found.counts.update(named)
                found.on_pages.update(named.keys())
            if on_progress is not None:
                on_progress(found.pages, len(rows))
        return found


def _texts(shards: Shards, rows: Sequence[int], found: NamedTokens) -> Iterator[list[str]]:
    """Texts of pages, some at a time; pages are counted in `found`."""
    for start in range(0, len(rows), _PAGES_AT_ONCE):
        pages = shards.read_pages(rows[start : start + _PAGES_AT_ONCE])
        found.pages += len(pages)
        found.unreadable += sum(isinstance(page, PageError) for page in pages)
        yield [_text(page) for page in pages if isinstance(page, Page)]


def _text(page: Page) -> str:
    return "\n".join(segment.text for segment in page.segments if isinstance(segment, TextSegment))
