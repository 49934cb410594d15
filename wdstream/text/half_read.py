"""Rows of which a part alone would be trained on as if it were all: refused, with what to do.

{"prompt": ..., "chosen": ..., "rejected": ...}    a pair of preferences; either answer may be in another field
{"prompt", "completion", "label": false}           an answer to avoid; `kto_tag` says the same
{"text": "at <bbox>", "objects": {"bbox": ...}}    a text whose boxes and names are elsewhere
{"pdf_path": "a.pdf", "text": ...}                 a page whose picture is in a PDF that is only named
"""

import re
from collections.abc import Mapping, Sequence

from wdstream.errors import RowError
from wdstream.records import Segment, TextSegment

_REJECTED = re.compile(r"rejected(_(response|answer|message|image|completion|output|text)s?)?", re.IGNORECASE)
_CHOSEN = "chosen"
_QUESTIONS = ("prompt", "question", "instruction", "query", "conversations", "messages")
_OBJECTS = "objects"
_MARKS_OF_OBJECTS = ("<bbox>", "<ref-object>")


def refuse_preferences(fields: Mapping[str, object], metadata_fields: frozenset[str], *, is_mapped: bool) -> None:
    """Check that no field is an answer to avoid.

    Args:
        fields: of the row; without those that a map took.
        metadata_fields: names of fields that are metadata, whatever they look like.
        is_mapped: whether somebody said which field is the text: then `chosen` alone may be left.

    Raises:
        RowError: names the field, and the map that takes the chosen answer.
    """
    rest = fields
    if metadata_fields:
        rest = {field: value for field, value in fields.items() if field not in metadata_fields}
    for field, value in rest.items():
        if _REJECTED.fullmatch(field) and isinstance(value, str | Mapping | Sequence) and value:
            if is_mapped and _CHOSEN not in rest:
                continue
            raise RowError(
                f"{field!r} is an answer to avoid: pairs of preferences are not trained on",
                option=f"{_map_of_chosen(rest)}, or say that it is metadata with --metadata-field {field}",
            )
    is_to_avoid = rest.get("kto_tag") is False or (rest.get("label") is False and "completion" in rest)
    if is_to_avoid:
        field = "kto_tag" if "kto_tag" in rest else "label"
        raise RowError(
            f"{field!r} is false: the answer is one to avoid, and is not trained on",
            option=f", unless that is metadata: --metadata-field {field}",
        )


def _map_of_chosen(fields: Mapping[str, object]) -> str:
    if _CHOSEN not in fields:
        return ""
    question = next((name for name in _QUESTIONS if name in fields), None)
    chosen = f"question={question},answer={_CHOSEN}" if question else f"turns={_CHOSEN}"
    return f"; take the chosen answer alone with --map {chosen}"


def refuse_marks_of_objects(segments: Sequence[Segment], meta: Mapping[str, object]) -> None:
    """Check that no text has marks that stand for values of the field `objects`.

    Raises:
        RowError: names the mark.
    """
    if not isinstance(meta.get(_OBJECTS), Mapping):
        return
    texts = [segment.text for segment in segments if isinstance(segment, TextSegment)]
    mark = next((mark for mark in _MARKS_OF_OBJECTS if any(mark in text for text in texts)), None)
    if mark is not None:
        raise RowError(
            f"the text has {mark}, which stands for a value of {_OBJECTS!r}: write the values as the model reads them",
            option=f", or say that they are metadata with --metadata-field {_OBJECTS}",
        )


def refuse_named_pdf(fields: Mapping[str, object], metadata_fields: frozenset[str]) -> None:
    """Check that a row without an image names no PDF that it is the text of.

    Raises:
        RowError: names the field.
    """
    for field, value in fields.items():
        if field not in metadata_fields and names_pdf(field, value):
            raise RowError(
                f"{field} names a PDF, {value!r:.80}, and the row has no image: give the PDF's bytes in 'pdf', or its "
                "name there for `wdstream make-shards`, which draws it, and the number of the page in 'page'",
                option=f", or say that it is metadata with --metadata-field {field}",
            )


def names_pdf(field: str, value: object) -> bool:
    """Whether a field says in which PDF the page of the row is."""
    return isinstance(value, str) and field.lower().startswith("pdf") and value.lower().endswith(".pdf")
