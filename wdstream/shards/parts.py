"""The parts of a sample: which are its images, in what order, and that no image among the rest goes unused.

    jpg, png, tif, jfif, ...   an image, by its suffix; alone it is the page's
    0.jpg, 1.png; 1.jpg, ...   a row's images, numbered from 0 or from 1, with zeros in front or without
    left.jpg, right.jpg        images whose order only the json can tell, by naming them
    txt, json                  text and row
    anything else              an image where its bytes are one, whatever its name; else left alone

What is left alone may still show that there is an image: an array, a film, a name or an address of a picture. Next to
an image that is used, that is metadata; without one, the sample would be trained on as text alone, and is refused.

Members of a sample are neighbours. Where all images come first and all texts later, or in a tar of their own, each half
is a sample by itself to every reader of tars: a page without text, and a text without its image, which would be trained
on alone. Two halves of one key give it away.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wdstream.errors import RowError
from wdstream.shards.layout import JSON_EXTENSION, TEXT_EXTENSION
from wdstream.shards.meta import hash_key
from wdstream.text.image_names import IMAGE_SUFFIXES, holds_image, is_image_name, looks_like_image

_SUFFIXES = frozenset(IMAGE_SUFFIXES)
_NUMBERED = re.compile(r"([0-9]{1,6})\.[^.]+")
MAX_HALVES = 100_000
"""Kept of a tar that is streamed. Where the halves of a tar are in one order, the first of them meet first."""
IMAGE_HALF, TEXT_HALF = 1, 2

_MAX_NAME = 4096  # bytes; a longer text is not a name of a file
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


def refuse_images_elsewhere(key: str, members: Mapping[str, bytes], others: Iterable[str]) -> None:
    """Check the parts that are left alone in a sample without an image.

    Raises:
        RowError: one of them could hold or name an image.
    """
    for name in others:
        trace = _trace_of_image(members[name])
        if trace:
            raise RowError(
                f"sample {key!r}: no part of it is an image, but its part {name!r} {trace}: it would be trained on as "
                f"text alone; {_REMEDY}"
            )


def _trace_of_image(data: bytes) -> str:
    """Why a part could be an image, or name one; empty for plain text."""
    try:
        text = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        return "holds bytes that are not text, which could be one"
    if "\0" in text:
        return "holds bytes that are not text, which could be one"
    if holds_image(text):
        return "holds one as text"
    return f"names one, {text[-80:]!r}" if len(data) < _MAX_NAME and is_image_name(text) else ""


def half_of(extensions: Iterable[str]) -> int:
    """IMAGE_HALF for a sample of images alone, TEXT_HALF for one without an image; 0 for one that has both."""
    images = [names_image(extension) for extension in extensions]
    if all(images):
        return IMAGE_HALF
    return 0 if any(images) else TEXT_HALF


def are_apart(halves: Iterable[int]) -> bool:
    """Whether samples of one key are the halves of one."""
    return {IMAGE_HALF, TEXT_HALF} <= set(halves)


class HalvesSeen:
    """The keys of half samples of one tar, as it is read."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}

    def add(self, key: str, extensions: Iterable[str]) -> bool:
        """Note a sample; returns whether it and one before are the halves of one."""
        half = half_of(extensions)
        if not half:
            return False
        before = self._seen.get(hash_key(key), 0)
        if not before and len(self._seen) < MAX_HALVES:
            self._seen[hash_key(key)] = half
        return are_apart((half, before))
