"""What is in the parts of a sample: its json, its text, and the images among them that a row names."""

import json
from collections.abc import Mapping, Sequence

from wdstream.errors import RowError
from wdstream.shards.layout import JSON_EXTENSION, TEXT_EXTENSION
from wdstream.text.characters import normalise_text
from wdstream.text.image_names import are_one_name
from wdstream.text.not_text import other_than_text
from wdstream.text.row_fields import unambiguous
from wdstream.text.row_images import RowImage

TEXT_FROM = "text_from"  # what a label was read by, which no text file has (raw/texts/page_text.py)
_JSON = json.JSONDecoder(object_pairs_hook=unambiguous)  # made once: `json.loads` makes one for each call


def json_of_part(key: str, members: Mapping[str, bytes]) -> dict[str, object] | None:
    """The object in a sample's json; None where there is none, or null. Next to `txt`, a list is metadata as it is."""
    if JSON_EXTENSION not in members:
        return None
    try:
        stored = members[JSON_EXTENSION]
        value: object = _JSON.decode(stored.decode(json.detect_encoding(stored), "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise RowError(f"sample {key!r}: its json cannot be read: {error}") from error
    if value is None:
        return None
    if not isinstance(value, dict) and TEXT_EXTENSION in members:
        return {JSON_EXTENSION: value}
    if not isinstance(value, dict):
        raise RowError(f"sample {key!r}: its json holds a {type(value).__name__}, an object expected")
    return value


def text_of_part(
    key: str,
    data: bytes,
    text_chars: int | None,
    *,
    is_own: bool,
    is_chosen: bool = False,
    meta: Mapping[str, object] | None = None,
) -> str:
    """The text of a page. One of which metadata say what wrote it (a PDF, OCR) is not an annotation; one that somebody
    chose by a map may be: places of words are what some models are to write."""
    if not is_own and not isinstance((meta or {}).get(TEXT_FROM), str):
        what = other_than_text(data, may_be_places=is_chosen)
        if what is not None:
            is_of_places = other_than_text(data, may_be_places=True) is None
            advice = f", or say with the map text={TEXT_EXTENSION} that it is wanted" if is_of_places else ""
            raise RowError(f"sample {key!r}: its text {what}{advice}")
    try:
        stored = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowError(f"sample {key!r}: its text is not UTF-8: {error}") from error
    text = stored if is_own else normalise_text(stored)
    return stored if text_chars is not None and len(text) != text_chars == len(stored) else text


def held_images(images: Sequence[RowImage], held: Sequence[RowImage]) -> list[bytes]:
    """The bytes of a row's images, which are parts of its sample: those that it names, by their name."""
    if len(images) == len(held) == 1:
        if images[0].data not in (None, held[0].data):
            raise RowError(f"{images[0].where} holds an image, and the part {held[0].where!r} is another: keep one")
        return [_bytes_of(held[0])]
    found: list[bytes] = []
    for image in images:
        named = [part for part in held if any(are_one_name(image.name, name) for name in (part.name, part.where))]
        if image.data is None and len(named) != 1:
            raise RowError(f"{image.where} names {image.name!r}, which is not a part of the sample")
        found.append(_bytes_of(named[0] if image.data is None else image))
    return found


def _bytes_of(image: RowImage) -> bytes:
    return image.data or b""
