"""A checkpoint's chat template, run so that its own text and the messages' texts never mix.

The template is rendered with a mark in place of every text of the messages: what comes out is text of the template
alone, marks, and placeholders of images. So a message that says `<|im_end|>` or `<image>` is never read as such: it is
put in for its mark only after the template's text has been split. Marks are private-use characters between two spaces
that `trim` removes; a space that is gone tells that the template trims the text there.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wdstream.errors import FamilyError, RowError
from wdstream.text.encoder import TextEncoder

SPACE = "\u2003"
_MARK = re.compile("(\u2003?)\ue000([0-9]+)\ue001(\u2003?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """Text that the template wrote."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Where text number `number` of the messages stands, and on which sides the template trims it."""

    number: int
    trims_left: bool
    trims_right: bool


class ChatTemplate:
    """The template of one checkpoint."""

    def __init__(self, source: str, special_tokens: Mapping[str, str], where: Path) -> None:
        """`special_tokens`: bos_token, eos_token, ... as templates read them."""
        self.source = source
        self._special_tokens = dict(special_tokens)
        self._where = where

    def render(self, messages: Sequence[Mapping[str, Any]]) -> list[Trusted | Slot]:
        """Write messages out; texts are numbered through all messages in order, those that are empty included.

        Args:
            messages: role and content, a string or a list of parts {"type": "image"} and {"type": "text", "text"}.

        Raises:
            RowError: the template refuses the messages, or leaves out or repeats a text of them.
        """
        from wdstream.text.chat_environment import TemplateError, render_template

        count = 0
        marked = []
        for message in messages:
            content, count = _marked(message["content"], count)
            marked.append({"role": message["role"], "content": content})
        try:
            rendered = render_template(self._compiled, {**self._special_tokens, "messages": marked})
        except (TemplateError, TypeError, ValueError, LookupError) as error:  # templates are programs of strangers
            raise RowError(f"the chat template of {self._where} refuses these messages: {error}") from error
        pieces = _split(rendered)
        numbers = [piece.number for piece in pieces if isinstance(piece, Slot)]
        if sorted(numbers) != list(range(count)):
            raise RowError(
                f"the chat template of {self._where} wrote the texts {numbers} of {count}: it leaves out or repeats a "
                "message; see which roles and parts it knows"
            )
        return pieces

    @cached_property
    def _compiled(self) -> Any:
        from wdstream.text.chat_environment import TemplateError, compile_template

        try:
            return compile_template(self.source)
        except TemplateError as error:
            raise FamilyError(f"{self._where}: its chat template cannot be read: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatParts:
    """What chat rows are written out with.

    Attributes:
        template: the checkpoint's.
        special_tokens: ids of the tokens that a template may write and a message never forms, by content.
        pattern: matches one of them, the longest first; in a group, so that `split` keeps it.
    """

    template: ChatTemplate
    special_tokens: Mapping[str, int]
    pattern: re.Pattern[str]

    @classmethod
    def open(cls, model_dir: Path, encoder: TextEncoder) -> "ChatParts":
        """Read the template of a checkpoint, whose encoder is open; raises FamilyError where it has none."""
        if encoder.chat_template is None:
            raise FamilyError(
                f"{model_dir}: no chat template (chat_template.jinja, or in tokenizer_config.json), which chat rows "
                "need; take the instruct checkpoint's, or store the rows as content"
            )
        template = ChatTemplate(encoder.chat_template, encoder.special_texts(), model_dir)
        tokens = encoder.special_tokens()
        contents = "|".join(re.escape(content) for content in sorted(tokens, key=len, reverse=True))
        return cls(template=template, special_tokens=tokens, pattern=re.compile(f"({contents})"))


def _marked(content: Any, count: int) -> tuple[Any, int]:
    """The content with marks for texts, and the number of the next text."""
    if isinstance(content, str):
        return _mark(count), count + 1
    parts = []
    for part in content:
        if part["type"] == "text":
            parts.append({"type": "text", "text": _mark(count)})
            count += 1
        else:
            parts.append({"type": part["type"]})
    return parts, count


def _mark(number: int) -> str:
    return f"{SPACE}\ue000{number}\ue001{SPACE}"


def _split(rendered: str) -> list[Trusted | Slot]:
    pieces: list[Trusted | Slot] = []
    end = 0
    for match in _MARK.finditer(rendered):
        pieces.append(Trusted(text=rendered[end : match.start()]))
        pieces.append(Slot(number=int(match[2]), trims_left=not match[1], trims_right=not match[3]))
        end = match.end()
    pieces.append(Trusted(text=rendered[end:]))
    return [piece for piece in pieces if not isinstance(piece, Trusted) or piece.text]
