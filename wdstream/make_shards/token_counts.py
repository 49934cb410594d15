"""Tokens of the text of pages, as the plan counts them: by a tokenizer, for chat rows by the template too."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wdstream.errors import ConfigError, FamilyError
from wdstream.records import Page, TextSegment, TokenSegment
from wdstream.text.encoder import TextEncoder
from wdstream.text.messages import has_supervised, is_chat
from wdstream.text.paragraphs import page_paragraphs

if TYPE_CHECKING:
    from wdstream.families.base import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCounts:
    """Tokens of a page's text without its EOS, and how many of them are supervised.

    A page of which nothing is supervised, such as an answer that is empty, has none: the plan rejects it, as
    `make-shards` refuses it. In a page that begins with text that is not supervised, `supervised` is one more: where
    there is no BOS, the plan takes one off for the first token, which nothing predicts. A chat row's EOS, supervised or
    not, is the token the plan adds. `paragraphs` are the tokens of each paragraph, tokenised by itself; empty where
    they are not counted, and for a page that is not to be split (text/paragraphs.py).
    """

    tokens: int
    supervised: int
    paragraphs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCounter:
    """Counts with one tokenizer. Safe to use from many threads.

    Attributes:
        encoder: of the tokenizer.
        family: of the model, whose template writes chat rows out; None for a tokenizer alone.
        path: from which it was opened, for messages.
        with_paragraphs: whether the tokens of each paragraph are counted, too. Nothing but `overlength: split` reads
            them, and they take as long as the texts: neither count follows from the other, since a paragraph by itself
            may have other tokens than inside its text (GPT-2's rule makes one token of the two line ends that end a
            text, and two of those before a word); and which pages will be too long, no one knows before there is a
            configuration. So they are counted when asked for.
    """

    encoder: TextEncoder
    family: "Family | None"
    path: Path
    with_paragraphs: bool = False

    @classmethod
    def open(cls, path: Path, *, with_paragraphs: bool = False, allow_tokens: Sequence[str] = ()) -> "TokenCounter":
        """Open a model folder, or a tokenizer.json.

        Args:
            path: of it.
            with_paragraphs: see TokenCounter.
            allow_tokens: added tokens that text may form (text/allowed_tokens.py).

        Raises:
            ConfigError: there is no tokenizer.json, it cannot be read, or a token cannot be allowed.
        """
        from wdstream.families.registry import load_family  # a job without a tokenizer starts faster without it

        try:
            family: Family | None = load_family(path if path.is_dir() else path.parent, allow_tokens=allow_tokens)
        except FamilyError:  # a tokenizer alone, or of a model that wdstream does not know: enough for plain text
            family = None
        encoder = family.encoder if family is not None else TextEncoder.open(path, (), allow_tokens)
        return cls(encoder=encoder, family=family, path=path, with_paragraphs=with_paragraphs)

    @classmethod
    def open_same(
        cls, path: Path, fingerprint: str, *, with_paragraphs: bool = False, allow_tokens: Sequence[str] = ()
    ) -> "TokenCounter":
        """Open the tokenizer that a job has on the machine where it began, on any machine of a cluster.

        Raises:
            ConfigError: it is not here, or another one is.
        """
        counter = cls.open(path, with_paragraphs=with_paragraphs, allow_tokens=allow_tokens)
        if counter.fingerprint != fingerprint:
            raise ConfigError(
                f"{socket.gethostname()}: {path} is the tokenizer {counter.fingerprint}, {fingerprint} on the machine "
                "that started the job: every machine of the cluster is to have the same"
            )
        return counter

    @property
    def fingerprint(self) -> str:
        """Names the token column."""
        return self.encoder.fingerprint

    def count(self, pages: Sequence[Page]) -> list[TextCounts]:
        """Counts of each page.

        Raises:
            PageError: the chat template refuses a chat row.
            ConfigError: a chat row, and no model folder of a known family.
        """
        texts = [[] if is_chat(page.segments) else _texts(page) for page in pages]
        paragraphs = [page_paragraphs(page.segments) if self.with_paragraphs else [] for page in pages]
        # Counted in one call, which is faster: all texts, then all paragraphs. Both come back in that order.
        everything = [text.text for of_page in texts for text in of_page] + [text for of in paragraphs for text in of]
        counts = iter(self.encoder.count(everything))
        tokens = [[next(counts) for _ in of_page] for of_page in texts]
        of_paragraphs = [tuple(next(counts) for _ in of_page) for of_page in paragraphs]
        return [self._count(*of_page) for of_page in zip(pages, tokens, of_paragraphs, strict=True)]

    def _count(self, page: Page, tokens: Sequence[int], paragraphs: tuple[int, ...]) -> TextCounts:
        """`tokens`: of each text of the page; `paragraphs`: of each of its paragraphs, if wanted."""
        if not has_supervised(page.segments):
            return TextCounts(tokens=0, supervised=0)
        return self._count_chat(page) if is_chat(page.segments) else self._count_texts(page, tokens, paragraphs)

    def _count_chat(self, page: Page) -> TextCounts:
        if self.family is None:
            raise ConfigError(
                f"{self.path}: chat rows are counted by the model's chat template; give the folder of a "
                "model family that wdstream knows, not a tokenizer alone"
            )
        from wdstream.families.shared.chat import render_chat

        turns = [turn for turn in render_chat(page, self.family).segments if isinstance(turn, TokenSegment)]
        return TextCounts(
            tokens=sum(len(turn.ids) for turn in turns) - 1,
            supervised=sum(len(turn.ids) for turn in turns if turn.is_supervised) - 1,
        )

    def _count_texts(self, page: Page, tokens: Sequence[int], paragraphs: tuple[int, ...]) -> TextCounts:
        supervised = sum(count for text, count in zip(_texts(page), tokens, strict=True) if text.is_supervised)
        first = page.segments[0] if page.segments else None
        begins_unsupervised = isinstance(first, TextSegment) and bool(first.text) and not first.is_supervised
        return TextCounts(
            tokens=sum(tokens),
            supervised=supervised + (1 if begins_unsupervised and self.encoder.bos_id is None else 0),
            paragraphs=paragraphs,
        )


def _texts(page: Page) -> list[TextSegment]:
    return [segment for segment in page.segments if isinstance(segment, TextSegment)]


def open_counter(
    tokenizer: Path | None, *, with_paragraphs: bool, allow_tokens: Sequence[str] = ()
) -> TokenCounter | None:
    """`TokenCounter.open`; None without a tokenizer.

    Raises:
        ConfigError: as `TokenCounter.open`; or tokens or paragraphs are to be counted without a tokenizer.
    """
    if tokenizer is not None:
        return TokenCounter.open(tokenizer, with_paragraphs=with_paragraphs, allow_tokens=allow_tokens)
    if with_paragraphs or allow_tokens:
        what = "paragraphs: their tokens are" if with_paragraphs else "allow_tokens: they are"
        raise ConfigError(f"{what} counted with a tokenizer; give --tokenizer, too")
    return None
