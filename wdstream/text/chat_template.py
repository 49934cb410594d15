"""A model's chat template, run so that its own text and the messages' texts never mix.

The template is rendered with a mark in place of every text of the messages: what comes out is text of the template
alone, marks, and placeholders of images. So a message that says `<|im_end|>` or `<image>` is never read as such: it
replaces its mark only after the template's text has been split. Marks are private-use characters between two spaces
that `trim` removes; a missing space shows that the template trims the text there.

Templates are programs of strangers, so they run in another process that has limits (template_renderer.py). Because of
the marks a template sees the roles and the forms of the contents alone: rows of the same form are rendered once.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wdstream.errors import FamilyError, RowError
from wdstream.text.encoder import TextEncoder
from wdstream.text.messages import ChatMessage, ContentBlock
from wdstream.text.template_renderer import RENDERER

FEW_MESSAGES = 64
"""A template that exceeds a limit for so few is at fault itself; for more, the row may be."""
MANY_SHAPES, LONG_SHAPE = 4096, 16_384
"""Forms of rows that are kept with what was rendered, and characters of the longest."""
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
        self._file = encoder.chat_template_file or model_dir
        self._known: dict[str, str] = {}

    def render(self, messages: Sequence[ChatMessage]) -> list[str | TextPlace]:
        """Write messages out: text that the template wrote, and places of the messages' texts in it.

        Texts are numbered through all messages in order, those that are empty included.

        Raises:
            RowError: the template refuses the messages, leaves out or repeats a text of them, or takes too much time
                or memory for them.
            FamilyError: the template cannot be read, or takes too much for a few messages.
        """
        count = 0
        marked: list[ChatMessage] = []
        for message in messages:
            content, count = _marked(message["content"], count)
            marked.append({"role": message["role"], "content": content})
        pieces = _split(self._written(marked))
        numbers = [piece.number for piece in pieces if isinstance(piece, TextPlace)]
        if sorted(numbers) != list(range(count)):
            raise RowError(
                f"the chat template of {self._where} wrote the texts {numbers} of {count}: it leaves out or repeats a "
                "message; see which roles and blocks it knows"
            )
        return pieces

    def _written(self, messages: Sequence[ChatMessage]) -> str:
        """What the template writes of marked messages; the same messages are rendered once."""
        shape = json.dumps(messages)
        if shape in self._known:
            return self._known[shape]
        given = {"messages": messages, "add_generation_prompt": False, "tools": None, "documents": None}
        answer = RENDERER.render(self._source, {**self._variables, **given})
        if answer.kind == "unreadable":
            raise FamilyError(f"{self._file}: the chat template cannot be read: {answer.text}")
        if answer.kind == "refused":
            raise RowError(f"the chat template of {self._where} refuses these messages: {answer.text}")
        if answer.kind == "limit":
            error_type = FamilyError if len(messages) <= FEW_MESSAGES else RowError
            raise error_type(
                f"{self._file}: the chat template wants more than {answer.text} for {len(messages)} messages, which no "
                "template needs; take the template of the published model"
            )
        if len(shape) < LONG_SHAPE and len(self._known) < MANY_SHAPES:
            self._known[shape] = answer.text
        return answer.text


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
