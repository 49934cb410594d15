"""The forms of rows: a mapping of fields becomes segments, images in order, and metadata. Pure; nothing is opened.

    form            text                                                             images
    text            `text`, with placeholders (placeholders.py)                      of the row
    caption, ...    one of `CAPTION_FIELDS`, with or without placeholders            of the row, at least one
    content         parts: {"type": "text", "text": ...}, {"type": "image"}          in the parts, or of the row
    messages        turns: {"role": ..., "content": text or parts}                   in the parts, or of the row
    conversations   turns: {"from": "human", "value": text or parts}                 in the parts, or of the row
    question form   one of `QUESTION_FORMS`: two turns                               of the row
    texts           pairs of turns: {"user": ..., "assistant": ...}                  of the row

    images of a row   one of `IMAGE_FIELDS` (row_images.py says what may be in it), or one of `FILE_NAME_FIELDS` that is
                      the name of an image

Null is absent everywhere. Where a part is an image, texts are texts, word for word; elsewhere placeholders say where
images are, and where there are none, the images of a row are before its text, or before the first turn of the user. All
other fields are metadata, unless they could be an image (row_fields.py): then the row is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from wdstream.errors import RowError
from wdstream.records import Segment, TextSegment
from wdstream.text.half_read import refuse_half_read, refuse_preferences
from wdstream.text.image_names import is_image_name
from wdstream.text.maps.field_map import FieldMap, MapText, Taken
from wdstream.text.maps.field_paths import opened
from wdstream.text.maps.forms import (
    ALL_IMAGE_FIELDS,
    CONTENT_FIELD,
    CONVERSATIONS,
    FILE_NAME_FIELDS,
    IMAGE_FIELDS,
    MESSAGES_FIELD,
    TEXTS,
    how_read,
    named_forms,
)
from wdstream.text.maps.layouts import layout_of
from wdstream.text.maps.no_form import no_form, without_nulls
from wdstream.text.maps.readings import RowReading, region_mark
from wdstream.text.messages import ChatLoss, segments_from_content, segments_from_messages
from wdstream.text.placeholders import split_text
from wdstream.text.row_fields import (
    no_file,
    refuse_image_text,
    refuse_images_in_text,
    refuse_unused_images,
)
from wdstream.text.row_images import RowImage, have_one_name, images_of_value, may_be_one
from wdstream.text.row_turns import (
    are_texts,
    content_with_images,
    is_list_of_pairs,
    normal_parts,
    normal_turns,
    num_image_parts,
    question_turns,
    turns_of_pairs,
    turns_with_images,
    with_system,
    with_tools,
)

AnswerChoice = Literal["first", "refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRules:
    """How rows are read.

    Attributes:
        placeholder: the only text that stands for an image; None takes the forms of placeholders.py.
        chat_loss: which turns of the assistant are supervised in chat rows that do not say so.
        metadata_fields: fields that are metadata, whatever they look like.
        is_image_file: whether a text is the name of an image file next to the row.
        field_map: which field is what, where it is not to be found by the names above.
        answers: of several answers to a question, the `first` counts, or the row is refused.
    """

    placeholder: str | None = None
    chat_loss: ChatLoss = "all"
    metadata_fields: frozenset[str] = frozenset()
    is_image_file: Callable[[str], bool] = no_file
    field_map: FieldMap | None = None
    answers: AnswerChoice = "first"


DEFAULT_RULES = RowRules()


def rules_with_map(rules: RowRules, given: FieldMap | MapText | None, preset: str | None = None) -> RowRules:
    """The same rules with a map, where one is given.

    Raises:
        ConfigError: it is no map, or there is no such preset.
    """
    field_map = FieldMap.chosen(given, preset)
    return rules if field_map is None else replace(rules, field_map=field_map)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row, its images not yet read.

    Attributes:
        segments: text and images in order; image i is `images[i]`.
        images: as the row has them.
        meta: all other fields, without those that are null.
        how: what was read as what, such as "llava: image=image, turns=conversations".
        unused: fields that are of no use but as metadata, and were not asked for as such.
        num_answers: to the question of the row, of which the first is used.
    """

    segments: tuple[Segment, ...]
    images: tuple[RowImage, ...]
    meta: Mapping[str, object]
    how: str = ""
    unused: tuple[str, ...] = ()
    num_answers: int = 1

    @property
    def reading(self) -> RowReading:
        """What reports say of it."""
        # A text of turns has more segments, and may speak of a place.
        is_one_text = len(self.images) == 1 and len(self.segments) == 2 and self.unused
        mark = region_mark({name: self.meta.get(name) for name in self.unused}) if is_one_text else ""
        return RowReading(how=self.how, unused=self.unused, has_more_answers=self.num_answers > 1, mark=mark)


def read_row(row: Mapping[str, object], rules: RowRules = DEFAULT_RULES, *, held: Sequence[RowImage] = ()) -> Row:
    """Read a row of any form.

    Args:
        row: its fields.
        rules: how.
        held: images that come with the row (members of its sample); they are the row's where it names none itself.

    Raises:
        RowError: it has no form or several, text and images do not belong together, or an image would not be used.
    """
    present = without_nulls(row)
    if rules.field_map is None and (name := _layout_by_lists(present)) is not None:
        rules = replace(rules, field_map=FieldMap.of_layout(name))
    if rules.field_map is None:
        return _read(present, {}, rules, held)
    taken = rules.field_map.take(present)
    return read_taken(taken, rules, held=held)


def _layout_by_lists(fields: Mapping[str, object]) -> str | None:
    """The layout of a row that has no form of the table above, and shows one otherwise."""
    name = layout_of(fields)
    return None if name is None or any(_forms(fields, has_images=True)) else name


def read_taken(taken: Taken, rules: RowRules, *, held: Sequence[RowImage] = (), brings_images: bool = False) -> Row:
    """Read a row of which a map took the parts; what the map says nothing about is found as usual.

    Args:
        taken: the parts.
        rules: how, with the map.
        held: as in `read_row`.
        brings_images: whether the images are parts of a sample, so that names of others say where they are from.

    Raises:
        RowError: as `read_row`.
    """
    field_map = rules.field_map
    assert field_map is not None, "it took the parts"
    found = {field: value for field, value in taken.rest.items() if field not in taken.metadata}
    if field_map.has_text:
        found = {} if field_map.has_images else {f: v for f, v in found.items() if f in ALL_IMAGE_FIELDS}
    elif field_map.has_images:
        found = {field: value for field, value in found.items() if field not in ALL_IMAGE_FIELDS}
    found = {field: value for field, value in found.items() if field not in taken.fields}
    rest = {field: value for field, value in taken.rest.items() if field not in found}
    rules = replace(rules, metadata_fields=rules.metadata_fields | taken.metadata)
    row = _read({**found, **taken.fields}, rest, rules, held, brings_images=brings_images)
    unused = tuple(field for field in row.unused if field not in taken.metadata)
    meta = {f: v for f, v in row.meta.items() if field_map.rest == "keep" or f in taken.metadata}
    return replace(row, meta=meta, unused=unused, how=f"{field_map.preset}: {taken.how}".removeprefix(": "))


def _read(
    present: Mapping[str, object],
    rest: Mapping[str, object],
    rules: RowRules,
    held: Sequence[RowImage],
    *,
    brings_images: bool = False,
) -> Row:
    """A row of fields without nulls; those of `rest` are metadata, or refused."""
    fields = {field: value for field, value in present.items() if field not in rules.metadata_fields}
    is_mapped = rules.field_map is not None and rules.field_map.has_text and not rules.field_map.preset
    refuse_preferences({**fields, **rest}, rules.metadata_fields, is_mapped=is_mapped)
    image_fields, images = _row_images(fields, rules)
    form = _chosen_form(fields, has_images=bool(images or held))
    num_answers = _num_answers(fields, form, rules)
    reader = _READERS.get(form[0], _read_question if len(form) > 1 else _read_text)
    text_fields, segments, chosen = reader(
        _Parsed(fields=fields, form=form, image_field=", ".join(image_fields), images=images, held=held, rules=rules)
    )
    for segment in segments:
        if isinstance(segment, TextSegment):
            refuse_images_in_text(segment.text, has_images=bool(chosen), is_image_file=rules.is_image_file)
    used = {*image_fields, *text_fields}
    meta = {**{field: value for field, value in present.items() if field not in used}, **rest}
    refuse_half_read(segments, meta, rules.metadata_fields, has_images=bool(chosen), is_mapped=is_mapped)
    refuse_unused_images(
        meta,
        chosen,
        metadata_fields=rules.metadata_fields,
        is_image_file=rules.is_image_file,
        names_are_metadata=bool(held) or brings_images,
    )
    unused = tuple(field for field in meta if field not in rules.metadata_fields)
    how = how_read(form, image_fields)
    return Row(segments=segments, images=tuple(chosen), meta=meta, unused=unused, how=how, num_answers=num_answers)


def _num_answers(fields: Mapping[str, object], form: Sequence[str], rules: RowRules) -> int:
    """How many answers a question has that may have several."""
    answers = fields[form[1]] if len(form) > 1 else None
    if not isinstance(answers, list | tuple) or not all(isinstance(answer, str) for answer in answers):
        return 1
    if are_texts(fields[form[0]]):  # one for each question
        return 1
    if len(answers) > 1 and rules.answers == "refuse":
        raise RowError(f"{form[1]} has {len(answers)} answers", option="; --answers first takes the first of them")
    return len(answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parsed:
    """What the reader of a form needs: all fields, those of the form and of the row's images, and the images."""

    fields: Mapping[str, object]
    form: tuple[str, ...]
    image_field: str
    images: Sequence[RowImage]
    held: Sequence[RowImage]
    rules: RowRules

    def chosen_images(self, named: Sequence[RowImage], num_parts: int) -> Sequence[RowImage]:
        """The images of a row whose parts name `named`, and of which `num_parts` parts are images."""
        where = self.form[0]
        if named and self.images:
            raise RowError(f"images are named both in {self.image_field} and in {where}; name each once")
        chosen = self.images or named or self.held
        if num_parts and len(chosen) != num_parts:
            raise RowError(f"{where} has {num_parts} images, but {len(chosen)} file names")
        return chosen


_Found = tuple[Sequence[str], tuple[Segment, ...], Sequence[RowImage]]
"""The fields that were used, the segments, and the images."""


def _row_images(fields: Mapping[str, object], rules: RowRules) -> tuple[list[str], list[RowImage]]:
    """The fields with images that are the row's own, and these images."""
    named = [] if fields.keys().isdisjoint(IMAGE_FIELDS) else [field for field in IMAGE_FIELDS if field in fields]
    found = {field: images_of_value(fields[field], field) for field in named if not _is_blank(fields[field])}
    found = {field: images for field, images in found.items() if images}
    if not found or all(image.is_link for images in found.values() for image in images):
        may_be = () if fields.keys().isdisjoint(FILE_NAME_FIELDS) else FILE_NAME_FIELDS
        file_names = [field for field in may_be if _is_file_name(fields.get(field), rules)]
        found |= {field: images_of_value(fields[field], field) for field in file_names}
        named += file_names
    if not found:
        return named, []
    first, *others = found
    for other in others:
        pairs = zip(found[first], found[other], strict=False)
        if len(found[first]) != len(found[other]) or not all(may_be_one(a, b) for a, b in pairs):
            raise RowError(
                f"images are given both in {first!r} and in {other!r}; keep one",
                option=f", or say that one of them is metadata with --metadata-field {other}",
            )
    local = [field for field, images in found.items() if not any(image.is_link for image in images)]
    chosen = found[local[0] if local else first]  # links to it under other names are metadata
    named = [field for field in named if field not in found or have_one_name(found[field], chosen)]
    return named, _called(chosen, fields, rules)


def _called(images: list[RowImage], fields: Mapping[str, object], rules: RowRules) -> list[RowImage]:
    """The only image of a row, held without a name, with the name that the row has for it; a file of that name next
    to the row is another image."""
    if len(images) != 1 or images[0].is_named or images[0].name:
        return images
    values = (fields.get(field) for field in FILE_NAME_FIELDS)
    names = [v for v in values if isinstance(v, str) and is_image_name(v) and not rules.is_image_file(v)]
    return [replace(images[0], name=names[0])] if names else images


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def _is_file_name(value: object, rules: RowRules) -> bool:
    return isinstance(value, str) and (is_image_name(value) or rules.is_image_file(value))


def _chosen_form(fields: Mapping[str, object], *, has_images: bool) -> tuple[str, ...]:
    """The fields of the row's only form."""
    own, others = _forms(fields, has_images=has_images)
    if len(own) == 1:
        return (own[0],)
    if not own and len(others) == 1:
        return others[0]
    raise no_form(fields, [repr(field) for field in own] or [" and ".join(map(repr, form)) for form in others])


def _forms(fields: Mapping[str, object], *, has_images: bool) -> tuple[list[str], list[tuple[str, ...]]]:
    """The fields of `TEXT_FIELDS` that a row has, and all other forms."""
    own, questions, captions = named_forms((*fields,))
    others: list[tuple[str, ...]] = [*questions]
    if is_list_of_pairs(fields.get(TEXTS)):
        others.append((TEXTS,))
    if has_images:
        others += captions
    return [*own], others


def _read_text(row: _Parsed) -> _Found:
    field = row.form[0]
    text = row.fields[field]
    try:
        text = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise RowError(f"{field} is not UTF-8 (byte {error.start})") from error
    if not isinstance(text, str):
        more = f"; --map text={field} takes all as lines, {field}[0] the first" if are_texts(text) else ""
        raise RowError(f"{field} is {type(text).__name__}, a string expected", option=more)
    refuse_image_text(text, repr(field), row.rules.is_image_file)
    chosen = row.chosen_images([], 0)
    return row.form, split_text(text, len(chosen), row.rules.placeholder), chosen


def _read_content(row: _Parsed) -> _Found:
    named: list[RowImage] = []
    content = normal_parts(row.fields[CONTENT_FIELD], CONTENT_FIELD, named)
    num_parts = num_image_parts([content])
    chosen = row.chosen_images(named, num_parts)
    if not num_parts:
        content = content_with_images(content, len(chosen), row.rules.placeholder)
    segments = segments_from_content(content)
    _refuse_image_texts(segments)
    segments = tuple(segment for segment in segments if not isinstance(segment, TextSegment) or segment.text)
    return row.form, segments, chosen


def _read_messages(row: _Parsed) -> _Found:
    turns = row.fields[row.form[0]]
    is_json = isinstance(turns, str) and turns.lstrip().startswith("[")
    return _read_turns(row, opened(turns, row.form[0]) if is_json else turns)


def _read_pairs(row: _Parsed) -> _Found:
    return _read_turns(row, turns_of_pairs(row.fields[TEXTS], TEXTS))


def _read_question(row: _Parsed) -> _Found:
    first, second = row.form
    used, turns = question_turns(row.fields, first, second, is_mapped=row.rules.field_map is not None)
    text_fields, segments, chosen = _read_turns(row, turns)
    return [*used, *text_fields], segments, chosen


def _read_turns(row: _Parsed, turns: object) -> _Found:
    used, turns = with_system(row.fields, turns)
    named: list[RowImage] = []
    tools, messages = with_tools(row.fields, normal_turns(turns, row.form[0], named))
    contents = (
        [turn.get("content") for turn in messages if isinstance(turn, dict)] if isinstance(messages, list) else []
    )
    num_parts = num_image_parts(contents)
    chosen = row.chosen_images(named, num_parts)
    if not num_parts:
        messages = turns_with_images(messages, len(chosen), row.rules.placeholder)
    segments = segments_from_messages(messages, num_images=len(chosen), loss=row.rules.chat_loss)
    _refuse_image_texts(segments)
    return [*row.form, *used, *tools], segments, chosen


def _refuse_image_texts(segments: Sequence[Segment]) -> None:
    for number, segment in enumerate(segments):
        if isinstance(segment, TextSegment):
            refuse_image_text(segment.text, f"text {number}")


_READERS: Mapping[str, Callable[[_Parsed], _Found]] = {
    CONTENT_FIELD: _read_content,
    MESSAGES_FIELD: _read_messages,
    CONVERSATIONS: _read_messages,
    TEXTS: _read_pairs,
}
