"""Samples out of a tar that is read front to back, by the rules of an index (shards/layout.py)."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from wdstream.errors import ShardError
from wdstream.shards.layout import MAX_MEMBER_BYTES, KeyRule, Stray, cut_name, group_samples
from wdstream.shards.tar_header import Member, ReadAt, walk
from wdstream.storage.addresses import shown_url
from wdstream.storage.forward import ForwardReads
from wdstream.text.image_names import HEAD_BYTES

NO_END = 1 << 62
"""Of a stream whose length nobody knows."""


class RawSample(NamedTuple):
    """One sample as it is in a tar: `members` maps extension to bytes, `offset` is where its first header starts, `end`
    where its last member ends.

    A sample that cannot be used, such as one whose image is a link, has a `fault` that says why, and no members.
    `strays` are files that are in no sample, as `SampleSpan` has them.
    """

    key: str
    members: dict[str, bytes]
    offset: int
    url: str
    fault: str = ""
    end: int = 0
    strays: tuple[Stray, ...] = ()


def read_samples(
    reads: ForwardReads,
    url: str,
    keys: KeyRule,
    *,
    end: int = NO_END,
    max_bytes: int = MAX_MEMBER_BYTES,
    any_key: bool = False,
) -> Iterator[RawSample]:
    """Neighbours with one key make a sample.

    Args:
        reads: of the tar, at a header.
        url: which tar it is.
        keys: where keys end.
        end: where the tar ends.
        max_bytes: of a member; larger ones are passed over, and are the fault of their sample.
        any_key: whether keys that are not safe as paths are not a fault, since samples get others.

    Raises:
        ShardError: the tar is damaged, or cut short.
    """
    data: dict[int, bytes] = {}  # of the members of at most two samples, by where they are
    try:
        members_read = _members(reads, end, max_bytes, data)
        for span in group_samples(members_read, keys, any_key=any_key, head_of=partial(_head, reads)):
            fault = span.fault or _too_large(span.members, max_bytes)
            members = {} if fault else {name: data[member.data_offset] for name, member in span.members.items()}
            following = {offset: part for offset, part in data.items() if offset >= span.end}
            data.clear()
            data.update(following)
            yield RawSample(span.key, members, span.offset, url, fault, span.end, span.strays)
    except ShardError as error:
        shown = shown_url(url)
        raise type(error)(str(error) if shown in str(error) else f"{shown}: {error}") from error


def _head(reads: ForwardReads, member: Member) -> bytes:
    return reads.read(member.data_offset, min(member.size, HEAD_BYTES))


def walk_to_end(read: ReadAt, start: int, end: int) -> Iterator[Member]:
    """`walk`, for which a tar without an end is damaged, so that nobody takes its last sample for a whole one.

    Raises:
        ShardError: it is damaged, or cut short.
    """
    last = start
    for member in walk(read, start, end):
        last = member.end
        yield member
    if last >= end:
        raise ShardError(f"no end-of-archive block at byte {last}: truncated; copy or write it again")


def _members(reads: ForwardReads, end: int, max_bytes: int, data: dict[int, bytes]) -> Iterator[Member]:
    """Every member of a tar; the bytes of files are put into `data` by their place, as far as samples can have them."""
    for member in walk_to_end(reads.read, reads.position, end):
        if member.is_file and member.size <= max_bytes and cut_name(member.name, "webdataset"):
            data[member.data_offset] = part = reads.read(member.data_offset, member.size)
            if len(part) != member.size:
                raise ShardError(
                    f"{member.name!r} at byte {member.offset} has {len(part)} of {member.size} bytes: cut short"
                )
        yield member


def _too_large(members: dict[str, Member], max_bytes: int) -> str:
    large = next((name for name, member in members.items() if member.size > max_bytes), None)
    if large is None:
        return ""
    return f"its part {large!r} has {members[large].size:,} bytes, above the limit of {max_bytes:,} (--max-file-bytes)"
