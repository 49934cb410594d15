"""Chat rows: messages in the Hugging Face form <-> segments with marks where turns begin. Pure, no tokenizer.

    [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Read."}]},
     {"role": "assistant", "content": "A page.", "train": true}]

    = TurnSegment(user) ImageSegment(0) TextSegment("Read.") TurnSegment(assistant, supervised) TextSegment("A page.")

Loss lies on turns of the assistant: on those with `"train": true` where any message has that key, else on all of them,
or on the last. Turns of tools and their calls are text like any other. How turns are written out for a model is not
decided here but by its chat template (families/shared/chat.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from wdstream.errors import RowError
from wdstream.records import ImageSegment, Segment, TextSegment, TurnSegment

ROLES = ("system", "user", "assistant", "tool")
SUPERVISED_ROLE = "assistant"
_MESSAGE_KEYS = frozenset({"role", "content", "train"})

ChatLoss = Literal["all", "last"]


def is_chat(segments: Sequence[Segment]) -> bool:
    """Whether these are the segments of a chat row that is not yet written out."""
    return any(isinstance(segment, TurnSegment) for segment in segments)


def segments_from_messages(messages: Any, *, num_images: int, loss: ChatLoss = "all") -> tuple[Segment, ...]:
    """The segments of a chat row; image i is the i-th image part.

    Args:
        messages: the list under `messages`.
        num_images: images the row has.
        loss: which turns of the assistant are supervised where no message says so itself.

    Raises:
        RowError: says which message is wrong: an unknown role or part, more or fewer image parts than images, no turn
            to learn, or a last turn that is not the assistant's.
    """
    if not isinstance(messages, list) or not messages:
        raise RowError(f"messages is a list of turns, at least one; found {_shown(messages)}")
    turns = [_turn(number, message) for number, message in enumerate(messages)]
    supervised = _supervised_turns(messages, loss)
    segments: list[Segment] = []
    images = 0
    for number, (role, content) in enumerate(turns):
        segments.append(
            TurnSegment(
                role=role, is_supervised=number in supervised, is_plain=isinstance(messages[number]["content"], str)
            )
        )
        for text in content:
            if text is None:
                segments.append(ImageSegment(index=images))
                images += 1
            else:
                segments.append(TextSegment(text=text, is_supervised=number in supervised))
    if images != num_images:
        missing = f"images left over: {num_images - images}" if images < num_images else "there are more image parts"
        raise RowError(f"the messages have {images} image parts, the row has {num_images} images; {missing}")
    return tuple(segments)


def messages_from_segments(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """The messages that `segments_from_messages` makes these segments of; every assistant turn says if it is
    supervised."""
    messages: list[dict[str, Any]] = []
    for segment in segments:
        if isinstance(segment, TurnSegment):
            messages.append({"role": segment.role, "content": "" if segment.is_plain else []})
            if segment.role == SUPERVISED_ROLE:
                messages[-1]["train"] = segment.is_supervised
        elif isinstance(messages[-1]["content"], str):
            messages[-1]["content"] += segment.text if isinstance(segment, TextSegment) else ""
        elif isinstance(segment, TextSegment):
            messages[-1]["content"].append({"type": "text", "text": segment.text})
        else:
            messages[-1]["content"].append({"type": "image"})
    return messages


def _turn(number: int, message: Any) -> tuple[str, list[str | None]]:
    """(role, content) of a message; None stands for an image."""
    if not isinstance(message, Mapping) or "content" not in message:
        raise RowError(f"message {number}: expected an object with role and content, found {_shown(message)}")
    role, content = message.get("role"), message["content"]
    if role not in ROLES:
        raise RowError(f"message {number}: unknown role {role!r}; known: {', '.join(ROLES)}")
    for key in message:
        if key not in _MESSAGE_KEYS:
            raise RowError(f"message {number}: {key!r} is not supported; write calls of tools as text of the content")
    train = message.get("train")
    if train is not None and (not isinstance(train, bool) or (train and role != SUPERVISED_ROLE)):
        raise RowError(f"message {number}: train is true or false, and only turns of the assistant are supervised")
    if isinstance(content, str):
        return role, [content] if content else []
    if not isinstance(content, list):
        raise RowError(f"message {number}: content is a string or a list of parts, found {_shown(content)}")
    return role, [_part(number, place, part) for place, part in enumerate(content)]


def _part(number: int, place: int, part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "image":
        return None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    raise RowError(f"message {number}, part {place}: neither a text nor an image: {_shown(part)}")


def _supervised_turns(messages: Sequence[Mapping[str, Any]], loss: ChatLoss) -> set[int]:
    """Numbers of the turns on which loss lies."""
    own = [number for number, message in enumerate(messages) if message["role"] == SUPERVISED_ROLE]
    if not own:
        raise RowError("there is no turn of the assistant: nothing to learn")
    if own[-1] != len(messages) - 1:
        raise RowError(
            f"the last message is of {messages[-1]['role']}: nothing is supervised behind the last answer; drop it"
        )
    if any("train" in message for message in messages):
        own = [number for number in own if messages[number].get("train")]
        if not own:
            raise RowError("no message has train: true: nothing to learn")
        return set(own)
    return set(own) if loss == "all" else {own[-1]}


def _shown(value: Any) -> str:
    return f"{value!r:.80}"
