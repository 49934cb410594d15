"""Names and samples in a shard: which keys are allowed, and how the members of a tar group into samples.

A shard is `x.tar` with `x.tar.idx` (where each sample starts) and `x.meta.npz` (sizes, checksums, keys) next to it. The
rule that splits a member's name into key and extension is webdataset's and energon's: the key ends at the first dot of
the basename. So a key's basename has no dot, and the members of a sample are neighbours. Tars of others may have dotted
keys, where that is asked for.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from wdstream.errors import RowError, ShardError
from wdstream.shards.tar_header import MAX_NAME, Member, split_path, walk
from wdstream.text.maps.readings import is_hidden

TAR_SUFFIX = ".tar"
IDX_SUFFIX = ".tar.idx"
META_SUFFIX = ".meta.npz"
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "tif", "tiff", "gif", "bmp")
TEXT_EXTENSION = "txt"
JSON_EXTENSION = "json"
MAX_EXTENSION = 16  # reserved when a key is checked, so that every member of a valid key fits USTAR

KeyRule = Literal["webdataset", "dotted"]
"""Where a key ends: at the first dot of the basename, or at the last, for names such as `report.v2.jpg`."""
KEY_RULES: tuple[KeyRule, ...] = get_args(KeyRule)
MAX_MEMBER_BYTES = 2 << 30
"""Of one file in a tar, which is read into memory whole; a compressed tar of a few kilobytes may claim to hold more."""

# The last component starts with no dot: hidden files, such as macOS's `._a.jpg`, belong to no sample.
_NAMES: dict[KeyRule, re.Pattern[str]] = {
    "webdataset": re.compile(r"((?:.*/|)[^./]+)[.]([^/]*)", re.DOTALL),
    "dotted": re.compile(r"((?:.*/|)[^./][^/]*)[.]([^./]*)", re.DOTALL),
}
_WEBDATASET_META = re.compile(
    r"__[^/]*__($|/)|(.*/)?__MACOSX/"
)  # entries that webdataset and energon skip, and what macOS adds
_WRITTEN_EXTENSION = re.compile(r"[a-z0-9]+(\.[a-z0-9]+)*")
_NUMBERED_IMAGE = re.compile(rf"(0|[1-9][0-9]{{0,5}})\.({'|'.join(IMAGE_EXTENSIONS)})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PLAIN_KEY = re.compile(r"(?!__)(?:[A-Za-z0-9_@-]+/)*[A-Za-z0-9_@-]+")
_HINT = "rename it, without dots in the basename, control characters, '..' or a leading '/'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPaths:
    """The three files of a shard."""

    tar: Path
    idx: Path
    meta: Path

    @classmethod
    def of(cls, tar: Path, described_in: Path | None = None) -> "ShardPaths":
        """The files of the shard whose tar is `tar`.

        Args:
            tar: its path.
            described_in: the folder of the two others; that of the tar when left out.

        Raises:
            ShardError: when its name does not end in `.tar`.
        """
        if tar.suffix != TAR_SUFFIX or not tar.stem:
            raise ShardError(f"{tar}: a shard's name ends in {TAR_SUFFIX}")
        stem = tar.name.removesuffix(TAR_SUFFIX)
        folder = described_in or tar.parent
        return cls(tar=tar, idx=folder / (stem + IDX_SUFFIX), meta=folder / (stem + META_SUFFIX))


class Stray(NamedTuple):
    """A file of a tar that is in no sample: its name, and its first bytes, where they were asked for."""

    name: str
    head: bytes = b""

    @property
    def is_hidden(self) -> bool:
        """Whether its name begins with a dot; others have no suffix."""
        return is_hidden(self.name)


HeadOf = Callable[[Member], bytes]
"""The first bytes of a file in a tar, asked for when its header was read."""


@dataclass(slots=True, kw_only=True)
class SampleSpan:
    """Where a sample is in a tar: from its first header to the end of the padding of its last member.

    Attributes:
        key: the sample's key.
        offset: of its first header.
        end: after the padding of its last member; files that belong to no sample may be in between.
        members: extension (lower case) to member: files alone.
        fault: why the sample cannot be used, such as a part that is a link; empty for a sound one.
        has_bad_name: whether the fault is one of names, for which a shard is refused rather than the sample left out.
        strays: files that are in no sample, between the sample before and the next one; the first has also
            those before it, the last those after it.
    """

    key: str
    offset: int
    end: int
    members: dict[str, Member] = field(default_factory=dict)
    fault: str = ""
    has_bad_name: bool = False
    strays: tuple[Stray, ...] = ()

    def blame(self, fault: str, *, has_bad_name: bool = False) -> None:
        """Note what is wrong, where nothing is noted yet."""
        if not self.fault:
            self.fault, self.has_bad_name = fault, has_bad_name


def validate_key(key: str) -> None:
    """Check that `key` can be written: every reader of tar shards agrees on it, and it is safe as a path.

    Raises:
        ShardError: with what is wrong about it.
    """
    if _PLAIN_KEY.fullmatch(key) is not None and len(key) + 1 + MAX_EXTENSION <= MAX_NAME:
        return  # as nearly all are
    _check_key(key)
    if "." in key.rpartition("/")[2]:
        raise ShardError(f"the key {key!r} has a dot in its basename, where readers cut the extension: replace it")
    if not key.isascii() or " " in key or "\\" in key:
        raise ShardError(f"the key {key!r} has other than printable ASCII characters, a space or a backslash: {_HINT}")
    if any(component in ("", ".") for component in key.split("/")):
        raise ShardError(f"the key {key!r} has an empty or '.' component: {_HINT}")
    if key.startswith("__"):
        raise ShardError(f"the key {key!r} starts with '__', which webdataset keeps for metadata: {_HINT}")
    split_path(key + "." + "x" * MAX_EXTENSION)


@lru_cache(maxsize=1024)
def validate_extension(extension: str) -> None:
    """Check that `extension` can be written: lower case letters, digits and inner dots, not too long.

    Raises:
        ShardError: when it is not so.
    """
    if len(extension) > MAX_EXTENSION or not _WRITTEN_EXTENSION.fullmatch(extension):
        raise ShardError(
            f"the extension {extension!r} is not 1 to {MAX_EXTENSION} lower case letters, digits and inner dots"
        )


@lru_cache(maxsize=1024)
def image_number(extension: str) -> int | None:
    """The number of a row's image: 3 for `3.png`; None for any other extension."""
    match = _NUMBERED_IMAGE.fullmatch(extension)
    return int(match[1]) if match else None


def is_image(extension: str) -> bool:
    """Whether a member of this extension is an image: a page's `jpg` or a row's `3.png`."""
    return extension in IMAGE_EXTENSIONS or image_number(extension) is not None


def split_name(name: str, rule: KeyRule = "webdataset") -> tuple[str, str] | None:
    """Key and lower-case extension of a member's name; None for one that belongs to no sample.

    Raises:
        ShardError: for a name that is not safe as a path.
    """
    split = cut_name(name, rule)
    if split is not None:
        _check_key(split[0])
    return split


def cut_name(name: str, rule: KeyRule) -> tuple[str, str] | None:
    """`split_name` without a check."""
    match = _NAMES[rule].fullmatch(name)
    if match is None or _WEBDATASET_META.match(name):
        return None
    return match[1], match[2].lower()


def prefixed_key(tar_name: str, key: str) -> str:
    """A key that is unique over tars, where `key` is within its tar; streams have these (nodes/lane.py)."""
    return f"{tar_name}/{key}"


def group_samples(
    members: Iterable[Member], rule: KeyRule = "webdataset", *, any_key: bool = False, head_of: HeadOf | None = None
) -> Iterator[SampleSpan]:
    """Group the members of a tar into samples, as webdataset does: neighbours with one key.

    Nothing is raised: a sample with an unsafe name, with two members of one extension, or with a part that is a link, a
    device or far too large, comes with its fault. By `any_key` an unsafe key is none, for those who give it another; by
    `head_of` files that are in no sample come with their first bytes.
    """
    span: SampleSpan | None = None
    bare: Member | None = None  # the file or link before this one, where it has no suffix
    strays: list[Stray] = []
    for member in members:
        split = cut_name(member.name, rule) if member.is_file or member.trouble else None
        if split is None:
            bare = member if member.is_file or member.trouble else None
            if span is not None and bare is not None and bare.name == span.key:
                _blame_bare(span)
            elif bare is not None and not _WEBDATASET_META.match(bare.name):
                strays.append(Stray(bare.name, head_of(bare) if head_of and bare.is_file else b""))
            continue
        key, extension = split
        if span is None or key != span.key:
            is_bare = bare is not None and bare.name == key
            if is_bare and strays and strays[-1].name == key:
                strays.pop()  # its sample is blamed for it
            if span is not None:
                span.strays, strays = tuple(strays), []
                yield span
            span = SampleSpan(key=key, offset=bare.offset if bare and is_bare else member.offset, end=member.end)
            if not any_key:
                _blame_key(span)
            if is_bare:
                _blame_bare(span)
        bare = None
        _add(span, extension, member)
    if span is not None:
        span.strays = tuple(strays)
        yield span


def split_sample(data: bytes, rule: KeyRule = "webdataset") -> tuple[str, dict[str, bytes]]:
    """Key and members of one sample from its bytes in the tar, headers and padding included.

    Args:
        data: the bytes from the sample's first header to the end of its last member.
        rule: where keys end.

    Returns:
        The key, and extension (lower case) to bytes, in the order of the tar.

    Raises:
        ShardError: when the bytes are not exactly one sample, or its names are at fault.
        RowError: a part of it is a link, a device, or far too large.
    """
    spans = list(group_samples(walk(lambda offset, length: data[offset : offset + length], 0, len(data)), rule))
    if len(spans) != 1 or spans[0].offset != 0 or spans[0].end != len(data):
        keys = [span.key for span in spans]
        raise ShardError(f"{len(data)} bytes should hold one sample, found {len(keys)}: {keys[:3]}")
    span = spans[0]
    if span.fault:
        raise (ShardError if span.has_bad_name else RowError)(f"sample {span.key!r}: {span.fault}")
    members = {
        extension: data[member.data_offset : member.data_offset + member.size]
        for extension, member in span.members.items()
    }
    return span.key, members


def _add(span: SampleSpan, extension: str, member: Member) -> None:
    """One more member of a sample, or what is wrong with it."""
    span.end = member.end
    if extension in span.members:
        span.blame(f"it has two members {extension!r}; the second at byte {member.offset}", has_bad_name=True)
    elif member.trouble:
        span.blame(
            f"its part {extension!r} is {member.trouble}, so its bytes are not in the sample: write the tar again with "
            "files alone (tar --dereference --hard-dereference)"
        )
    elif member.size > MAX_MEMBER_BYTES:
        span.blame(
            f"its part {extension!r} has {member.size} bytes, above the limit of {MAX_MEMBER_BYTES} for one member of "
            "a sample"
        )
    else:
        span.members[extension] = member


def _blame_bare(span: SampleSpan) -> None:
    span.blame(f"the file {span.key!r} next to it, without a suffix, could be its image or its text: give it a suffix")


def _blame_key(span: SampleSpan) -> None:
    try:
        _check_key(span.key)
    except ShardError as error:
        span.blame(str(error), has_bad_name=True)


def _check_key(key: str) -> None:
    """What no shard may hold, ours or another's."""
    if not key or key.startswith("/") or ".." in key.split("/") or _CONTROL.search(key):
        raise ShardError(f"the key {key!r} is empty or not safe as a path: {_HINT}")
