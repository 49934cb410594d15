"""Chat rows: which messages are accepted, what is supervised of them, and the sentence that a bad one is refused
with."""

from typing import Any

import pytest

from wdstream.errors import RowError
from wdstream.records import ImageSegment, TextSegment, TurnSegment
from wdstream.text.messages import is_chat, messages_from_segments, segments_from_messages

IMAGE = {"type": "image"}


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


def turn(role: str, *content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content[0] if isinstance(content[0], str) else list(content), **more}


CHAT = [
    turn("system", "Be brief."),
    turn("user", IMAGE, text("What is it?"), IMAGE),
    turn("assistant", "A page."),
    turn("user", text("Sure?")),
    turn("assistant", text("Yes.")),
]


def supervised(messages: list[dict[str, Any]], loss: Any = "all") -> list[str]:
    segments = segments_from_messages(messages, num_images=2, loss=loss)
    return [segment.text for segment in segments if isinstance(segment, TextSegment) and segment.is_supervised]


def test_segments_in_order() -> None:
    segments = segments_from_messages(CHAT, num_images=2)
    assert segments[:6] == (
        TurnSegment(role="system", is_plain=True),
        TextSegment(text="Be brief.", is_supervised=False),
        TurnSegment(role="user"),
        ImageSegment(index=0),
        TextSegment(text="What is it?", is_supervised=False),
        ImageSegment(index=1),
    )
    assert segments[6:8] == (
        TurnSegment(role="assistant", is_supervised=True, is_plain=True),
        TextSegment(text="A page.", is_supervised=True),
    )
    assert is_chat(segments) and not is_chat(segments[3:6])


def test_what_is_supervised() -> None:
    assert supervised(CHAT) == ["A page.", "Yes."]
    assert supervised(CHAT, "last") == ["Yes."]
    flagged = [*CHAT[:2], {**CHAT[2], "train": True}, *CHAT[3:]]
    assert supervised(flagged) == supervised(flagged, "last") == ["A page."]


def test_storing_and_reading_gives_the_same() -> None:
    for loss in ("all", "last"):
        segments = segments_from_messages(CHAT, num_images=2, loss=loss)
        stored = messages_from_segments(segments)
        assert segments_from_messages(stored, num_images=2) == segments
        assert [message["content"] for message in stored] == [message["content"] for message in CHAT]
    assert [message.get("train") for message in stored] == [None, None, False, None, True]


def test_an_empty_answer_stays_a_turn() -> None:
    segments = segments_from_messages([turn("user", "Say nothing."), turn("assistant", "")], num_images=0)
    assert segments[-1] == TurnSegment(role="assistant", is_supervised=True, is_plain=True)
    assert messages_from_segments(segments)[-1] == {"role": "assistant", "content": "", "train": True}


USER, ANSWER = turn("user", "Hi"), turn("assistant", "Ho")


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("hello", "messages is a list of turns, at least one; found 'hello'"),
        ([], "messages is a list of turns, at least one"),
        ([{"role": "user"}], "message 0: expected an object with role and content"),
        ([turn("robot", "x"), ANSWER], "message 0: unknown role 'robot'; known: system, user, assistant, tool"),
        ([turn("user", {"type": "video"}), ANSWER], "message 0, content block 0: neither"),
        (
            [turn("user", {"type": "text", "text": 3}), ANSWER],
            "message 0, content block 0: neither a text nor an image",
        ),
        ([{"role": "user", "content": 5}, ANSWER], "message 0: content is a string or a list of blocks, found 5"),
        ([USER, turn("assistant", "x", tool_calls=[{}])], "message 1.tool_calls[0] has no name of a function"),
        ([turn("user", "x", train=True), ANSWER], "message 0: train is true or false, and only turns of the assistant"),
        ([USER, turn("assistant", "x", train=1)], "message 1: train is true or false"),
        ([USER], "there is no turn of the assistant: nothing to train on"),
        ([USER, ANSWER, USER], "the last message is of user: nothing is supervised after the last answer"),
        ([USER, turn("assistant", "x", train=False)], "no message has train: true: nothing to train on"),
        ([turn("user", IMAGE), ANSWER], "1 image blocks, the row has 0 images; there are more image blocks"),
    ],
)
def test_bad_rows_are_named(messages: Any, message: str) -> None:
    with pytest.raises(RowError) as error:
        segments_from_messages(messages, num_images=0)
    assert message in str(error.value)


def test_images_left_over() -> None:
    with pytest.raises(RowError, match="0 image blocks, the row has 2 images; images left over: 2"):
        segments_from_messages([USER, ANSWER], num_images=2)
