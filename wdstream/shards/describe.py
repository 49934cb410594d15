"""Describing tars, of anyone: where their samples are, and what sizes their images and texts have.

Each tar gets `x.tar.idx` and `x.meta.npz` next to it; `index.py` merges those of a folder.
"""

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from wdstream.errors import PageError, ShardError
from wdstream.records import Size
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
from wdstream.shards.page_members import page_from_members
from wdstream.shards.tar_header import BLOCK_SIZE, ZERO_BLOCK, walk
from wdstream.shards.writer import MetaBuilder, SampleEntry
from wdstream.storage.local import read_exactly

ImageSize = Callable[[bytes], Size]  # an image's bytes -> (width, height) after EXIF; raises PageError


def describe_all(todo: Sequence[Path], image_size: ImageSize, workers: int) -> Iterator[tuple[Path, ShardError | None]]:
    """Describe each tar, in processes when there are several workers; yields each as it is done, with its error."""
    if workers <= 1 or len(todo) <= 1:
        for tar in todo:
            yield tar, _describe(tar, image_size)
        return
    # spawn: a fork of a process with threads, such as torch's, can hang
    with ProcessPoolExecutor(min(workers, len(todo)), mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_describe, tar, image_size): tar for tar in todo}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _describe(tar: Path, image_size: ImageSize) -> ShardError | None:
    try:
        describe_tar(tar, image_size)
    except ShardError as error:
        return error
    return None


def describe_tar(tar: Path, image_size: ImageSize) -> ShardMeta:
    """Walk a tar, write `x.tar.idx` and `x.meta.npz` next to it, and return the meta.

    Headers are walked first; then each sample is read once, for its checksum, its text and the sizes of its images. A
    sample whose image or text cannot be read is left out, and listed in `failures`.

    Args:
        tar: an uncompressed tar: USTAR, or with the long names of GNU or PAX.
        image_size: (width, height) of an image after EXIF rotation, from its bytes.

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
                page = page_from_members(*split_sample(data))
                entry = SampleEntry.of(page, [image_size(image) for image in page.images])
            except PageError as error:
                builder.failures.append(SampleFailure(key=span.key, reason=str(error)))
                continue
            builder.add(span.key, span.offset, len(data), zlib.crc32(data), entry)
    except (ShardError, OSError) as error:
        raise ShardError(f"{tar}: {error}") from error
    finally:
        os.close(descriptor)
    meta = builder.build(tar_bytes)
    paths = ShardPaths.of(tar)
    save_idx(paths.idx, [*(span.offset for span in spans), end])
    meta.save(paths.meta)
    return meta


def _spans(descriptor: int, tar_bytes: int) -> tuple[list[SampleSpan], int]:
    """All samples of a tar, and the offset of its end-of-archive block."""
    members = list(walk(lambda offset, length: os.pread(descriptor, length, offset), 0, tar_bytes))
    end = members[-1].end if members else 0
    spans = list(group_samples(members))
    if os.pread(descriptor, BLOCK_SIZE, end) != ZERO_BLOCK:
        raise ShardError(f"no end-of-archive block at byte {end} of {tar_bytes}: truncated; copy or write it again")
    seen: set[str] = set()
    for span in spans:
        if span.key in seen:
            raise ShardError(
                f"the key {span.key!r} appears again at byte {span.offset}: keys are unique and the members of a "
                "sample are neighbours; sort the tar by name"
            )
        seen.add(span.key)
        _refuse_dotted_key(span)
    return spans, end


def _refuse_dotted_key(span: SampleSpan) -> None:
    """A sample with only members such as `v2.jpg` comes from a name such as `page.v2.jpg`."""
    known = (*IMAGE_EXTENSIONS, TEXT_EXTENSION, JSON_EXTENSION)
    if any(extension in known or is_image(extension) for extension in span.members):
        return
    for extension, member in span.members.items():
        if "." in extension and extension.rpartition(".")[2] in known:
            raise ShardError(
                f"the name {member.name!r} has a dot in its key: readers of tar shards take {span.key!r} for the key "
                f"and {extension!r} for the extension; write the shard again without dots in the keys"
            )
