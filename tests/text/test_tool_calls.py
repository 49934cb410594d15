"""Calls and definitions of tools, from the forms that rows have."""

from typing import Any

import pytest

from wdstream.errors import RowError
from wdstream.records import TurnSegment
from wdstream.text.messages import messages_from_segments, segments_from_messages
from wdstream.text.row_forms import read_row

CALL = {"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
USER = {"role": "user", "content": "Q"}
END = {"role": "assistant", "content": "A"}


def calls_of(turn: dict[str, Any]) -> Any:
    row = read_row({"messages": [USER, turn, END]})
    return messages_from_segments(row.segments)[1].get("tool_calls")


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}, "type": "function"}]},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {"a": 1, "b": None}}]},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}},
        {"from": "function_call", "value": '{"name": "f", "arguments": {"a": 1}}'},
        {"role": "assistant", "content": "", "tool_calls": '[{"name": "f", "arguments": {"a": 1}}]', "name": None},
    ],
)
def test_forms_of_calls(turn: dict[str, Any]) -> None:
    assert calls_of(turn) == [CALL]


def test_null_in_arguments_that_are_json_stays() -> None:
    turn = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": '{"a": null}', "id": "c1"}]}
    (call,) = calls_of(turn)
    assert (call["function"]["arguments"], call["id"]) == ({"a": None}, "c1")


def test_they_are_stored_and_read_again() -> None:
    turns = [USER, {"role": "assistant", "content": "B", "tool_calls": [CALL]}]
    turns += [{"role": "tool", "content": "T", "tool_call_id": "c1", "name": "f"}, END]
    segments = read_row({"messages": turns, "tools": '[{"name": "f", "parameters": {}}]'}).segments
    stored = messages_from_segments(segments)
    assert stored[0]["tools"] == [{"name": "f", "parameters": {}}]
    assert (stored[2]["tool_call_id"], stored[2]["name"]) == ("c1", "f")
    assert segments_from_messages(stored, num_images=0) == segments


def test_newer_and_older_names_of_roles() -> None:
    turns = [{"role": "developer", "content": "D"}, USER, {"role": "function", "content": "F", "name": "f"}, END]
    roles = [s.role for s in read_row({"messages": turns}).segments if isinstance(s, TurnSegment)]
    assert roles == ["system", "user", "tool", "assistant"]


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"role": "assistant", "tool_calls": [1]}, "tool_calls[0] is int; expected an object"),
        ({"role": "assistant", "tool_calls": [{"arguments": {}}]}, "has no name of a function"),
        ({"role": "assistant", "tool_calls": {"name": "f"}}, "tool_calls is dict, a list expected"),
        ({"role": "assistant", "tool_calls": [{**CALL, "image": "a.png"}]}, "has image, which no template writes"),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "calls of tools are of the assistant, not of 'user'"),
        ({"from": "function_call", "value": "no json"}, "is not readable JSON"),
        ({"role": "assistant", "tool_calls": [CALL], "function_call": {"name": "f"}}, "keep one"),
        ({"role": "user", "content": "x", "tools": [{"name": "f"}]}, "definitions of tools are in the first message"),
    ],
)
def test_what_is_no_call(turn: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        calls_of(turn)
    assert reason in str(caught.value)


@pytest.mark.parametrize("tools", ["no json", 3, [3], ["3"]])
def test_what_is_no_definition(tools: object) -> None:
    with pytest.raises(RowError):
        read_row({"messages": [USER, END], "tools": tools})
