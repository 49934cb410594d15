"""Rows of which a part alone would be trained on as if it were all: refused, with what to do.

{"prompt": ..., "chosen": ..., "rejected": ...}    a pair of preferences; either answer may be in another field
{"prompt", "completion", "label": false}           an answer to avoid; `kto_tag` says the same
{"text": "at <bbox>", "objects": {"bbox": ...}}    a text whose boxes and names are elsewhere
{"pdf_path": "a.pdf", "text": ...}                 a page whose picture is in a PDF that is only named
{"text": ..., "bbox": [...]} without an image      line or block of a page, as OCR and layout models write them
{"text": "72,25,326,25,326,64,72,64,TOTAL\n..."}   boxes of words in place of the text of an image
"""

import re
from collections.abc import Mapping, Sequence

from wdstream.errors import RowError
from wdstream.records import Segment, TextSegment, TurnSegment
from wdstream.text.characters import short_name
from wdstream.text.image_names import NAME_WORD
from wdstream.text.not_text import FETCH_LFS, are_boxes, is_lfs_pointer, place_in

_REJECTED = re.compile(r"rejected(_(response|answer|message|image|completion|output|text)s?)?", re.IGNORECASE)
_CHOSEN = "chosen"
_QUESTIONS = ("prompt", "question", "instruction", "query", "conversations", "messages")
_OBJECTS = "objects"
_MARKS_OF_OBJECTS = ("<bbox>", "<ref-object>")
_OF_THE_EARTH = re.compile(
    "lat|lon|lng|latitude|longitude|geo|geometry|geojson|places?|countr(?:y|ies)|cit(?:y|ies)|maps?|district|county|"
    "osm|wikidata|stac|epsg|crs|srid",
    re.IGNORECASE,
)
_ELEMENT_OF_MINERU = re.compile(
    "text|title|image|table|(?:interline_)?equation|list|code|chart|header|footer|page_number|aside_text|page_footnote|"
    "ref_text|discarded|algorithm"
)
_NOT_FETCHED = ("failed_to_download", "failed_to_resize")  # by img2dataset


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


def refuse_half_read(
    segments: Sequence[Segment],
    meta: Mapping[str, object],
    metadata_fields: frozenset[str],
    *,
    has_images: bool,
    is_mapped: bool,
) -> None:
    """Check that what a row says besides does not make its text a part of what was meant.

    Args:
        segments: of the row.
        meta: its fields that are not used.
        metadata_fields: names of fields that are metadata, whatever they look like.
        has_images: whether the row has an image.
        is_mapped: whether somebody said which field is the text: then it may be boxes.

    Raises:
        RowError: it is; says what to do.
    """
    rest = meta
    if metadata_fields:
        rest = {field: value for field, value in meta.items() if field not in metadata_fields}
    refuse_marks_of_objects(segments, rest)
    texts = [segment.text for segment in segments if isinstance(segment, TextSegment)]
    if any(map(is_lfs_pointer, texts)):
        raise RowError(f"the text {FETCH_LFS}, and make the rows again")
    is_chat = any(isinstance(segment, TurnSegment) for segment in segments)
    if not has_images:
        refuse_unfetched(rest)
        refuse_named_pdf(rest, metadata_fields)
        refuse_places(rest, is_chat=is_chat)
    if len(texts) == 1 and not is_mapped and not is_chat:
        text = texts[0].lstrip("\ufeff \t\r\n")
        if (text[:1].isdigit() or text.startswith("-")) and are_boxes(text):
            raise RowError(
                "the text has a box in numbers on each line, not the text of a page: write the words alone, in "
                "reading order",
                option=", or say with --map text=FIELD that this is what is to be written",
            )


def refuse_unfetched(fields: Mapping[str, object]) -> None:
    """Check that a sample without an image is not one of which img2dataset could not fetch it.

    Raises:
        RowError: it says so of itself.
    """
    status = fields.get("status")
    if isinstance(status, str) and status in _NOT_FETCHED and "url" in fields:
        why = fields.get("error_message")
        raise RowError(
            f"its image could not be fetched when the set was made: {status}"
            f"{f' ({short_name(str(why))})' if why else ''}; leave it out"
        )


def refuse_places(fields: Mapping[str, object], *, is_chat: bool = False) -> None:
    """Check that a row without an image is not a line, block or word of a page.

    Args:
        fields: that are not used.
        is_chat: whether its text is turns: these may speak of shapes and windows, and only a box of the row itself says
            that there was an image.

    Raises:
        RowError: names the field that says so.
    """
    field = place_in(fields, is_sure=is_chat)
    if field is not None and any(_OF_THE_EARTH.fullmatch(word) for name in fields for word in NAME_WORD.findall(name)):
        return  # a place in the world
    field = field or _field_of_element(fields)
    if field is not None:
        raise RowError(
            f"field {field!r} says where on a page this text is, and the row has no image: it is a part of what was "
            "read on a page; give the image of the page with all its text, in one row",
            option=f", or say that this is metadata with --metadata-field {field}",
        )


def _field_of_element(fields: Mapping[str, object]) -> str | None:
    """What says that a row is an element of a page, as MinerU and unstructured write them, by their kinds."""
    kind, page = fields.get("type"), fields.get("page_idx")
    if isinstance(kind, str) and isinstance(page, int) and _ELEMENT_OF_MINERU.fullmatch(kind):
        return "page_idx"
    # NarrativeText, ListItem: unstructured's are names of classes, and a digest says which
    is_element = isinstance(kind, str) and kind[:1].isupper() and isinstance(fields.get("element_id"), str)
    return "element_id" if is_element and isinstance(fields.get("metadata"), Mapping) else None


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
