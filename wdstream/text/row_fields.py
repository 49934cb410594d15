"""What a row holds and does not use: metadata, unless it could be an image. No image vanishes.

A field that is not used is refused

* when it holds an image: bytes, base64 or a data URI of one, a picture in memory, an object with one of them;
* when a whole text of it is the name of an image: it ends like an image file and has no space inside, or is an image
  file next to the row. In a list of texts all have to be names, or one such a file: `words` may say "photo.png".
  Names of images that the row uses are no others, a row with images may be called (`id`, `key`) like one, a `source`
  that is not next to it and a link under a name that speaks of links (`url`, `source_url`) say where its image is from;
* in a row that has no image at all also when it holds more than 64 bytes that are not text, numbers in rows as pixels
  are, a drawing (SVG or PostScript), JSON as text with any of these in it, or under a name that speaks of files
  (`file`, `path`, `scan`) a name with spaces that ends like an image file; but a vector is metadata (image_names.py);
* when its name speaks of an image (`image2`, `page_image`, `Images`, `photo`), and there is something in it that could
  be one: a text without spaces, a list, an object. A name that also speaks of metadata (`image_id`, `image_width`) is
  judged so only in a row that has no image at all. Video and audio are refused like images;

and not where the caller says that the field is metadata.
"""

import difflib
import hashlib
import json
import re
import shlex
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from wdstream.errors import RowError
from wdstream.text.characters import quoted
from wdstream.text.image_names import (
    IMAGE_SUFFIXES,
    NAME_WORD,
    are_bytes_of_pixels,
    holds_image,
    is_drawing,
    is_image_name,
    is_link,
    is_matrix,
    looks_like_image,
    may_be_pixels,
    sides_of_pixels,
)
from wdstream.text.row_images import RowImage, plain_list

IsImageFile = Callable[[str], bool]

KEY_FIELDS = ("__key__", "key", "id")
"""Fields that name a row."""
SOURCE_FIELD = "source"
"""The file that a page was made from, as our own pages and tables have it: `page.v1.tif`, of which `page_v1.jpg` is."""
DECLARED_FIELD = "wdstream_metadata_fields"
"""Of a sample that wdstream wrote: its fields that were said to be metadata, and look like something else; the last of
the list is a digest of what they hold. A field of that name in a tar of others says nothing."""
_IMAGE_WORD = re.compile(
    "(?:image|img|picture|pic|photo|photograph|thumbnail|screenshot|pixel)s?|jpe?g|png|webp|tiff?|gif|bmp"
)
_OTHER_MEDIUM = re.compile("(?:video|audio)s?")
_METADATA_WORD = re.compile(
    "(?:id|size|score|token|tag|label|caption)s?|width|height|shape|hash|md5|sha|phash|count|num|number|total|index|area|"
    "licen[cs]e|description|alt|title|author|credit|date|time|format|mode|mime|type|dpi|resolution|source|quality|"
    "aesthetic|ratio|aspect|has|meta|metadata|info|attributes?|is|bytes|length|exif|category|categories|class|classes|"
    "language|lang|text|ocr|"
    "(?:embed|embedding|emb|vector|vec|feature|feat|logit)s?"
)
_FILE_WORD = re.compile(
    "(?:file|filename|filepath|path|scan|page|figure|document|doc|attachment|media|asset|uri|url|href|src)s?"
)
_PROSE_WORD = re.compile("(?:title|text|caption|description|summary|question|answer)s?")
_LINK_NAME = re.compile(r"(?:(?:[a-z0-9]+_)*(?:url|uri|link|href)s?|(?:[a-z]+_)?source)", re.IGNORECASE)
_LINK_WORD = re.compile(r"(?:[A-Za-z0-9]*[a-z0-9K])?(?:U(?:RL|rl|RI|ri)|Link|Href)s?")
"""The end of a name in camel case: `OriginalURL`, `Thumbnail300KURL`."""
_TYPOS_OF = ("image", "images")
_SIMILAR = 0.8
_DATA_URI_IN_TEXT = re.compile(
    r"(data:image/[\w.+-]{1,40};[\w=;-]{0,100}base64,\s{0,4}[A-Za-z0-9+/_-]{32})", re.IGNORECASE
)
_QWEN_IMAGE = re.compile(
    rf"<img>\s*((?:[^<>\n]{{1,1000}}\.(?:{'|'.join(IMAGE_SUFFIXES)})|https?://[^<>\s]{{1,1000}}))\s*</img>",
    re.IGNORECASE,
)
_MARKED_UP = re.compile(
    r"!\[[^\]\n]{0,500}\]\(\s*(?:<([^<>\n]{1,500})>|([^\s()<>]{1,500}))"
    r"|<img\b[^<>]{0,500}?\bsrc\s*=\s*(?:[\"']([^\"'<>\n]{1,500})[\"']|([^\s\"'<>]{1,500}))",
    re.IGNORECASE,
)
"""Names of images in Markdown and HTML."""
_MAX_DEPTH = 64
_PICTURE_SIGNS = ("getexif", "__array__", "__array_interface__", "__dlpack__", "read", "__fspath__")
_LEAST_SIDE = 8  # pixels; an array with a smaller side is a list of boxes or points
_BYTE = range(256)


def unambiguous(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """The fields of a JSON object, for `json.loads(..., object_pairs_hook=...)`, which else keeps the last of two.

    Raises:
        ValueError: a field is there twice, with two values.
    """
    fields = dict(pairs)
    if len(fields) != len(pairs):
        twice = next((name for name, value in pairs if fields[name] != value), None)
        if twice is not None:
            raise ValueError(f"field {twice!r} is given twice, with two values; keep one")
    return fields


def with_declared(meta: Mapping[str, object], fields: Iterable[str]) -> dict[str, object]:
    """Metadata that say of themselves which of them are metadata, whatever they look like."""
    names = sorted(set(fields) & meta.keys() - {DECLARED_FIELD})
    return {**meta, DECLARED_FIELD: [*names, _digest_of(meta, names)]}


def declared_fields(meta: Mapping[str, object]) -> frozenset[str] | None:
    """Fields that are metadata, whatever they look like, as wdstream wrote; None where nothing says so."""
    declared = meta.get(DECLARED_FIELD)
    if not isinstance(declared, list) or not all(isinstance(name, str) for name in declared):
        return None
    *names, digest = declared or [""]
    return frozenset((*names, DECLARED_FIELD)) if digest == _digest_of(meta, names) else None


def _digest_of(meta: Mapping[str, object], names: Sequence[str]) -> str:
    """Of the values of these fields, as they are in JSON."""
    try:
        text = json.dumps([[name, meta.get(name)] for name in names], sort_keys=True)
    except (ValueError, TypeError, RecursionError):
        return ""  # no JSON: these are refused where they are written
    return f"blake2b:{hashlib.blake2b(text.encode('ascii'), digest_size=8).hexdigest()}"


def no_file(_name: str) -> bool:
    """For rows without files next to them."""
    return False


def refuse_unused_images(
    fields: Mapping[str, object],
    images: Sequence[RowImage],
    *,
    metadata_fields: frozenset[str] = frozenset(),
    is_image_file: IsImageFile = no_file,
    names_are_metadata: bool = False,
) -> None:
    """Check that no field which is left as metadata is, names or could be an image.

    Args:
        fields: that are not used, by name.
        images: that the row uses.
        metadata_fields: names of fields that are metadata, whatever they look like.
        is_image_file: whether a text is the name of an image file next to the row.
        names_are_metadata: whether a name or a link is no other image: the images came with the row, as parts of its
            sample, and `url` says where one is from.

    Raises:
        RowError: names the fields, what they hold, and how to say that they are metadata.
    """

    def is_used(name: str) -> bool:
        return names_are_metadata or any(image.is_called(name) for image in images)

    look = _Look(is_used=is_used, is_image_file=is_image_file, is_alone=not images)
    unused: dict[str, str] = {}
    for field, value in fields.items():
        if field in metadata_fields or value is None:
            continue
        is_name_of_row = bool(images) and _names_row(field, value, is_image_file)
        is_origin = _says_where_from(field, value, len(images))
        found = None if is_name_of_row or is_origin else next(look.images_in(value, field), None)
        if found is None and not images:
            found = next(_names_with_spaces(field, value, 0), None)
        is_named_so = not is_origin and speaks_of_image(field, has_images=bool(images))
        if found is None and is_named_so and _could_be_image(value, images):
            found = quoted(value)
        if found is not None:
            unused[field] = found
    if unused:
        held = ", ".join(f"field {field!r} holds {found}" for field, found in unused.items())
        options = " ".join(f"--metadata-field {shlex.quote(field)}" for field in unused)
        mapped = " ".join(f"--map {shlex.quote(f'metadata={field}')}" for field in unused)
        raise RowError(
            f"{held}, which looks like an image and is not used; give images in 'images' or 'image'",
            option=f", or say that this is metadata with {options} (metadata_fields in programs)",
            sample_option=f", or say that this is metadata with {mapped} (data.streaming.map in streams)",
        )


def _names_row(field: str, value: object, is_image_file: IsImageFile) -> bool:
    """Whether a field says which row this is, or which file it was made from: one that is not here."""
    if not isinstance(value, str) or holds_image(value):
        return False
    return field in KEY_FIELDS or (field == SOURCE_FIELD and not is_image_file(value))


def refuse_held_images(fields: Mapping[str, object]) -> None:
    """Check that no field holds an image itself, where names of images are metadata.

    Raises:
        RowError: names the field.
    """
    for field, value in fields.items():
        if value is None or isinstance(value, int | float) or (isinstance(value, str) and not holds_image(value)):
            continue  # as nearly all are: what is none needs no closer look
        found = next(_Look(is_used=lambda _name: True).images_in(value, field), None)
        if found is not None:
            raise RowError(f"field {field!r} holds {found}: an image that is not a part of the sample, and is not used")


def refuse_image_text(text: str, where: str, is_image_file: IsImageFile = no_file) -> None:
    """Check that a text that is trained on is not an image itself, written as text.

    Raises:
        RowError: it is a data URI or base64 of an image, or an image file next to the row.
    """
    if holds_image(text) or is_image_file(text):
        raise RowError(f"{where} is {quoted(text)}: an image, not a text; give images in 'images' or 'image'")


def refuse_images_in_text(text: str, *, has_images: bool, is_image_file: IsImageFile = no_file) -> None:
    """Check that no image is inside of a text that is trained on.

    A data URI of an image is one, and a name in Qwen's `<img>a.png</img>`. In a row without images, so is an image file
    next to the row that Markdown or HTML names. Elsewhere these are what is written on a page: a name in Markdown may
    be part of the label of a page's image.

    Raises:
        RowError: names what was found.
    """
    found = _DATA_URI_IN_TEXT.search(text) if ";" in text else None
    found = found or (_QWEN_IMAGE.search(text) if "<" in text else None)
    name = found[1] if found else None
    if name is None and not has_images and is_image_file is not no_file:
        named = (unquote(mark[1] or mark[2] or mark[3] or mark[4]) for mark in _MARKED_UP.finditer(text))
        name = next((name for name in named if is_image_file(name)), None)
    if name is not None:
        raise RowError(
            f"the text has an image inside, {quoted(name)}, which would be trained on as text; write <image> in its "
            "place, and give the image in 'images'"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """How values are looked into.

    Attributes:
        is_used: whether a name is of an image in use.
        is_image_file: whether a text is the name of an image file next to the row.
        is_alone: whether the row has no image at all: then what may be one is not metadata of another.
    """

    is_used: IsImageFile
    is_image_file: IsImageFile = no_file
    is_alone: bool = False

    def images_in(self, value: object, name: str, depth: int = 0) -> Iterator[str]:
        """What looks like an image in a value, by what it is and by the names that it is under; in short."""
        if depth > _MAX_DEPTH:
            yield f"values nested more than {_MAX_DEPTH} deep"
        elif isinstance(value, str):
            yield from self._in_text(value, name, depth)
        elif isinstance(value, bytes | bytearray | memoryview):
            if looks_like_image(bytes(value[:64])):
                yield f"{len(value)} bytes of an image"
            elif self.is_alone and may_be_pixels(bytes(value), name):
                yield f"{len(value)} bytes that are not text"
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                yield from self.images_in(inner, f"{name} {key}", depth + 1)
        elif isinstance(value := plain_list(value), list | tuple | set | frozenset):
            yield from self._in_list(list(value), name, depth)
        elif is_picture(value) and not is_matrix(value, name):
            yield f"a picture, array or file ({type(value).__name__})"

    def _in_text(self, text: str, name: str, depth: int) -> Iterator[str]:
        if self.is_image_file(text) or is_image_name(text):
            if not self.is_used(text):
                yield quoted(text)
        elif holds_image(text) or (self.is_alone and is_drawing(text)):
            yield quoted(text)
        elif self.is_alone and text.lstrip()[:1] in ("{", "["):
            with suppress(ValueError, RecursionError):  # no JSON: text like any other
                yield from self.images_in(json.loads(text), name, depth + 1)

    def _in_list(self, values: Sequence[object], name: str, depth: int) -> Iterator[str]:
        if values and all(isinstance(value, int | float) for value in values):
            if looks_like_image(bytes(value for value in values[:64] if isinstance(value, int) and value in _BYTE)):
                yield f"the bytes of an image as a list of {len(values)} numbers"
            elif self.is_alone and are_bytes_of_pixels(values, name):
                yield f"{len(values)} numbers from 0 to 255, as of pixels"
            return
        sides = sides_of_pixels(values, name, least=_LEAST_SIDE) if self.is_alone else None
        if sides:
            yield f"numbers in {sides[0]} rows of {sides[1]}, as of pixels"
            return
        texts = [value for value in values if isinstance(value, str)]
        are_names = bool(texts) and all(map(is_image_name, texts))
        for value in values:
            if not isinstance(value, str) or are_names or holds_image(value) or self.is_image_file(value):
                yield from self.images_in(value, name, depth + 1)


def _says_where_from(field: str, value: object, num_images: int) -> bool:
    """Whether a field has a link for each image of a row, under a name that speaks of links; one is of all of them."""
    if not num_images or (_LINK_NAME.fullmatch(field) is None and _LINK_WORD.fullmatch(field) is None):
        return False
    links = value if isinstance(value, list | tuple) and len(value) == num_images else [value]
    return all(isinstance(link, str) and is_link(link) for link in links)


def _names_with_spaces(field: str, value: object, depth: int) -> Iterator[str]:
    """Names of image files with spaces inside, where the name of a field says that it names a file."""
    if isinstance(value, str):
        if is_image_name(value, has_spaces=True) and _speaks_of_file(field):
            yield quoted(value)
    elif depth < _MAX_DEPTH and isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _names_with_spaces(f"{field} {name}", inner, depth + 1)
    elif depth < _MAX_DEPTH and isinstance(value, list | tuple):
        for inner in value:
            yield from _names_with_spaces(field, inner, depth + 1)


def _speaks_of_file(field: str) -> bool:
    """Whether a field's name says that it names a file, and is not of prose: `page_title` may be "Crop a.png"."""
    words = [word.lower() for word in NAME_WORD.findall(field)]
    return _any(_FILE_WORD, words) and not _any(_PROSE_WORD, words[-1:])


def is_picture(value: object) -> bool:
    """Whether an object that is not JSON may be a picture, an array of pixels, an open file or a path.

    A number is none, an array of numbers only with two sides of 8 or more, or as the bytes of an image file.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | type):
        return False
    try:
        shape = getattr(value, "shape", None)
        if not isinstance(shape, tuple) or hasattr(value, "getexif"):
            return any(hasattr(value, sign) for sign in _PICTURE_SIGNS)
        if len(shape) < 2:
            is_of_bytes = len(shape) == 1 and getattr(value, "itemsize", 1) == 1 and hasattr(value, "tobytes")
            return is_of_bytes and looks_like_image(value[:64].tobytes())  # type: ignore[index]
        return bool(sorted(shape)[-2] >= _LEAST_SIDE)
    except Exception:  # objects of strangers raise what they like; one that cannot be asked is refused
        return True


@lru_cache(maxsize=4096)  # every row of a file has the same names
def speaks_of_image(field: str, *, has_images: bool) -> bool:
    """Whether a field's name says that it is an image (or video, or audio)."""
    words = [word.lower() for word in NAME_WORD.findall(field)]
    whole = "".join(words)
    is_typo = len(words) == 1 and bool(difflib.get_close_matches(whole, _TYPOS_OF, 1, _SIMILAR))
    if not is_typo and not _any(_IMAGE_WORD, [*words, whole.rstrip(string.digits)]):
        return _any(_OTHER_MEDIUM, words)
    return not has_images or not _any(_METADATA_WORD, words)


def _any(pattern: re.Pattern[str], words: Sequence[str]) -> bool:
    return any(pattern.fullmatch(word) for word in words)


def _could_be_image(value: object, images: Sequence[RowImage]) -> bool:
    """Under a name that speaks of images: nothing empty, and next to images of the row neither numbers nor prose."""
    if isinstance(value, str):
        text = value.strip()
        is_prose = len(text.split()) > 1 and bool(images)
        return bool(text) and not is_prose and not any(image.is_called(text) for image in images)
    if isinstance(value, bool | int | float):
        return bool(value) and not images
    if isinstance(value, Mapping):
        return any(_could_be_image(inner, images) for inner in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return any(_could_be_image(inner, images) for inner in value)
    return value is not None
