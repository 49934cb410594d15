"""The parts of a sample: which are its images, in what order, and that no image among the rest goes unused.

    jpg, png, tif, jfif, ...   an image, by its suffix; alone it is the page's
    0.jpg, 1.png; 1.jpg, ...   a row's images, numbered from 0 or from 1, with zeros in front or without
    left.jpg, right.jpg        images whose order only the json can tell, by naming them
    txt, json                  text and row
    anything else              an image where its bytes are one, whatever its name; else left alone

What is left alone may still show that there is an image: an array, a film, a name or an address of a picture. Next to
an image that is used, that is metadata; without one, the sample would be trained on as text alone, and is refused.

Members of a sample are neighbours. Where all images come first and all texts later, in folders or tars of their own,
each piece is a sample by itself to every reader of tars: a page without text, and a text without its image, which would
be trained on alone. Two things give it away: pieces of one key that have no part in common (`a.jpg` + `a.json`, later
`a.txt`), and two halves, an image alone and a text alone, whose keys are one but for the folder, the case, the way
that an accent is written, or a word at the end that says which half it is (`images/a.jpg`, `texts/a.txt`;
`a_image.jpg`, `a_text.txt`).
"""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wdstream.errors import RowError
from wdstream.shards.layout import JSON_EXTENSION, TEXT_EXTENSION, Stray
from wdstream.shards.meta import hash_key
from wdstream.text.image_names import (
    HEAD_BYTES,
    IMAGE_SUFFIXES,
    holds_image,
    is_drawing,
    is_image_name,
    is_text,
    looks_like_image,
)
from wdstream.text.maps.readings import Strays
from wdstream.text.row_fields import refuse_unused_images, speaks_of_image

_SUFFIXES = frozenset(IMAGE_SUFFIXES)
_NUMBERED = re.compile(r"([0-9]{1,6})\.[^.]+")
MAX_HALVES = 100_000
"""Kept of a tar that is streamed. Where the halves of a tar are in one order, the first of them meet first."""
IMAGE_HALF, TEXT_HALF = 1, 2
_ANY_HALF = 4
"""A file without a suffix, which could be either."""
NO_LOOSE_NAME = ""
_APPLE_DOUBLE = b"\x00\x05\x16\x07"

_FOLDER = re.compile(r".*[/\\]", re.DOTALL)
_HALF = re.compile(r"[ _-](?:image|img|picture|photo|scan|text|txt|label|caption|transcription|ocr|gt)\Z")
_MAX_NAME = 4096  # characters; a longer line is not a name of a file
_REMEDY = "bring the image as jpg, png or another image file, or leave that part out"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleParts:
    """The names of a sample's parts, by what they are.

    Attributes:
        images: those that are images: numbered ones by number, others in the order of the tar.
        has_order: whether it is known which image comes first: there is one at most, or all are numbered, none missing.
        others: neither images, nor `txt`, nor `json`.
    """

    images: Sequence[str]
    has_order: bool
    others: Sequence[str]

    @property
    def are_numbered(self) -> bool:
        """Whether the images have numbers, as those of a row."""
        return bool(self.images) and all(_NUMBERED.fullmatch(name) for name in self.images)


def names_image(extension: str) -> bool:
    """Whether a part of this extension is an image by its name: `jpg`, `3.png`, `left.JPEG`."""
    return extension.rpartition(".")[2].lower() in _SUFFIXES


def sort_parts(members: Mapping[str, bytes]) -> SampleParts:
    """Tell the images of a sample from its other parts."""
    images: list[str] = []
    others: list[str] = []
    for name, data in members.items():
        if name in (TEXT_EXTENSION, JSON_EXTENSION):
            continue
        (images if names_image(name) or looks_like_image(data) else others).append(name)
    matches = [_NUMBERED.fullmatch(name) for name in images]
    numbers = [int(match[1]) for match in matches if match]
    if len(numbers) == len(images):
        images = [name for _, name in sorted(zip(numbers, images, strict=True))]
        numbers.sort()
    has_order = len(images) <= 1 or numbers in (list(range(len(images))), list(range(1, len(images) + 1)))
    if len(images) == len(numbers) == 1:
        has_order = numbers[0] <= 1
    return SampleParts(images=images, has_order=has_order, others=others)


def refuse_images_elsewhere(members: Mapping[str, bytes], others: Iterable[str]) -> None:
    """Check the parts that are left alone in a sample without an image.

    Raises:
        RowError: one of them could hold or name an image.
    """
    for name in others:
        trace = _trace_of_image(name, members[name])
        if trace:
            raise RowError(
                f"no part of it is an image, but its part {name!r} {trace}: it would be trained on as text alone; "
                f"{_REMEDY}"
            )


def _trace_of_image(name: str, data: bytes) -> str:
    """Why a part could be an image, or name one; empty for plain text."""
    if not is_text(data):
        return "holds bytes that are not text, which could be one"
    text = data.decode("utf-8").strip()
    if holds_image(text):
        return "holds one as text"
    if is_drawing(text):
        return "is a drawing (SVG or PostScript)"
    if speaks_of_image(name, has_images=False):
        return "is called like one"
    if _are_names(text):
        return f"names one, {text.partition(chr(10))[0][-80:]!r}"
    return _trace_in_json(text) if name.endswith(f".{JSON_EXTENSION}") or name.startswith(JSON_EXTENSION) else ""


def _are_names(text: str) -> bool:
    """Whether each line is the name of an image, as far as a look goes."""
    lines = text[:_MAX_NAME].split("\n")
    if len(text) > _MAX_NAME:
        lines.pop()  # cut off
    return any(lines) and all(is_image_name(line) for line in lines if line.strip())


def _trace_in_json(text: str) -> str:
    try:
        value: object = json.loads(text)
        refuse_unused_images(value if isinstance(value, dict) else {"its list": value}, ())
    except RowError as error:
        return f"names one: {error.reason.partition(';')[0]}"
    except (ValueError, RecursionError):
        return ""  # no JSON: text like any other
    return ""


def half_of(extensions: Iterable[str]) -> int:
    """IMAGE_HALF for a sample of images alone, TEXT_HALF for one without an image; 0 for one that has both."""
    images = [names_image(extension) for extension in extensions]
    if all(images):
        return IMAGE_HALF
    return 0 if any(images) else TEXT_HALF


def are_apart(halves: Iterable[int]) -> bool:
    """Whether samples of one key are the halves of one."""
    return {IMAGE_HALF, TEXT_HALF} <= set(halves)


def are_pieces(samples: Sequence[Collection[str]]) -> bool:
    """Whether two of several samples of one key, given by their extensions, have no part in common."""
    known = [frozenset(extensions) for extensions in samples if extensions]
    return any(first.isdisjoint(other) for number, first in enumerate(known) for other in known[:number])


def loose_name(key: str) -> str:
    """A key as far as that of its other half agrees: without its folder and `_image` or `_text` at its end, in lower
    case, accents composed."""
    return _HALF.sub("", unicodedata.normalize("NFC", _FOLDER.sub("", key)).casefold().strip())


def loose_name_of_stray(stray: Stray) -> str:
    """`loose_name` of a file that is in no sample, where it could be the half of one: a file without a suffix, or a
    hidden image; NO_LOOSE_NAME for any other, such as what macOS knows of a file (`._a.png`), or a `LICENSE`: a text
    is not the image of another text, and without a suffix it is not trained on."""
    if stray.head.startswith(_APPLE_DOUBLE):
        return NO_LOOSE_NAME
    if not stray.is_hidden:
        return NO_LOOSE_NAME if _is_prose(stray.head) else loose_name(stray.name)
    stem, _dot, extension = stray.name.rpartition("/")[2].lstrip("._").partition(".")
    return loose_name(stem) if names_image(extension) else NO_LOOSE_NAME


def _is_prose(head: bytes) -> bool:
    """Whether a file begins as a text in UTF-8 that is not an image and names none: several words, or a short one."""
    text = head.decode("utf-8", "replace").rstrip("\N{REPLACEMENT CHARACTER}")  # a letter that is cut off at the end
    is_plain = text.isprintable() or all(letter.isprintable() or letter.isspace() for letter in text)
    is_read = is_plain and "\N{REPLACEMENT CHARACTER}" not in text
    if not is_read or looks_like_image(head) or is_drawing(text) or holds_image(text) or is_image_name(text):
        return False
    return len(text.split()) > 1 or 0 < len(head) < HEAD_BYTES


def is_stray_image(stray: Stray) -> bool:
    """Whether a file that is in no sample is an image, by its bytes: a text of its tar may be that of the image."""
    return looks_like_image(stray.head)


class HalvesSeen:
    """The samples of one tar, as it is read.

    Attributes:
        repeated: keys of samples whose key came before, a sample of its own each.
        strays: files that are in no sample.
    """

    def __init__(self) -> None:
        self.repeated: list[str] = []
        self.strays = Strays()
        self._text_half, self._stray_image = "", ""
        self._samples: dict[int, frozenset[str]] = {}
        self._halves: dict[int, int] = {}

    def add(self, key: str, extensions: Collection[str]) -> bool:
        """Note a sample; returns whether it and one before are parts of one."""
        if not extensions:
            return False
        name = hash_key(key)
        before = self._samples.get(name, frozenset())
        if not before and len(self._samples) < MAX_HALVES:
            self._samples[name] = frozenset(extensions)
        if are_pieces((before, extensions)):
            return True
        if before and len(self.repeated) < MAX_HALVES:
            self.repeated.append(key)
        half, name = half_of(extensions), hash_key(loose_name(key))
        if not half:
            return False
        if half == TEXT_HALF:
            self._text_half = key
            if self._stray_image:
                return True
        other = self._halves.get(name, 0)
        if not other and len(self._halves) < MAX_HALVES:
            self._halves[name] = half
        return are_apart((half, other)) or other == _ANY_HALF

    def add_strays(self, strays: Sequence[Stray]) -> str:
        """Note files that are in no sample; returns the first that could be the half of a sample before."""
        self.strays.add(stray.name for stray in strays)
        for stray in strays:
            if is_stray_image(stray):
                self._stray_image = stray.name
                if self._text_half:
                    return stray.name
            loose = loose_name_of_stray(stray)
            if loose and self._halves.setdefault(hash_key(loose), _ANY_HALF) != _ANY_HALF:
                return stray.name
        return ""
