"""The Hugging Face form of rows <-> segments: content blocks, and chat messages. Pure, no tokenizer.

    content   [{"type": "image"}, {"type": "text", "text": "A page."}]

              = ImageSegment(0) TextSegment("A page.")

    messages  [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Read."}]},
               {"role": "assistant", "content": "A page.", "train": true}]

              = TurnSegment(user) ImageSegment(0) TextSegment("Read.") TurnSegment(assistant, supervised)
                TextSegment("A page.")

A text block of `content` that is not trained on carries `"is_supervised": false`. In messages, turns of the assistant
are supervised: those with `"train": true` where any message has that key, else all of them, or the last. Calls of tools
(`tool_calls`) belong to the turn, with content or without; the first message may have the `tools` that can be called;
`name` and `tool_call_id` are for the template. How turns are written out for a model is not decided here but by its
chat template (families/shared/chat.py).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NotRequired, TypedDict

from wdstream.errors import RowError
from wdstream.records import ImageSegment, Segment, TextSegment, TokenSegment, TurnSegment
from wdstream.text.tool_calls import normal_calls, without_null

ROLES = ("system", "user", "assistant", "tool")
SUPERVISED_ROLE = "assistant"
_MORE_KEYS = ("tools", "tool_calls", "tool_call_id", "name")
"""Of a message, for the template: `TurnSegment.more`."""
_MESSAGE_KEYS = frozenset({"role", "content", "train", *_MORE_KEYS})

ChatLoss = Literal["all", "last"]


class ContentBlock(TypedDict):
    """A text, or an image, which has no text."""

    type: Literal["text", "image"]
    text: NotRequired[str]
    is_supervised: NotRequired[bool]


class ChatMessage(TypedDict):
    """A turn of a chat row; `train` says of an assistant's turn whether it is supervised."""

    role: str
    content: str | list[ContentBlock]
    train: NotRequired[bool]
    tools: NotRequired[object]
    tool_calls: NotRequired[object]
    tool_call_id: NotRequired[object]
    name: NotRequired[object]


def is_chat(segments: Sequence[Segment]) -> bool:
    """Whether these are the segments of a chat row that is not yet written out."""
    return any(isinstance(segment, TurnSegment) for segment in segments)


def makes_calls(turn: TurnSegment) -> bool:
    """Whether a turn calls tools."""
    return bool(turn.more) and "tool_calls" in json.loads(turn.more)


def supervised_text(segments: Sequence[Segment]) -> str:
    """What is trained on of a page, one after the other: supervised texts, and calls of tools in supervised turns."""
    texts = [segment.text for segment in segments if isinstance(segment, TextSegment) and segment.is_supervised]
    turns = [segment for segment in segments if isinstance(segment, TurnSegment) and segment.is_supervised]
    return "".join([*texts, *(turn.more for turn in turns if makes_calls(turn))])


def has_supervised(segments: Sequence[Segment]) -> bool:
    """Whether more of a page is supervised than the ends of its turns, as far as that is known: not of turns that are
    written out. No page without it is trained on, wherever it comes from."""
    is_written = any(isinstance(segment, TokenSegment) for segment in segments)
    return is_written or bool(supervised_text(segments).strip())


def segments_from_content(content: object) -> tuple[Segment, ...]:
    """The segments of a list of content blocks; image i is the i-th image block.

    Raises:
        RowError: it is no list, is empty, or says which block is neither a text nor an image.
    """
    if not isinstance(content, list) or not content:
        raise RowError(f"content is a list of texts and images, at least one; found {_shown(content)}")
    segments: list[Segment] = []
    num_images = 0
    for number, block in enumerate(content):
        segment = _segment_of(block, num_images)
        if segment is None:
            raise RowError(f"content block {number} is neither a text nor an image: {_shown(block)}")
        segments.append(segment)
        num_images += isinstance(segment, ImageSegment)
    return tuple(segments)


def content_from_segments(segments: Sequence[Segment]) -> list[ContentBlock]:
    """The content that `segments_from_content` makes these segments of.

    Raises:
        RowError: a segment is neither a text nor an image.
    """
    content: list[ContentBlock] = []
    for segment in segments:
        if isinstance(segment, ImageSegment):
            content.append({"type": "image"})
        elif isinstance(segment, TextSegment):
            content.append({"type": "text", "text": segment.text})
            if not segment.is_supervised:
                content[-1]["is_supervised"] = False
        else:
            raise RowError(f"a {type(segment).__name__} is not a content block; store a page before it is encoded")
    return content


def segments_from_messages(messages: object, *, num_images: int, loss: ChatLoss = "all") -> tuple[Segment, ...]:
    """The segments of a chat row; image i is the i-th image block.

    Args:
        messages: the list under `messages`.
        num_images: images the row has.
        loss: which turns of the assistant are supervised where no message says so itself.

    Raises:
        RowError: says which message is wrong: an unknown role or block, more or fewer image blocks than images, no
            supervised turn, or a last turn that is not the assistant's.
    """
    if not isinstance(messages, list) or not messages:
        raise RowError(f"messages is a list of turns, at least one; found {_shown(messages)}")
    turns = [_turn(number, message) for number, message in enumerate(messages)]
    supervised = _supervised_turns(messages, loss)
    segments: list[Segment] = []
    images = 0
    for number, (turn, blocks) in enumerate(turns):
        segments.append(replace(turn, is_supervised=number in supervised))
        for block in blocks:
            if isinstance(block, ImageSegment):
                segments.append(ImageSegment(index=images))
                images += 1
            else:
                segments.append(replace(block, is_supervised=number in supervised))
    if images != num_images:
        missing = f"images left over: {num_images - images}" if images < num_images else "there are more image blocks"
        raise RowError(f"the messages have {images} image blocks, the row has {num_images} images; {missing}")
    return tuple(segments)


def messages_from_segments(segments: Sequence[Segment]) -> list[ChatMessage]:
    """The messages that `segments_from_messages` makes these segments of; every assistant turn says whether it is
    supervised."""
    messages: list[ChatMessage] = []
    for segment in segments:
        if isinstance(segment, TurnSegment):
            messages.append({"role": segment.role, "content": "" if segment.is_plain else []})
            if segment.more:
                messages[-1].update(json.loads(segment.more))
            if segment.role == SUPERVISED_ROLE:
                messages[-1]["train"] = segment.is_supervised
            continue
        content = messages[-1]["content"]
        if isinstance(content, str):
            messages[-1]["content"] = content + (segment.text if isinstance(segment, TextSegment) else "")
        elif isinstance(segment, TextSegment):
            content.append({"type": "text", "text": segment.text})
        else:
            content.append({"type": "image"})
    return messages


def _segment_of(block: object, index: int) -> TextSegment | ImageSegment | None:
    """The segment of a content block, an image numbered `index`; None when it is neither a text nor an image."""
    if not isinstance(block, Mapping):
        return None
    if block.get("type") == "image":
        return ImageSegment(index=index)
    if block.get("type") == "text" and isinstance(block.get("text"), str):
        return TextSegment(text=block["text"], is_supervised=block.get("is_supervised") is not False)
    return None


def _turn(number: int, message: object) -> tuple[TurnSegment, list[TextSegment | ImageSegment]]:
    """A message as the mark of its turn, and its content."""
    if isinstance(message, Mapping) and message.get("tool_calls") and message.get("content") is None:
        message = {**message, "content": ""}
    if not isinstance(message, Mapping) or "content" not in message:
        raise RowError(f"message {number}: expected an object with role and content, found {_shown(message)}")
    role, content = message.get("role"), message["content"]
    if role not in ROLES:
        raise RowError(f"message {number}: unknown role {role!r}; known: {', '.join(ROLES)}")
    for key in message:
        if key not in _MESSAGE_KEYS and message[key] not in (None, "", [], {}):
            raise RowError(
                f"message {number}: {key!r} is not supported; write calls of tools as text of the content, give images "
                "in parts of the content or in the row's 'images', and leave out or empty (null) what is of no use"
            )
    train = message.get("train")
    if train is not None and (not isinstance(train, bool) or (train and role != SUPERVISED_ROLE)):
        raise RowError(f"message {number}: train is true or false, and only turns of the assistant are supervised")
    more = _more(number, message)
    if isinstance(content, str):
        return TurnSegment(role=role, is_plain=True, more=more), [TextSegment(text=content)] if content else []
    if not isinstance(content, list):
        raise RowError(f"message {number}: content is a string or a list of blocks, found {_shown(content)}")
    blocks = []
    for position, block in enumerate(content):
        segment = _segment_of(block, 0)
        if segment is None:
            raise RowError(f"message {number}, content block {position}: neither a text nor an image: {_shown(block)}")
        blocks.append(segment)
    return TurnSegment(role=role, more=more), blocks


def _more(number: int, message: Mapping[str, object]) -> str:
    """What a message has for the template, as JSON; the same text for the same values."""
    more = {key: message[key] for key in _MORE_KEYS if message.get(key) not in (None, "", [], {})}
    if "tool_calls" in more and message["role"] != SUPERVISED_ROLE:
        raise RowError(f"message {number}: calls of tools are of the assistant, not of {message['role']!r}")
    if "tool_calls" in more and without_null(more["tool_calls"]) != normal_calls(message, f"message {number}"):
        raise RowError(f"message {number}: its tool_calls have another form than tool_calls.py describes")
    if "tools" in more and number:
        raise RowError(f"message {number}: definitions of tools are in the first message, or in the row's 'tools'")
    try:
        return json.dumps(more, ensure_ascii=False, allow_nan=False, separators=(",", ":")) if more else ""
    except (TypeError, ValueError, RecursionError) as error:
        raise RowError(f"message {number}: {', '.join(more)} cannot be stored as JSON: {error!s:.80}") from error


def _supervised_turns(messages: Sequence[Mapping[str, object]], loss: ChatLoss) -> set[int]:
    """Numbers of the supervised turns."""
    answers = [number for number, message in enumerate(messages) if message["role"] == SUPERVISED_ROLE]
    if not answers:
        raise RowError("there is no turn of the assistant: nothing to train on")
    if answers[-1] != len(messages) - 1:
        raise RowError(
            f"the last message is of {messages[-1]['role']}: nothing is supervised after the last answer; drop it"
        )
    if any("train" in message for message in messages):
        answers = [number for number in answers if messages[number].get("train")]
        if not answers:
            raise RowError("no message has train: true: nothing to train on")
        return set(answers)
    return set(answers) if loss == "all" else {answers[-1]}


def _shown(value: object) -> str:
    return f"{value!r:.80}"
