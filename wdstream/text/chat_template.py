"""A model's chat template, run so that its own text and the messages' texts never mix.

The template is rendered with a mark in place of every text of the messages: what comes out is text of the template
alone, marks, and placeholders of images. So a message that says `<|im_end|>` or `<image>` is never read as such: it
replaces its mark only after the template's text has been split. Marks are private-use characters between two spaces
that `trim` removes; a missing space shows that the template trims the text there.

Templates run in jinja2's sandbox, as transformers runs them, but for the clock. jinja2 is imported when a chat row
comes.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from wdstream.errors import FamilyError, RowError
from wdstream.text.encoder import TextEncoder
from wdstream.text.messages import ChatMessage, ContentBlock

if TYPE_CHECKING:
    from jinja2 import Environment, Template, nodes
    from jinja2.parser import Parser

SPACE = "\u2003"
_MARK = re.compile("(\u2003?)\ue000([0-9]+)\ue001(\u2003?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPlace:
    """The place of text number `number` of the messages, and on which sides the template trims it."""

    number: int
    trims_left: bool
    trims_right: bool


class ChatTemplate:
    """The chat template of one model.

    Attributes:
        special_tokens: ids of the tokens that a template may write and a message never forms, by content.
        pattern: matches one of them, the longest first; in a group, so that `split` keeps it.

    Raises:
        FamilyError: the model has no chat template.
    """

    def __init__(self, model_dir: Path, encoder: TextEncoder) -> None:
        """`encoder` is the model's, which holds the template's source."""
        if encoder.chat_template is None:
            raise FamilyError(
                f"{model_dir}: no chat template (chat_template.jinja, or in tokenizer_config.json), which chat rows "
                "need; take the instruct model's, or store the rows as content"
            )
        self.special_tokens = encoder.special_tokens()
        contents = "|".join(re.escape(content) for content in sorted(self.special_tokens, key=len, reverse=True))
        self.pattern = re.compile(f"({contents})")
        self._source = encoder.chat_template
        self._variables = encoder.special_texts()
        self._where = model_dir

    def render(self, messages: Sequence[ChatMessage]) -> list[str | TextPlace]:
        """Write messages out: text that the template wrote, and places of the messages' texts in it.

        Texts are numbered through all messages in order, those that are empty included.

        Raises:
            RowError: the template refuses the messages, or leaves out or repeats a text of them.
        """
        from jinja2 import TemplateError

        count = 0
        marked: list[ChatMessage] = []
        for message in messages:
            content, count = _marked(message["content"], count)
            marked.append({"role": message["role"], "content": content})
        variables = {**self._variables, "messages": marked}
        try:
            rendered = self._compiled.render(**variables, add_generation_prompt=False, tools=None, documents=None)
        except (TemplateError, TypeError, ValueError, LookupError) as error:  # templates are programs of strangers
            raise RowError(f"the chat template of {self._where} refuses these messages: {error}") from error
        pieces = _split(rendered)
        numbers = [piece.number for piece in pieces if isinstance(piece, TextPlace)]
        if sorted(numbers) != list(range(count)):
            raise RowError(
                f"the chat template of {self._where} wrote the texts {numbers} of {count}: it leaves out or repeats a "
                "message; see which roles and blocks it knows"
            )
        return pieces

    @cached_property
    def _compiled(self) -> "Template":
        from jinja2 import TemplateError

        try:
            return _environment().from_string(self._source)
        except TemplateError as error:
            raise FamilyError(f"{self._where}: its chat template cannot be read: {error}") from error


@cache
def _environment() -> "Environment":
    """`strftime_now` is left undefined: today's date in a training text would change its ids from day to day."""
    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` ... `{% endgeneration %}` around answers in some templates: the body alone."""

        tags = {"generation"}  # noqa: RUF012  (jinja2 declares it so)

        def parse(self, parser: "Parser") -> list["nodes.Node"]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def to_json(value: object, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    extensions: list[type[Extension]] = [Generation, loopcontrols]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    return environment


def _marked(content: str | list[ContentBlock], count: int) -> tuple[str | list[ContentBlock], int]:
    """The content with marks for texts, and the number of the next text."""
    if isinstance(content, str):
        return _mark(count), count + 1
    blocks: list[ContentBlock] = []
    for block in content:
        if block["type"] == "text":
            blocks.append({"type": "text", "text": _mark(count)})
            count += 1
        else:
            blocks.append({"type": "image"})
    return blocks, count


def _mark(number: int) -> str:
    return f"{SPACE}\ue000{number}\ue001{SPACE}"


def _split(rendered: str) -> list[str | TextPlace]:
    pieces: list[str | TextPlace] = []
    end = 0
    for match in _MARK.finditer(rendered):
        pieces.append(rendered[end : match.start()])
        pieces.append(TextPlace(number=int(match[2]), trims_left=not match[1], trims_right=not match[3]))
        end = match.end()
    pieces.append(rendered[end:])
    return [piece for piece in pieces if piece != ""]
