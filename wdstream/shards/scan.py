"""The meta of a tar written by others: where its samples are, what sizes their images and texts have."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path

from wdstream.errors import PageError, ShardError
from wdstream.records import Page, Size, TextSegment
from wdstream.shards.layout import (
    IMAGE_EXTENSIONS,
    JSON_EXTENSION,
    TEXT_EXTENSION,
    SampleSpan,
    ShardPaths,
    group_samples,
    is_image,
    split_sample,
)
from wdstream.shards.meta import SampleFailure, ShardMeta, save_idx
from wdstream.shards.page_parts import page_from_parts, starts_with_text
from wdstream.shards.tar_header import BLOCK_SIZE, ZERO_BLOCK, Member, walk
from wdstream.shards.writer import MetaBuilder, SampleEntry
from wdstream.storage.local import read_exactly

Measure = Callable[[bytes], Size]  # an image's bytes -> (width, height) after EXIF; raises PageError


def describe_tar(tar: Path, measure: Measure) -> ShardMeta:
    """Walk a tar, write `x.tar.idx` and `x.meta.npz` beside it, and return the meta.

    Headers are walked first; then each sample is read once, for its checksum, its text and the sizes of its images. A
    sample whose image or text cannot be read is left out and stands in `failures`.

    Args:
        tar: an uncompressed tar: USTAR, or with the long names of GNU or PAX.
        measure: gives an image's (width, height) after EXIF rotation from its bytes.

    Raises:
        ShardError: when it cannot serve as a shard: broken, cut off, a key that is unsafe, repeated, or with a dot.
    """
    try:
        descriptor = os.open(tar, os.O_RDONLY)
    except OSError as error:
        raise ShardError(f"{tar} cannot be opened: {error}") from error
    try:
        tar_bytes = os.fstat(descriptor).st_size
        spans, end = _spans(descriptor, tar_bytes)
        builder = MetaBuilder()
        for span in spans:
            data = read_exactly(descriptor, span.offset, span.end - span.offset)
            try:
                entry = _entry(data, measure)
            except PageError as error:
                builder.failures.append(SampleFailure(key=span.key, reason=str(error)))
                continue
            builder.add(span.key, (span.offset, len(data), zlib.crc32(data)), entry)
    except (ShardError, OSError) as error:
        raise ShardError(f"{tar}: {error}") from error
    finally:
        os.close(descriptor)
    meta = builder.build(tar_bytes)
    paths = ShardPaths.of(tar)
    save_idx(paths.idx, [*(span.offset for span in spans), end])
    meta.save(paths.meta)
    return meta


def entry_of(page: Page, measure: Measure) -> SampleEntry:
    """What the index keeps of a page: image sizes, and the bytes and characters of its text.

    Raises:
        PageError: what `measure` raises.
    """
    texts = [segment.text for segment in page.segments if isinstance(segment, TextSegment)]
    return SampleEntry(
        image_sizes=tuple(measure(image) for image in page.images),
        text_bytes=sum(len(text.encode("utf-8", "surrogatepass")) for text in texts),
        text_chars=sum(map(len, texts)),
        starts_with_text=starts_with_text(page),
    )


def _spans(descriptor: int, tar_bytes: int) -> tuple[list[SampleSpan], int]:
    """All samples of a tar, and where its end-of-archive block stands."""
    end = 0

    def members() -> list[Member]:
        nonlocal end
        found = []
        for member in walk(lambda offset, length: os.pread(descriptor, length, offset), 0, tar_bytes):
            found.append(member)
            end = member.end
        return found

    spans = list(group_samples(members()))
    if os.pread(descriptor, BLOCK_SIZE, end) != ZERO_BLOCK:
        raise ShardError(f"no end-of-archive block at byte {end} of {tar_bytes}: truncated; copy or write it again")
    seen: set[str] = set()
    for span in spans:
        if span.key in seen:
            raise ShardError(
                f"the key {span.key!r} appears again at byte {span.offset}: keys are unique and the parts of a sample "
                "stand together; sort the tar by name"
            )
        seen.add(span.key)
        _refuse_dotted_key(span)
    return spans, end


def _refuse_dotted_key(span: SampleSpan) -> None:
    """A sample with only parts such as `v2.jpg` comes from a name such as `page.v2.jpg`."""
    known = (*IMAGE_EXTENSIONS, TEXT_EXTENSION, JSON_EXTENSION)
    if any(extension in known or is_image(extension) for extension in span.parts):
        return
    for extension, member in span.parts.items():
        if "." in extension and extension.rpartition(".")[2] in known:
            raise ShardError(
                f"the name {member.name!r} has a dot in its key: readers of tar shards take {span.key!r} for the key "
                f"and {extension!r} for the extension; write the shard again without dots in the keys"
            )


def _entry(data: bytes, measure: Measure) -> SampleEntry:
    return entry_of(page_from_parts(*split_sample(data)), measure)
