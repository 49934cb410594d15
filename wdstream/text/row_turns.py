"""Parts and turns of rows, as others write them, in the form that messages.py reads.

    {"type": "image_url", "image_url": {"url": ...}}, {"image": "a.png"}      {"type": "image"}, and the image apart
    {"type": "input_text", "text": ...}, {"text": ...}                        {"type": "text", "text": ...}
    {"from": "human", "value": ...}                                           {"role": "user", "content": ...}
    a text with placeholders                                                  parts of texts and images

Null is absent. What has no form here is left as it is, for messages.py to name.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

from wdstream.errors import RowError
from wdstream.records import ImageSegment, TextSegment
from wdstream.text.placeholders import split_texts
from wdstream.text.row_fields import refuse_unused_images
from wdstream.text.row_images import REFERENCE_KEYS, RowImage, images_of_value
from wdstream.text.tool_calls import TOOLS, calls_of_text, normal_calls, normal_tools

_IMAGE_TYPES = frozenset({"image", "image_url", "input_image"})
_TEXT_TYPES = frozenset({"text", "input_text", "output_text"})
_TEXT_KEYS = ("type", "text", "is_supervised")
_IMAGE: dict[str, object] = {"type": "image"}
ROLE_NAMES = {
    "human": "user",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "function": "tool",
    "developer": "system",
}
"""Names of roles that others use."""
_CALL_ROLE = "function_call"
_LOSS_KEYS = ("weight", "loss")
_SYSTEM, _HISTORY = "system", "history"
_PAIR = ("user", "assistant")


def normal_parts(content: object, where: str, named: list[RowImage]) -> object:
    """Content with its parts in our form; images that the parts name are added to `named`.

    Raises:
        RowError: an image of a part cannot be read, or a part holds one and does not use it.
    """
    if not isinstance(content, list | tuple):
        return content
    return [_normal_part(part, f"{where}[{number}]", named) for number, part in enumerate(content)]


def normal_turns(turns: object, where: str, named: list[RowImage]) -> object:
    """Turns in our form; images that their parts name are added to `named`.

    Raises:
        RowError: as `normal_parts`.
    """
    if not isinstance(turns, list | tuple):
        return turns
    if not turns:
        raise RowError(f"{where} is a list of turns, at least one; found []")
    return _with_train([_normal_turn(turn, f"{where}[{number}]", named) for number, turn in enumerate(turns)])


def num_image_parts(contents: Sequence[object]) -> int:
    """Parts of contents in our form that are images."""
    return sum(part == _IMAGE for content in contents if isinstance(content, list) for part in content)


def content_with_images(content: object, num_images: int, placeholder: str | None) -> object:
    """Content without image parts, with them at its placeholders, or first.

    Raises:
        RowError: placeholders are not as many as images.
    """
    (split,) = _at_placeholders([content], num_images, placeholder) or [_after_images(content, num_images)]
    return split


def turns_with_images(turns: object, num_images: int, placeholder: str | None) -> object:
    """Turns in our form without image parts, with them at placeholders, or first in the first turn of the user.

    Raises:
        RowError: placeholders are not as many as images.
    """
    if not isinstance(turns, list):
        return turns
    contents = [turn.get("content") if isinstance(turn, dict) else None for turn in turns]
    split = _at_placeholders(contents, num_images, placeholder)
    if split is None:
        users = [n for n, turn in enumerate(turns) if isinstance(turn, dict) and turn.get("role") == "user"]
        first = users[0] if users else 0
        split = [_after_images(content, num_images) if n == first else content for n, content in enumerate(contents)]
    placed = zip(turns, split, strict=True)
    return [{**turn, "content": content} if content is not None else turn for turn, content in placed]


def question_turns(
    fields: Mapping[str, object], question: str, answer: str, *, is_mapped: bool = False
) -> tuple[list[str], list[object]]:
    """A row of a question form as turns, and the fields they are made of: `history`, [[question, answer], ...], comes
    first, `input` is a second line of an instruction (and of the question that a map names), and of several answers the
    first counts; lists of questions and of as many answers are pairs.

    Raises:
        RowError: the history has another form, or there is no answer.
    """
    used = [question, answer]
    history = _history(fields.get(_HISTORY) or [])
    used += [_HISTORY] if _HISTORY in fields else []
    asked, said = fields[question], fields[answer]
    more = fields.get("input")
    if isinstance(asked, str) and isinstance(more, str) and (question == "instruction" or is_mapped):
        used.append("input")
        asked = f"{asked}\n{more}" if more else asked
    if said == []:
        raise RowError(f"{answer} is an empty list; expected one answer at least")
    if are_texts(asked):
        pairs = [*history, *_paired(asked, said, f"{question} and {answer}")]
    else:
        pairs = [*history, (asked, said[0] if isinstance(said, list | tuple) and not _are_turns(said) else said)]
    turns = [[*_turns_of(first, "user"), *_turns_of(second, "assistant")] for first, second in pairs]
    return used, [turn for pair in turns for turn in pair]


def are_texts(value: object) -> TypeGuard[list[str]]:
    """Whether a value is a list of texts, at least one."""
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _paired(asked: list[str], said: object, where: str) -> list[Sequence[object]]:
    if not are_texts(said) or len(said) != len(asked):
        raise RowError(f"{where} do not pair up: {len(asked)} questions, and {said!r:.60}")
    return list(zip(asked, said, strict=True))


def _history(history: object) -> Sequence[Sequence[object]]:
    if isinstance(history, list | tuple) and all(isinstance(p, list | tuple) and len(p) == 2 for p in history):
        return history
    raise RowError(f"{_HISTORY} is not a list of pairs of a question and an answer: {history!r:.80}")


def is_list_of_pairs(value: object) -> bool:
    """Whether a value is a list of {"user": ..., "assistant": ...}, with other keys or without."""
    pairs = value if isinstance(value, list | tuple) else []
    return bool(pairs) and all(isinstance(pair, Mapping) and pair.keys() >= {*_PAIR} for pair in pairs)


def turns_of_pairs(pairs: object, where: str) -> list[object]:
    """The turns of pairs of a question and an answer. Other keys, such as `source`, are of no use here.

    Raises:
        RowError: such a key holds what could be an image.
    """
    turns: list[object] = []
    for number, pair in enumerate(pairs if isinstance(pairs, list | tuple) else []):
        _refuse_unused({str(key): value for key, value in pair.items() if key not in _PAIR}, [], f"{where}[{number}]")
        turns += [{"role": role, "content": pair[role]} for role in _PAIR]
    return turns


def _turns_of(said: object, role: str) -> list[object]:
    """What one side says as its turn; a turn, or a list of turns (prompt and completion of TRL), is these."""
    turns = [said] if isinstance(said, Mapping) else said
    return list(turns) if isinstance(turns, list | tuple) and _are_turns(turns) else [{"role": role, "content": said}]


def _are_turns(said: Sequence[object]) -> bool:
    return bool(said) and all(isinstance(turn, Mapping) and turn.keys() & {"role", "from"} for turn in said)


def with_system(fields: Mapping[str, object], turns: object) -> tuple[list[str], object]:
    """Turns with the text of the field `system` as the first of them, and that field where it was used.

    Raises:
        RowError: there is a turn of the system, too.
    """
    system = fields.get(_SYSTEM)
    if not isinstance(system, str) or not isinstance(turns, list | tuple) or not turns:
        return [], turns
    first = turns[0]
    if isinstance(first, Mapping) and _SYSTEM in (first.get("role"), first.get("from")):
        raise RowError("the text of the system is given twice, in the field 'system' and as a turn; keep one")
    return [_SYSTEM], [{"role": _SYSTEM, "content": system}, *turns] if system else turns


def with_tools(fields: Mapping[str, object], turns: object) -> tuple[list[str], object]:
    """Turns with the definitions of the field `tools` in the first of them, and that field where it was used.

    Raises:
        RowError: they have another form, or the first turn has some, too.
    """
    tools = normal_tools(fields.get(TOOLS))
    if not tools or not isinstance(turns, list) or not turns or not isinstance(turns[0], dict):
        return [], turns
    if turns[0].get(TOOLS):
        raise RowError("definitions of tools are given twice, in the field 'tools' and in the first turn; keep one")
    return [TOOLS], [{**turns[0], TOOLS: tools}, *turns[1:]]


def _normal_turn(turn: object, where: str, named: list[RowImage]) -> object:
    if not isinstance(turn, Mapping):
        return turn
    present = {key: value for key, value in turn.items() if value is not None}
    if "role" not in present and isinstance(present.get("from"), str):
        present["role"] = present.pop("from")
    if isinstance(role := present.get("role"), str):
        present["role"] = ROLE_NAMES.get(role, role)
    if "content" not in present and "value" in present:
        present["content"] = present.pop("value")
    if present.get("role") == _CALL_ROLE:
        calls = calls_of_text(present.pop("content", None), where)
        present |= {"role": "assistant", "content": "", "tool_calls": calls}
    elif calls := normal_calls(present, where):
        present["tool_calls"] = calls
        present.setdefault("content", "")
    present.pop(_CALL_ROLE, None)
    if "content" in present:
        present["content"] = normal_parts(present["content"], f"{where}.content", named)
    return present


def _with_train(turns: list[object]) -> list[object]:
    """Turns in our form, where `weight` (0 or 1, of OpenAI) or `loss` (of ms-swift) says what is supervised."""
    answers = [turn for turn in turns if isinstance(turn, dict) and turn.get("role") == "assistant"]
    for name in _LOSS_KEYS:
        if any(name in turn for turn in answers) and all(turn.get(name, 1) in (0, 1) for turn in answers):
            for turn in answers:
                turn["train"] = bool(turn.pop(name, True))
    return turns


def _normal_part(part: object, where: str, named: list[RowImage]) -> object:
    if not isinstance(part, Mapping):
        return part
    present = {key: value for key, value in part.items() if value is not None}
    kind = present.get("type")
    if kind is None:
        kind = "text" if "text" in present else "image" if present.keys() & set(REFERENCE_KEYS) else None
    if kind in _TEXT_TYPES and isinstance(present.get("text"), str):
        rest = {str(key): value for key, value in present.items() if key not in _TEXT_KEYS}
        _refuse_unused(rest, [], where)
        return {"type": "text"} | {key: present[key] for key in _TEXT_KEYS[1:] if key in present}
    if kind not in _IMAGE_TYPES:
        return part
    images = images_of_value({key: value for key, value in present.items() if key in REFERENCE_KEYS}, where)
    rest = {str(key): value for key, value in present.items() if key not in REFERENCE_KEYS and key != "type"}
    if rest.get("text"):
        raise RowError(f"{where} is an image and has a text, which would be lost; make them two parts")
    _refuse_unused(rest, images, where)
    named += images
    return dict(_IMAGE)


def _refuse_unused(rest: Mapping[str, object], images: Sequence[RowImage], where: str) -> None:
    try:
        refuse_unused_images(rest, images)
    except RowError as error:
        raise RowError(f"{where}: {error}") from error


def _at_placeholders(contents: Sequence[object], num_images: int, placeholder: str | None) -> list[object] | None:
    """Contents with images at placeholders; None where they have none."""
    texts = [text for content in contents for text in _texts_of(content)]
    pieces = split_texts(texts, num_images, placeholder)
    if all(piece is None for piece in pieces):
        return None
    remaining = iter(pieces)
    return [_filled(content, remaining) for content in contents]


def _texts_of(content: object) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if _is_text(part)]


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


_Pieces = tuple[TextSegment | ImageSegment, ...] | None


def _filled(content: object, pieces: Iterator[_Pieces]) -> object:
    """One content, its texts replaced by the next of the pieces where there are any."""
    if isinstance(content, str):
        found = next(pieces)
        return content if found is None else _parts({"type": "text"}, found)
    if not isinstance(content, list):
        return content
    filled: list[object] = []
    for part in content:
        found = next(pieces) if _is_text(part) else None
        filled += [part] if found is None else _parts(part, found)
    return filled


def _parts(text_part: Mapping[str, object], pieces: Sequence[TextSegment | ImageSegment]) -> list[object]:
    return [{**text_part, "text": piece.text} if isinstance(piece, TextSegment) else dict(_IMAGE) for piece in pieces]


def _after_images(content: object, num_images: int) -> object:
    """Content with images before it."""
    images: list[object] = [dict(_IMAGE) for _ in range(num_images)]
    if not images:
        return content
    if isinstance(content, str):
        return [*images, {"type": "text", "text": content}] if content else images
    return [*images, *content] if isinstance(content, list) else content
