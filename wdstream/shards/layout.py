"""Names and samples in a shard: which keys are allowed, and how the members of a tar group into samples.

A shard is `x.tar` with `x.tar.idx` (where each sample starts) and `x.meta.npz` (sizes, checksums, keys) next to it. The
rule that splits a member's name into key and extension is webdataset's and energon's: the key ends at the first dot of
the basename. So a key's basename has no dot, and the members of a sample are neighbours.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wdstream.errors import ShardError
from wdstream.shards.tar_header import Member, split_path, walk

TAR_SUFFIX = ".tar"
IDX_SUFFIX = ".tar.idx"
META_SUFFIX = ".meta.npz"
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "tif", "tiff", "gif", "bmp")
TEXT_EXTENSION = "txt"
JSON_EXTENSION = "json"
MAX_EXTENSION = 16  # reserved when a key is checked, so that every member of a valid key fits USTAR

# The last component starts with no dot: hidden files, such as macOS's `._a.jpg`, belong to no sample.
_NAME = re.compile(r"((?:.*/|)[^./]+)[.]([^/]*)", re.DOTALL)
_WEBDATASET_META = re.compile(r"__[^/]*__($|/)")  # entries that webdataset and energon skip
_WRITTEN_EXTENSION = re.compile(r"[a-z0-9]+(\.[a-z0-9]+)*")
_NUMBERED_IMAGE = re.compile(rf"(0|[1-9][0-9]{{0,5}})\.({'|'.join(IMAGE_EXTENSIONS)})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HINT = "rename it, without dots in the basename, control characters, '..' or a leading '/'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPaths:
    """The three files of a shard."""

    tar: Path
    idx: Path
    meta: Path

    @classmethod
    def of(cls, tar: Path) -> "ShardPaths":
        """The files of the shard whose tar is `tar`.

        Raises:
            ShardError: when its name does not end in `.tar`.
        """
        if tar.suffix != TAR_SUFFIX or not tar.stem:
            raise ShardError(f"{tar}: a shard's name ends in {TAR_SUFFIX}")
        stem = tar.name.removesuffix(TAR_SUFFIX)
        return cls(tar=tar, idx=tar.with_name(stem + IDX_SUFFIX), meta=tar.with_name(stem + META_SUFFIX))


@dataclass(slots=True, kw_only=True)
class SampleSpan:
    """Where a sample is in a tar: from its first header to the end of the padding of its last member.

    Attributes:
        key: the sample's key.
        offset: of its first header.
        end: after the padding of its last member; files that belong to no sample may be in between.
        members: extension (lower case) to member.
    """

    key: str
    offset: int
    end: int
    members: dict[str, Member]


def validate_key(key: str) -> None:
    """Check that `key` can be written: every reader of tar shards agrees on it, and it is safe as a path.

    Raises:
        ShardError: with what is wrong about it.
    """
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


def validate_extension(extension: str) -> None:
    """Check that `extension` can be written: lower case letters, digits and inner dots, not too long.

    Raises:
        ShardError: when it is not so.
    """
    if len(extension) > MAX_EXTENSION or not _WRITTEN_EXTENSION.fullmatch(extension):
        raise ShardError(
            f"the extension {extension!r} is not 1 to {MAX_EXTENSION} lower case letters, digits and inner dots"
        )


def image_number(extension: str) -> int | None:
    """The number of a row's image: 3 for `3.png`; None for any other extension."""
    match = _NUMBERED_IMAGE.fullmatch(extension)
    return int(match[1]) if match else None


def is_image(extension: str) -> bool:
    """Whether a member of this extension is an image: a page's `jpg` or a row's `3.png`."""
    return extension in IMAGE_EXTENSIONS or image_number(extension) is not None


def split_name(name: str) -> tuple[str, str] | None:
    """Key and lower-case extension of a member's name; None for one that belongs to no sample.

    Raises:
        ShardError: for a name that is not safe as a path.
    """
    match = _NAME.fullmatch(name)
    if match is None or _WEBDATASET_META.match(name):
        return None
    _check_key(match[1])
    return match[1], match[2].lower()


def group_samples(members: Iterable[Member]) -> Iterator[SampleSpan]:
    """Group the members of a tar into samples, as webdataset does: neighbours with one key.

    Raises:
        ShardError: when a sample has two members of one extension, or a name is unsafe.
    """
    span: SampleSpan | None = None
    for member in members:
        split = split_name(member.name) if member.is_file else None
        if split is None:
            continue
        key, extension = split
        if span is None or key != span.key:
            if span is not None:
                yield span
            span = SampleSpan(key=key, offset=member.offset, end=member.end, members={})
        if extension in span.members:
            raise ShardError(f"the sample {key!r} has two members {extension!r}; the second at byte {member.offset}")
        span.members[extension] = member
        span.end = member.end
    if span is not None:
        yield span


def split_sample(data: bytes) -> tuple[str, dict[str, bytes]]:
    """Key and members of one sample from its bytes in the tar, headers and padding included.

    Args:
        data: the bytes from the sample's first header to the end of its last member.

    Returns:
        The key, and extension (lower case) to bytes, in the order of the tar.

    Raises:
        ShardError: when the bytes are not exactly one sample.
    """
    spans = list(group_samples(walk(lambda offset, length: data[offset : offset + length], 0, len(data))))
    if len(spans) != 1 or spans[0].offset != 0 or spans[0].end != len(data):
        keys = [span.key for span in spans]
        raise ShardError(f"{len(data)} bytes should hold one sample, found {len(keys)}: {keys[:3]}")
    members = {
        extension: data[member.data_offset : member.data_offset + member.size]
        for extension, member in spans[0].members.items()
    }
    return spans[0].key, members


def _check_key(key: str) -> None:
    """What no shard may hold, ours or another's."""
    if not key or key.startswith("/") or ".." in key.split("/") or _CONTROL.search(key):
        raise ShardError(f"the key {key!r} is empty or not safe as a path: {_HINT}")
