"""What is in a tar, from its headers alone: samples, the pages of each, and marks by which a page is found again.

A sample is a page; one with a PDF or with a TIFF of several pages is as many, so of those the file itself is opened.
Nothing else is read of a plain tar, and a compressed one is unpacked once. Of each sample a few numbers are kept.

A mark is five numbers: the first page of a sample, its place among the samples, its offset, its pages, and why it is
left out, if it is. Every sample that is not one sound page has one, and every 256th; those between are a page each.

Before the marks of a tar of images alone, or of texts alone, are names of its samples: the other halves may be in
another tar, which `apart_tars` finds when all are surveyed.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import PageError, ShardError, SourceError, StorageFailureError
from wdstream.raw.reading import sign_of_life
from wdstream.raw.settings import RawSettings
from wdstream.raw.source import RawFile
from wdstream.raw.tars.documents import DOCUMENT_EXTENSIONS, count_document_pages, document_part
from wdstream.raw.tars.tar_file import TarFile, open_tar
from wdstream.shards.layout import SampleSpan, cut_name, group_samples
from wdstream.shards.meta import hash_key
from wdstream.shards.parts import IMAGE_HALF, TEXT_HALF, half_of, is_stray_image, loose_name, loose_name_of_stray
from wdstream.shards.tar_header import Member
from wdstream.text.characters import replace_surrogates
from wdstream.text.image_names import HEAD_BYTES

_MARK = 5
_SAMPLES_PER_MARK = 256
_MOST_NAMES = 256
"""Of a tar of halves, the least of their hashes: where many halves of two tars are one, some of these are equal."""
_MOST_DOCUMENTS = 16
"""Whose pages are kept until their samples are whole."""


class PassedOver(IntEnum):
    """Why a sample is passed over whatever it holds, as a mark has it."""

    NO = 0
    REPEATED = 1
    APART = 2
    BARE = 3

    @property
    def reason(self) -> str:
        """Why it is passed over, in words; empty for a sample that counts."""
        return _REASONS[self]


APART_TAR = "this tar has"
_NEIGHBOURS = "the members of a sample have one name and are neighbours; sort the tar by name"
_REASONS = {
    PassedOver.NO: "",
    PassedOver.REPEATED: "its key appears before in the tar; give each sample its own",
    PassedOver.BARE: "a file elsewhere in the tar, without a suffix or hidden, could be its image or its text: give it "
    "the sample's name and a suffix, next to it",
    PassedOver.APART: f"its image and its text are apart, and would not be trained on together: {_NEIGHBOURS}",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A sample that is found at once: its first page, place among the samples, offset, pages, and whether it counts."""

    first: int
    ordinal: int
    offset: int
    num_pages: int
    left_out: int


class Marks:
    """The marks of a tar, as `RawFile.marks` has them."""

    def __init__(self, numbers: Sequence[int]) -> None:
        half, names = half_of_tar(numbers)
        numbers = numbers[2 + len(names) :] if half else numbers
        self._numbers = numbers
        self._firsts = numbers[::_MARK]

    def before(self, page: int) -> Mark:
        """The last mark that is at page `page`, or before it."""
        at = (bisect_right(self._firsts, page) - 1) * _MARK
        return Mark(*self._numbers[at : at + _MARK])


def survey_tar(path: Path, settings: RawSettings) -> tuple[int, tuple[int, ...]]:
    """The number of pages of a tar, and marks. What is damaged is one page more, which nobody can read.

    Raises:
        SourceError: there is no sample in it, or none before the damage; or it cannot be read to its end.
        OSError: it cannot be read.
    """
    table = _SampleTable()
    damage = ""
    with open_tar(path) as tar:
        try:
            pages: dict[int, int] = {}  # of the documents of the coming sample, by where they are
            members = _members(tar, pages, settings)
            for span in group_samples(members, settings.key_rule, head_of=partial(_head, tar)):
                part = document_part(span.members, settings)
                table.add(span, 1 if part is None else pages.get(span.members[part].data_offset, 1))
            tar.check_end()
        except StorageFailureError as error:  # says nothing of what follows, which would never be read
            raise SourceError(str(error)) from error
        except ShardError as error:
            damage = str(error).removeprefix(f"{path.name}: ")
    if not table.num_samples:
        raise SourceError(damage or "no sample in it: members of a sample are called key.jpg, key.txt, key.json")
    return table.num_pages + bool(damage), (*table.names(), *table.marks())


def half_of_tar(marks: Sequence[int]) -> tuple[int, Sequence[int]]:
    """IMAGE_HALF or TEXT_HALF for a tar of such halves alone, and names of some of them; 0 for any other."""
    return (-marks[0], marks[2 : 2 + marks[1]]) if marks and marks[0] < 0 else (0, ())


def apart_tars(files: Iterable[RawFile]) -> dict[str, str]:
    """Tars of images alone and of texts alone which have the names of the others in them, and all such tars next to
    one of these: why they are refused, by path. Their texts would be trained on without their images."""
    found: dict[int, list[tuple[str, Sequence[int]]]] = {IMAGE_HALF: [], TEXT_HALF: []}
    for file in files:
        half, names = half_of_tar(file.marks) if file.kind == "tar" else (0, ())
        if half:
            found[half].append((file.path, names))
    by_name = {half: {name: path for path, names in tars for name in names} for half, tars in found.items()}
    reasons: dict[str, str] = {}
    for half, other in ((IMAGE_HALF, TEXT_HALF), (TEXT_HALF, IMAGE_HALF)):
        of_folder: dict[str, str] = {}
        for path, names in found[half]:
            match = next((by_name[other][name] for name in names if name in by_name[other]), None)
            if match is not None:
                of_folder.setdefault(PurePosixPath(path).parent.as_posix(), match)
        for path, _names in found[half]:
            match = of_folder.get(PurePosixPath(path).parent.as_posix())
            if match is not None:
                own, others = ("images", "texts") if half == IMAGE_HALF else ("texts", "images")
                reasons[path] = (
                    f"{APART_TAR} {own} alone, and {match} {others} of the same names: they would not be trained on "
                    "together; write tars in which the image and the text of a sample are neighbours, or make shards "
                    "of each by itself where they are of other samples"
                )
    return reasons


def _members(tar: TarFile, pages: dict[int, int], settings: RawSettings) -> Iterator[Member]:
    """Every member; the pages of documents, of at most two samples, are put into `pages`."""
    for member in tar.members():
        sign_of_life()
        split = cut_name(member.name, settings.key_rule) if member.is_file else None
        if split and member.size <= settings.max_file_bytes and document_part(split[1:], settings):
            if len(pages) > _MOST_DOCUMENTS:
                pages.pop(next(iter(pages)))
            pages[member.data_offset] = _pages_of(tar, member)
        yield member


def _head(tar: TarFile, member: Member) -> bytes:
    return tar.read(member.data_offset, min(member.size, HEAD_BYTES))


def _pages_of(tar: TarFile, member: Member) -> int:
    """Pages of a document; 1 where it cannot be opened, for which there will be a reason when it is read."""
    try:
        return count_document_pages(tar.read(member.data_offset, member.size))
    except PageError:
        return 1


class _SampleTable:
    """A few numbers of each sample."""

    def __init__(self) -> None:
        self._offsets, self._pages = array("q"), array("q")
        self._keys, self._loose_names, self._halves = array("Q"), array("Q"), array("B")
        self._bare = array("Q")  # names of files that are in no sample, and could be the half of one
        self._has_stray_image = False

    @property
    def num_samples(self) -> int:
        """How many samples the tar has, as far as it was read."""
        return len(self._offsets)

    @property
    def num_pages(self) -> int:
        """How many pages those samples have, a document all of its own."""
        return sum(self._pages)

    def add(self, span: SampleSpan, num_pages: int) -> None:
        """Note the next sample, and how many pages it has."""
        self._offsets.append(span.offset)
        self._pages.append(num_pages)
        self._keys.append(hash_key(replace_surrogates(span.key)))
        self._loose_names.append(hash_key(replace_surrogates(loose_name(span.key))))
        self._halves.append(_half(span.members))
        bare = filter(None, map(loose_name_of_stray, span.strays))
        self._bare.extend(hash_key(replace_surrogates(name)) for name in bare)
        self._has_stray_image |= any(map(is_stray_image, span.strays))

    def names(self) -> Sequence[int]:
        """What `half_of_tar` reads before the marks; nothing for a tar with a whole sample."""
        halves = {*self._halves}
        if halves not in ({IMAGE_HALF}, {TEXT_HALF}):
            return ()
        names = sorted({*self._loose_names})[:_MOST_NAMES]
        return (-halves.pop(), len(names), *names)

    def marks(self) -> Iterator[int]:
        """The marks of all samples, one after the other."""
        left_out = self._left_out()
        first = 1
        for ordinal, (offset, num_pages) in enumerate(zip(self._offsets, self._pages, strict=True)):
            if ordinal % _SAMPLES_PER_MARK == 0 or num_pages != 1 or left_out[ordinal]:
                yield from (first, ordinal, offset, num_pages, int(left_out[ordinal]))
            first += num_pages

    def _left_out(self) -> NDArray[np.uint8]:
        """Of each sample, whether its key came before, or it is the half of another."""
        halves = np.array(self._halves)
        left_out = np.full(len(halves), PassedOver.NO, np.uint8)
        for same in _groups(np.array(self._keys)):
            if halves[same].any():
                left_out[same] = PassedOver.APART
            else:
                left_out[same[1:]] = PassedOver.REPEATED
        for same in _groups(np.array(self._loose_names), np.flatnonzero(halves)):
            if {IMAGE_HALF, TEXT_HALF} <= {*halves[same].tolist()}:
                left_out[same] = PassedOver.APART
        if self._bare:
            has_bare = np.isin(np.array(self._loose_names), np.array(self._bare))
            left_out[(halves > 0) & has_bare] = PassedOver.BARE
        if self._has_stray_image:
            left_out[(halves == TEXT_HALF) & (left_out == PassedOver.NO)] = PassedOver.BARE
        return left_out


def _half(members: Mapping[str, Member]) -> int:
    """`half_of`, for which a document is an image, too."""
    if not members:
        return 0
    documents = [name for name in members if name in DOCUMENT_EXTENSIONS]
    return half_of("jpg" if name in documents else name for name in members)


def _groups(values: NDArray[np.uint64], chosen: NDArray[np.intp] | None = None) -> Iterator[NDArray[np.intp]]:
    """Places of values that are equal, in order, of each value that is there more than once."""
    places = np.arange(len(values)) if chosen is None else chosen
    places = places[np.argsort(values[places], kind="stable")]
    starts = np.flatnonzero(np.diff(values[places])) + 1
    return (group for group in np.split(places, starts) if len(group) > 1)
