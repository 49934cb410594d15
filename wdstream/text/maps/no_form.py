"""Rows without a form, or with several: what is said of them, with the map that would read them, and nulls."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from wdstream.errors import RowError
from wdstream.text.image_names import NAME_WORD, holds_image, is_image_name, is_link, looks_like_image
from wdstream.text.maps.field_paths import escaped
from wdstream.text.maps.forms import ALL_IMAGE_FIELDS, CAPTION_FIELDS, QUESTION_FORMS, TEXT, TEXTS, named_forms
from wdstream.text.maps.layouts import layout_of
from wdstream.text.row_turns import are_texts

_TEXT_NAMES = ("txt", *CAPTION_FIELDS)
"""Of a text, whatever else is longer."""
_OTHER_WORD = re.compile(
    "(?:key|id|uid|uuid|name|filename|file|filepath|path|url|uri|link|href|source|src|split|hash|md5|sha|license|licence|"
    "date|time|at|by|timestamp|lang|language|category|type|format|status|version|number|no|set)s?"
)


def without_nulls(row: Mapping[str, object]) -> dict[str, object]:
    """The fields of a row that are not null; a text that is null, where there is no other, is empty: the row has a
    form, and no text."""
    present = {field: value for field, value in row.items() if value is not None}
    if len(present) == len(row):
        return present
    null = next((field for field in (TEXT, *CAPTION_FIELDS) if field in row and row[field] is None), None)
    if null is None or TEXTS in present or any(named_forms((*present,))) or layout_of(present) is not None:
        return present
    return {**present, null: ""}


def no_form(fields: Mapping[str, object], texts: Sequence[str]) -> RowError:
    """For a row without a text, or with several `texts`."""
    found = ", ".join(texts or sorted(map(str, fields))) or "no fields"
    asked = next((field for field, _ in QUESTION_FORMS if isinstance(fields.get(field), str)), None)
    named = f"; call the field that holds the text 'text', or say with a map which it is ({_likely_map(fields)})"
    if asked is not None and _plain_text(fields) is None:
        named = _no_answer(fields, asked)
    more = "; more than one is a text" if texts else named if fields else ""
    return RowError(
        f"expected text (with images), content, messages or conversations, one of them; found {found:.200}{more}",
        option=": say with --metadata-field which is metadata" if texts else "",
    )


def _no_answer(fields: Mapping[str, object], asked: str) -> str:
    """For a row with the question `asked` and no answer under a known name: the question is not its text."""
    answer = next((escaped(field) for field in fields if "answer" in field.lower()), None)
    answers = " or ".join(name for field, name in QUESTION_FORMS if field == asked)
    advice = ":" if answer else ", as in the test splits of many sets: leave such rows out, or"
    return (
        f"; {asked!r} has no {answers}{advice} say with a map which field is the answer "
        f"(question={asked},answer={answer or 'FIELD'})"
    )


def _plain_text(fields: Mapping[str, object]) -> str | None:
    return next((field for field in _TEXT_NAMES if _may_be_text(fields.get(field))), None)


def _likely_map(fields: Mapping[str, object]) -> str:
    """The map of a row without a known name: of its turns, also inside of a field, or of its image and its text: one
    that is called so, a question with its answer, or the longest."""
    inner = dict(_inside(fields))
    top = {escaped(field): value for field, value in fields.items()}
    turns = next((path for path, value in {**top, **inner}.items() if _are_turns(value)), None)
    if turns is not None:
        return f"turns={turns}"
    images = chain(
        (escaped(field) for field, value in fields.items() if _is_unknown_image(field, value)),
        (path for path, value in inner.items() if _is_image(value)),
    )
    image = "" if fields.keys() & ALL_IMAGE_FIELDS else next((f"image={path}," for path in images), "")
    plain = _plain_text(fields) or next((p for p in inner if _name(p) in (TEXT, *_TEXT_NAMES)), None)
    if plain is not None:
        return f"{image}text={plain}"
    pairs = ((path, path.removesuffix(_name(path))) for path in inner)
    asked = next(((p, q + a) for p, q in pairs for n, a in QUESTION_FORMS if n == _name(p) and q + a in inner), None)
    if asked is not None:
        return f"{image}question={asked[0]},answer={asked[1]}"
    texts = {path: len(str(value)) for path, value in top.items() if _is_prose(value) and not _names(path)}
    return f"{image}text={max(texts, key=texts.__getitem__, default='FIELD')}"


def _inside(fields: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """What is in objects of a row, and in the first of a list of objects, by the paths of a map."""
    for field, value in fields.items():
        first = value[0] if isinstance(value, list | tuple) and value else None
        of, each = (value, "") if isinstance(value, Mapping) else (first, "[*]")
        if isinstance(of, Mapping) and not _are_turns(value):
            yield from ((f"{escaped(field)}{each}.{escaped(str(name))}", inner) for name, inner in of.items())


def _name(path: str) -> str:
    return path.rpartition(".")[2]


def _are_turns(value: object) -> bool:
    first = value[0] if isinstance(value, list | tuple) and value else None
    return isinstance(first, Mapping) and bool(first.keys() & {"role", "from"})


def _names(field: str) -> bool:
    """Whether a field says which row it is, or where it is from, by its name: `__key__`, `doc_id`, `pdf_url`."""
    words = [word.lower() for word in NAME_WORD.findall(field) if not word.isdecimal()]
    return bool(words) and _OTHER_WORD.fullmatch(words[-1]) is not None


def _is_unknown_image(field: str, value: object) -> bool:
    """Whether a field that is not known by its name holds the bytes of an image, as `jpg` of a table of samples, or the
    name of its file."""
    return field not in ALL_IMAGE_FIELDS and _is_image(value)


def _is_image(value: object) -> bool:
    data = value.get("bytes") if isinstance(value, Mapping) else value
    is_name = isinstance(data, str) and is_image_name(data) and not is_link(data)
    return is_name or (isinstance(data, bytes) and looks_like_image(data))


def _is_prose(value: object) -> bool:
    """Whether a value may be a text, and is not a number as tables of texts have it."""
    return _may_be_text(value) and not str(value).strip().replace(".", "").isdecimal()


def _may_be_text(value: object) -> bool:
    return are_texts(value) or (
        isinstance(value, str) and bool(value.strip()) and not is_image_name(value) and not holds_image(value)
    )
