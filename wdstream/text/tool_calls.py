"""Calls of tools in chat rows, in the form that chat templates read, from the forms that rows have.

    {"tool_calls": [{"function": {"name": "f", "arguments": "{\\"a\\": 1}"}, "id": ..., "type": "function"}]}   OpenAI
    {"tool_calls": [{"name": "f", "arguments": {"a": 1}}]}                                                   others
    {"function_call": {"name": "f", "arguments": ...}}                                                 OpenAI, before
    {"from": "function_call", "value": "{\\"name\\": \\"f\\", \\"arguments\\": ...}"}                          ShareGPT

become the first of them, with arguments as an object. Definitions of tools (the row's `tools`) are a list of objects,
or JSON of one. Null is absent, as Arrow adds it to every object; not inside of arguments that are JSON.
"""

import json
from collections.abc import Mapping

from wdstream.errors import RowError
from wdstream.text.row_fields import unambiguous

CALLS, TOOLS = "tool_calls", "tools"
_ONE_CALL = "function_call"
_CALL_KEYS = ("id", "type", "function", "name", "arguments", "index")
_MAX_DEPTH = 64


def normal_calls(turn: Mapping[str, object], where: str) -> list[dict[str, object]]:
    """The calls of a turn; none where it has none.

    Raises:
        RowError: they have another form.
    """
    calls, one = turn.get(CALLS), turn.get(_ONE_CALL)
    if calls and one:
        raise RowError(f"{where} has {CALLS} and {_ONE_CALL}; keep one")
    if one:
        calls = [one]
    calls = _from_json(calls, f"{where}.{CALLS}") if isinstance(calls, str) else calls
    if calls is None:
        return []
    if not isinstance(calls, list | tuple):
        raise RowError(f"{where}.{CALLS} is {type(calls).__name__}, a list expected")
    return [_call(call, f"{where}.{CALLS}[{number}]") for number, call in enumerate(calls)]


def calls_of_text(text: object, where: str) -> list[dict[str, object]]:
    """The calls that a turn of the role `function_call` has as its text.

    Raises:
        RowError: it is not the JSON of a call, or of a list of them.
    """
    if not isinstance(text, str):
        raise RowError(f"{where} is {type(text).__name__}, JSON of a call expected")
    value = _from_json(text, where)
    calls = value if isinstance(value, list) else [value]
    return [_call(call, f"{where}[{number}]") for number, call in enumerate(calls)]


def normal_tools(tools: object) -> list[object]:
    """Definitions of tools; none where there are none.

    Raises:
        RowError: they are not a list of objects.
    """
    if isinstance(tools, str):
        tools = _from_json(tools, TOOLS) if tools.strip() else None
    if not tools:
        return []
    if not isinstance(tools, list | tuple):
        raise RowError(f"{TOOLS} is {type(tools).__name__}, a list of definitions expected")
    found = [_from_json(tool, TOOLS) if isinstance(tool, str) else without_null(tool) for tool in tools]
    if not all(isinstance(tool, dict) for tool in found):
        raise RowError(f"{TOOLS} holds {found!r:.80}; an object expected for each tool")
    return found


def _call(call: object, where: str) -> dict[str, object]:
    if not isinstance(call, Mapping):
        raise RowError(f"{where} is {type(call).__name__}; expected an object with a function's name and arguments")
    present = {str(key): value for key, value in call.items() if value is not None}
    function = present.get("function", present)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise RowError(f"{where} has no name of a function: {present!r:.80}")
    unknown = [key for key in present if key not in _CALL_KEYS]
    unknown += [str(key) for key in function if function is not present and key not in ("name", "arguments")]
    if unknown:
        raise RowError(f"{where} has {', '.join(unknown)}, which no template writes; leave it out")
    arguments = _arguments(function.get("arguments"), where)
    named = {key: present[key] for key in ("id",) if key in present}
    return {"type": "function", **named, "function": {"name": function["name"], "arguments": arguments}}


def _arguments(value: object, where: str) -> object:
    """An object where it is one, or JSON of one; any other text stays a text."""
    if isinstance(value, str):
        try:
            loaded = _from_json(value, where)
        except RowError:
            return value
        return loaded if isinstance(loaded, dict) else value
    return without_null(value) if isinstance(value, Mapping) else value if value is not None else {}


def without_null(value: object, depth: int = 0) -> object:
    """A value without the keys that are null, however deep.

    Raises:
        RowError: it is nested without end.
    """
    if depth > _MAX_DEPTH:
        raise RowError(f"a definition or call of a tool is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        return {str(key): without_null(inner, depth + 1) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [without_null(inner, depth + 1) for inner in value]
    return value


def _from_json(text: str, where: str) -> object:
    try:
        value: object = json.loads(text, object_pairs_hook=unambiguous)
    except (ValueError, RecursionError) as error:
        raise RowError(f"{where} is not readable JSON: {error!s:.80}") from error
    return value
