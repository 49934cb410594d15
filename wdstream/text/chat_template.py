"""A model's chat template, run so that its own text and the messages' texts never mix.

The template is rendered with a mark in place of every text of the messages: what comes out is text of the template
alone, marks, and placeholders of images. So a message that says `<|im_end|>` or `<image>` is never read as such: it
replaces its mark only after the template's text has been split. Marks are private-use characters between two spaces
that `trim` removes; a missing space shows that the template trims the text there.

Calls and definitions of tools cannot be marked, as templates write them as JSON. Their texts go in as they are, but for
a character in each special token that they spell, which keeps it apart and is taken out again (`plain_text`); and what
the template writes for a turn with calls is found by rendering the messages before that turn, and those up to it.

Templates are programs of strangers, so they run in another process that has limits (template_renderer.py). Because of
the marks a template sees the roles and the forms of the contents alone: rows of the same form are rendered once.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from wdstream.errors import FamilyError, RowError
from wdstream.text.encoder import TextEncoder
from wdstream.text.messages import ChatMessage, ContentBlock
from wdstream.text.template_renderer import RENDERER

FEW_MESSAGES = 64
"""A template that exceeds a limit for so few is at fault itself; for more, the row may be."""
MANY_SHAPES, LONG_SHAPE = 4096, 16_384
"""Forms of rows that are kept with what was rendered, and characters of the longest."""
SPACE = "\u2003"
APART, CALLED, DEFINED = "\ue002", "\ue003", "\ue004"
"""Inside of special tokens that texts of calls spell; before the names of functions that are called, and defined."""
_OURS = re.compile("[\ue000-\ue004]")
_HELPERS = str.maketrans("", "", APART + CALLED + DEFINED)
_BETWEEN = re.compile(r"\n|[>\]]")
_MARK = re.compile("(\u2003?)\ue000([0-9]+)\ue001(\u2003?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPlace:
    """The place of text number `number` of the messages, and on which sides the template trims it."""

    number: int
    trims_left: bool
    trims_right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnText:
    """Text that the template wrote for a turn which calls tools: the model writes it, not the template."""

    text: str
    turn: int


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

    def render(self, messages: Sequence[ChatMessage]) -> list[str | TextPlace | TurnText]:
        """Write messages out: text that the template wrote, and places of the messages' texts in it.

        Texts are numbered through all messages in order, those that are empty included, but for the empty content of a
        turn that calls tools.

        Raises:
            RowError: the template refuses the messages, leaves out or repeats a text, a call or a definition of a tool
                of them, or takes too much time or memory for them.
            FamilyError: the template cannot be read, or takes too much for a few messages.
        """
        count = 0
        marked: list[ChatMessage] = []
        for message in messages:
            is_silent = bool(message.get("tool_calls")) and message["content"] == ""
            content, count = ("", count) if is_silent else _marked(message["content"], count)
            marked.append(self._guarded(message, content))
        written = self._written(marked)
        pieces = [piece for part in self._parts(marked, written) for piece in part]
        numbers = [piece.number for piece in pieces if isinstance(piece, TextPlace)]
        if sorted(numbers) != list(range(count)):
            raise RowError(
                f"the chat template of {self._where} wrote the texts {numbers} of {count}: it leaves out or repeats a "
                "message; see which roles and blocks it knows"
            )
        return pieces

    def _guarded(self, message: ChatMessage, content: str | list[ContentBlock]) -> ChatMessage:
        """A message with marked content, whose other texts form no special token."""
        guarded: ChatMessage = {"role": message["role"], "content": content}
        more = {key: value for key, value in message.items() if key not in ("role", "content", "train")}
        for key, value in more.items():
            guarded[key] = guard_texts(value, self._guard, DEFINED if key == "tools" else CALLED)  # type: ignore[literal-required]
        return guarded

    def _guard(self, text: str) -> str:
        return self.pattern.sub(lambda found: f"{found[0][:1]}{APART}{found[0][1:]}", text)

    def _parts(self, marked: Sequence[ChatMessage], written: str) -> Iterator[list[str | TextPlace | TurnText]]:
        """What was written, in the order in which it was, turns with calls by themselves."""
        if marked and DEFINED in json.dumps(marked[0], ensure_ascii=False) and DEFINED not in written:
            raise RowError(f"the chat template of {self._where} does not write definitions of tools")
        end = 0
        for number, message in enumerate(marked):
            if message.get("tool_calls"):
                start, stop = self._place_of_turn(marked, number, written, end)
                yield list(_split(written[end:start]))
                yield [TurnText(text=p, turn=number) if isinstance(p, str) else p for p in _split(written[start:stop])]
                end = stop
        yield list(_split(written[end:]))

    def _place_of_turn(self, marked: Sequence[ChatMessage], number: int, written: str, least: int) -> tuple[int, int]:
        """Where what the model writes for a turn begins and ends, its last special token included."""
        before = self._written(marked[:number], prompts=True) if number else ""
        if not number or before == self._written(marked[:number]):
            raise RowError(
                f"the chat template of {self._where} has no generation prompt (add_generation_prompt) before message "
                f"{number}, so that nothing says where an answer begins that calls tools"
            )
        start = common_start(written, before)
        stop = common_start(written, self._written(marked[: number + 1]))
        calls = marked[number]["tool_calls"]
        num_calls = len(calls) if isinstance(calls, list) else 0
        if start < least or written[start:stop].count(CALLED) < num_calls or stop < start:
            raise RowError(
                f"the chat template of {self._where} does not write calls of tools, or not where their turn is"
            )
        last = written.rindex(CALLED, start, stop)
        ends = [found.end() for found in self.pattern.finditer(written, last, stop)]
        return start, ends[-1] if ends else start + len(written[start:stop].rstrip())

    def _written(self, messages: Sequence[ChatMessage], *, prompts: bool = False) -> str:
        """What the template writes of marked messages; the same messages are rendered once. `prompts`: with the
        beginning of the answer that comes next."""
        tools = messages[0].get("tools") if messages else None
        messages = [{k: v for k, v in m.items() if k != "tools"} for m in messages]  # type: ignore[misc]
        shape = json.dumps([prompts, tools, messages] if prompts or tools else messages)
        if shape in self._known:
            return self._known[shape]
        given = {"messages": messages, "add_generation_prompt": prompts, "tools": tools, "documents": None}
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


def plain_text(written: str) -> str:
    """What a template wrote, between special tokens, without the characters that kept these apart."""
    return written.translate(_HELPERS)


def guard_texts(value: object, guard: Callable[[str], str], called: str) -> Any:
    """A value with every text in it guarded, and `called` before each `name`, to see whether it is written."""
    if isinstance(value, str):
        if _OURS.search(value):
            raise RowError(
                "a call or definition of a tool has characters that stand for something else here: U+E000 to U+E004"
            )
        return guard(value)
    if isinstance(value, dict):
        names = isinstance(value.get("name"), str) and _is_function(value)
        inner = {guard_texts(key, guard, called): guard_texts(item, guard, called) for key, item in value.items()}
        return {**inner, "name": called + inner["name"]} if names else inner
    return [guard_texts(item, guard, called) for item in value] if isinstance(value, list) else value


def _is_function(value: Mapping[str, object]) -> bool:
    """Whether an object is the function of a call or definition, as its keys show."""
    return any(key in value for key in ("arguments", "parameters", "description"))


def common_start(text: str, other: str) -> int:
    """How far two texts are the same; where `other` is not a beginning of `text`, to the last place between words."""
    if text.startswith(other):
        return len(other)
    same = next(n for n, (a, b) in enumerate(zip_longest(text, other)) if a != b)
    ends = [found.end() for found in _BETWEEN.finditer(text, 0, same)]
    return ends[-1] if ends else 0


def _split(rendered: str) -> list[str | TextPlace]:
    pieces: list[str | TextPlace] = []
    end = 0
    for match in _MARK.finditer(rendered):
        pieces.append(rendered[end : match.start()])
        pieces.append(TextPlace(number=int(match[2]), trims_left=not match[1], trims_right=not match[3]))
        end = match.end()
    pieces.append(rendered[end:])
    return [piece for piece in pieces if piece != ""]
