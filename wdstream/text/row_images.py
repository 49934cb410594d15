"""Images of a row, as it gives them: by name, as bytes, base64, a data URI, or a picture in memory. Not yet opened.

"a.png"                                                a name, or a link; whoever calls resolves it
b"...", "data:image/png;base64,...", "iVBORw0KGgo..."  an image file
{"bytes": ..., "path": ...}, {"url": "a.png"}          the bytes where there are any, else the name
{"type": "base64", "data": ...}, {"image_url": {...}}  the same, as APIs write it
[...], [[...], ...]                                    several, in order; null is none
anything else                                          a picture in memory (nodes read those)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wdstream.errors import RowError
from wdstream.text.characters import quoted
from wdstream.text.image_names import are_one_name, bytes_of_text, is_link, is_spelt_image

_DATA_KEYS = ("bytes", "data", "base64", "b64_json")
_NAME_KEYS = ("path", "url", "file_name", "filename", "image", "image_url", "img", "file", "image_path", "uri")
_INNER_KEYS = ("source", "inline_data")
REFERENCE_KEYS = (*_DATA_KEYS, *_NAME_KEYS, *_INNER_KEYS)
"""Keys of an object that is one image, under which the image itself is."""
_MAX_DEPTH = 16
_KINDS_OF_OBJECTS = ("O", "U", "S", "T")  # of numpy's types: objects, texts, bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RowImage:
    """One image of a row: `data`, a `picture`, or only a name.

    Attributes:
        where: the place in the row, such as `images[0]`, for messages.
        name: file name or link, as the row has it; of an image with data, what it was called, empty if nothing says so.
        data: an encoded image file.
        picture: an image in memory, of whatever type.
    """

    where: str
    name: str = ""
    data: bytes | None = None
    picture: object = None

    @property
    def is_named(self) -> bool:
        """Whether only a name is known."""
        return self.data is None and self.picture is None

    @property
    def is_link(self) -> bool:
        """Whether only an address is known."""
        return self.is_named and is_link(self.name)

    def is_called(self, name: str) -> bool:
        """Whether this may be the image of that name."""
        return bool(self.name) and are_one_name(self.name, name)


def images_of_value(value: object, where: str, depth: int = 0) -> list[RowImage]:
    """All images of a value, in order.

    Args:
        value: as in the table above.
        where: its place in the row.
        depth: how many lists and objects it is in.

    Raises:
        RowError: it is, or contains, something that is not an image; names the place.
    """
    if depth > _MAX_DEPTH:
        raise RowError(f"{where} is nested more than {_MAX_DEPTH} deep; expected images in one list")
    if value is None:
        return []
    if isinstance(value, str):
        return [_of_text(value, where)]
    if isinstance(value, bytes | bytearray | memoryview):
        return [RowImage(where=where, data=bytes(value))]
    if isinstance(value := plain_list(value), list | tuple):
        return [image for n, inner in enumerate(value) for image in images_of_value(inner, f"{where}[{n}]", depth + 1)]
    if isinstance(value, Mapping):
        return _of_object(value, where, depth)
    if isinstance(value, bool | int | float | complex):
        raise RowError(f"{where} is {value!r:.40}; expected a file name, bytes, a data URI, or an object with one")
    return [RowImage(where=where, picture=value)]


def may_be_one(first: RowImage, second: RowImage) -> bool:
    """Whether two fields of a row may give one image: by one name, or one says by a link where the other is from."""
    return are_one_name(first.name, second.name) or first.is_link != second.is_link


def have_one_name(images: Sequence[RowImage], others: Sequence[RowImage]) -> bool:
    """Whether two fields with as many images call each by one name."""
    pairs = zip(images, others, strict=True)
    return images is others or all(are_one_name(image.name, other.name) for image, other in pairs)


def plain_list(value: object) -> object:
    """An array of objects or texts with one axis, as tables of pandas and Arrow hold lists, as a list; others as is."""
    kind, shape = getattr(getattr(value, "dtype", None), "kind", None), getattr(value, "shape", None)
    if kind in _KINDS_OF_OBJECTS and isinstance(shape, tuple) and len(shape) == 1 and hasattr(value, "tolist"):
        return value.tolist()
    return value


def _of_text(text: str, where: str) -> RowImage:
    if not text.strip():
        raise RowError(f"{where} is an empty name; expected a file name, or null for no image")
    try:
        data = bytes_of_text(text)
    except RowError as error:
        raise RowError(f"{where}: {error}") from error
    if data is None and is_spelt_image(text.lstrip()):
        raise RowError(
            f"{where} is an image written as text, {quoted(text, 24)}; write its bytes as base64, or name a file"
        )
    return RowImage(where=where, data=data) if data is not None else RowImage(where=where, name=text)


def _of_object(value: Mapping[object, object], where: str, depth: int) -> list[RowImage]:
    """One image, or none where every key is null."""
    present = [key for key in REFERENCE_KEYS if value.get(key) is not None]
    found = [image for key in present for image in _under_key(value, key, where, depth)]
    if not found:
        if all(inner is None for inner in value.values()):
            return []
        keys = ", ".join(sorted(map(str, value)))
        raise RowError(f"{where} has {keys:.80}, and none of {', '.join(REFERENCE_KEYS)}: no image can be read from it")
    held = [image for image in found if not image.is_named]
    names = [image.name for image in found if image.name]
    if len(held) > 1 or not all(are_one_name(names[0], name) for name in names):
        raise RowError(f"{where} gives more than one image: {', '.join(image.where for image in found)}; keep one")
    image = held[0] if held else found[0]
    return [RowImage(where=where, name=names[0] if names else "", data=image.data, picture=image.picture)]


def _under_key(value: Mapping[object, object], key: str, where: str, depth: int) -> list[RowImage]:
    inner, place = value[key], f"{where}.{key}"
    if key in _INNER_KEYS and not isinstance(inner, Mapping):
        return []
    images = images_of_value(inner, place, depth + 1)
    if key in _DATA_KEYS and any(image.is_named for image in images):
        raise RowError(f"{place} is text that is not an image in base64: {images[0].name!r:.40}")
    return images
