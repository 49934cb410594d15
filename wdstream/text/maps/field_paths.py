r"""Where in a row, or in the parts of a sample, a value is: `caption`, `json:caption`, `pages[*].text`, `image.bytes`.

    caption             the field, or the part of a sample, of that name; of a sample without such a part, that field of
                        its json
    meta.lang           the key `lang` of the field `meta`, unless a field (or part: `left.jpg`) is called `meta.lang`
    json:meta.lang      the same in the field or part `json`; what is before `:` is always the name of one
    pages[0], pages[*]  one element of a list, from 0 (from the end: -1), or each of them
    a\.b                a key with a dot; a backslash makes any of `. [ ] : , + | ? \` a character like others

A field that is a text or bytes, and of which a key is wanted, is read as JSON.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wdstream.errors import ConfigError, RowError
from wdstream.text.row_fields import unambiguous

Step = str | int | None
"""A key, the number of an element, or None for each element."""
Way = tuple[Step, ...]
"""From a row down to a value; the first is a field."""
_STEP = re.compile(r"\[(\*|-?\d{1,9})\]|\.?((?:\\.|[^\\.\[\]])+)")
_ESCAPED = re.compile(r"\\(.)")
_SPECIAL = re.compile(r"([.\[\]:,+|?\\])")
_MOST_NEAR = 3
_DEPTH_SHOWN = 3
_ELEMENTS_SHOWN = 4
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPath:
    """One path, as it was written.

    Attributes:
        text: as it was written.
        steps: from the row down.
        has_field: whether the first step was written before a colon, and is the name of a field or part as it is.
    """

    text: str
    steps: Way
    has_field: bool = False

    @classmethod
    def parse(cls, text: str) -> "FieldPath":
        """Read a path.

        Raises:
            ConfigError: it is none; says where.
        """
        first, *others = split_unescaped(text, ":")
        if len(others) > 1 or not first:
            raise ConfigError(f"{text!r}: expected FIELD, FIELD.KEY or FIELD:KEY; write \\: for a colon in a name")
        if others:
            return cls(text=text, steps=(unescaped(first), *_steps(others[0], text)), has_field=True)
        return cls(text=text, steps=_steps(first, text))

    def places(self, row: Mapping[str, object], inside: str = "") -> Iterator[Way]:
        """Where the value may be, the likeliest first.

        Args:
            row: its fields.
            inside: a field in which the fields of the row may be, too: `json` of a sample.
        """
        whole = unescaped(self.text)
        if not self.has_field and whole in row:
            yield (whole,)
        if self.steps[0] in row:
            yield self.steps
        if inside and inside in row and not self.has_field:
            yield (inside, *self.steps)


def value_at(row: Mapping[str, object], steps: Way) -> object:
    """The value at a place; None where there is none.

    Raises:
        RowError: something on the way is not JSON, or an element of a list lacks what the others have.
    """
    return _down(row, steps, "")


def without(value: object, places: Sequence[Way]) -> object:
    """A value without what is at some places in it; None where nothing is left."""
    if not places:
        return value
    if any(not steps for steps in places):
        return None
    if isinstance(value := opened(value, ""), Mapping):
        rest = {key: without(inner, [steps[1:] for steps in places if steps[0] == key]) for key, inner in value.items()}
        return {key: inner for key, inner in rest.items() if inner is not None} or None
    if isinstance(value, list | tuple):
        size = len(value)
        left = [without(v, [s[1:] for s in places if s[0] in (None, n, n - size)]) for n, v in enumerate(value)]
        return left if any(inner is not None for inner in left) else None
    return value


def near_paths(row: Mapping[str, object], wanted: str) -> list[str]:
    """Paths of a row that are written nearly like a wanted one."""
    known = list(dict.fromkeys(_paths(row, "", 0)))
    last = re.split(r"[.:\]]", wanted)[-1]
    by_end = {re.split(r"[.:\]]", path)[-1]: path for path in reversed(known)}
    near = difflib.get_close_matches(wanted, known, _MOST_NEAR, 0.6)
    near += [by_end[name] for name in difflib.get_close_matches(last, by_end, _MOST_NEAR, 0.6)]
    near += [path for path in known if wanted.lower() in path.lower() or path.lower() in wanted.lower()]
    return list(dict.fromkeys(near))[:_MOST_NEAR]


def split_unescaped(text: str, separator: str) -> list[str]:
    """A text split at a character, but for where a backslash is before it."""
    pieces, is_escaped = [""], False
    for character in text:
        if character == separator and not is_escaped:
            pieces.append("")
        else:
            pieces[-1] += character
        is_escaped = character == "\\" and not is_escaped
    return pieces


def shown_way(steps: Way) -> str:
    """Steps as a path."""
    if len(steps) == 1:
        return str(steps[0])
    shown = "".join("[*]" if s is None else f"[{s}]" if isinstance(s, int) else f".{escaped(s)}" for s in steps)
    return shown.removeprefix(".")


def unescaped(text: str) -> str:
    """A text without the backslashes that make characters ordinary."""
    return _ESCAPED.sub(r"\1", text)


def escaped(name: str) -> str:
    """The inverse of `unescaped`: a name as a path writes it."""
    return _SPECIAL.sub(r"\\\1", name)


def _steps(text: str, whole: str) -> Way:
    found: list[Step] = []
    end = 0
    while end < len(text):
        step = _STEP.match(text, end)
        if step is None or (end == 0 and text[0] == "."):
            raise ConfigError(f"{whole!r}: {text[end:]!r} is not a step of a path: names, [0] or [*], dots between")
        found.append(unescaped(step[2]) if step[1] is None else None if step[1] == "*" else int(step[1]))
        end = step.end()
    if not found:
        raise ConfigError(f"{whole!r}: expected the name of a field")
    return tuple(found)


def _down(value: object, steps: Sequence[Step], shown: str) -> object:
    if not steps or value is None:
        return value
    step, rest = steps[0], steps[1:]
    value = opened(value, shown)
    if isinstance(step, str):
        inner = value.get(step) if isinstance(value, Mapping) else None
        return _down(inner, rest, f"{shown}.{step}".lstrip("."))
    if not isinstance(value, list | tuple):
        raise RowError(f"{shown} is {type(value).__name__}, a list expected")
    if step is not None:
        return _down(value[step], rest, f"{shown}[{step}]") if -len(value) <= step < len(value) else None
    found = [_down(inner, rest, f"{shown}[{number}]") for number, inner in enumerate(value)]
    missing = next((n for n, inner in enumerate(value) if inner is not None and found[n] is None and rest), None)
    if missing is not None and any(inner is not None for inner in found):
        raise RowError(f"{shown}[{missing}] has no {rest[0]!r}, which others of the list have")
    return found if any(inner is not None for inner in found) or not rest else None


def opened(value: object, shown: str) -> object:
    """A value that may have parts; a text is read as JSON.

    Raises:
        RowError: it is none; `shown` is what it is called.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        value = bytes(value).decode("utf-8", "replace")
    if not isinstance(value, str):
        return value
    try:
        loaded: object = json.loads(value, object_pairs_hook=unambiguous)
    except (ValueError, RecursionError) as error:
        raise RowError(f"{shown} is a text, not a list or an object, and no JSON: {error!s:.80}") from error
    return loaded


def _paths(value: object, before: str, depth: int) -> Iterator[str]:
    """Paths of what is in a value, a few levels down."""
    if isinstance(value, Mapping) and depth < _DEPTH_SHOWN:
        for key, inner in value.items():
            path = f"{before}.{escaped(str(key))}" if before else escaped(str(key))
            yield path if before else str(key)
            yield from _paths(inner, path, depth + 1)
    elif isinstance(value, list | tuple) and depth < _DEPTH_SHOWN:
        for inner in value[:_ELEMENTS_SHOWN]:
            yield from _paths(inner, f"{before}[*]", depth + 1)
