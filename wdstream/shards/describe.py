"""Describing tars, of anyone: where their samples are, and what sizes their images and texts have.

Each tar gets `x.tar.idx` and `x.meta.npz` next to it; `index.py` merges those of a folder. A sample whose image or text
cannot be read is left out and listed. What is wrong with names (keys that are unsafe or come twice, halves of samples
that are apart) says that the tar is not what it seems: then it is refused, unless bad samples are to be skipped.
"""

import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wdstream.errors import ForbiddenFileError, PageError, ShardError, StorageFailureError
from wdstream.records import Size
from wdstream.shards.apart.tar_list import TarElsewhere, reads_of_tar
from wdstream.shards.changed import what_changed
from wdstream.shards.layout import (
    JSON_EXTENSION,
    TEXT_EXTENSION,
    KeyRule,
    SampleSpan,
    ShardPaths,
    group_samples,
    image_number,
    prefixed_key,
)
from wdstream.shards.meta import SampleFailure, ShardMeta, save_idx
from wdstream.shards.page_members import page_from_members
from wdstream.shards.parts import (
    TEXT_HALF,
    are_apart,
    are_pieces,
    half_of,
    is_stray_image,
    loose_name,
    loose_name_of_stray,
    names_image,
)
from wdstream.shards.tar_header import BLOCK_SIZE, ZERO_BLOCK, Member, ReadAt, refuse_rest, walk
from wdstream.shards.writer import MetaBuilder, SampleEntry
from wdstream.storage.compression import MAGIC_BYTES, compression_of
from wdstream.text.image_names import HEAD_BYTES
from wdstream.text.maps.readings import Strays
from wdstream.text.row_forms import DEFAULT_RULES, RowRules

ImageSize = Callable[[bytes], Size]  # an image's bytes -> (width, height) after EXIF; raises PageError
MAX_LISTED = 50
"""Troubles that one message names; further ones are counted."""
_TAIL_BYTES = 1 << 20
_DOCUMENTS = frozenset({"pdf", "tif", "tiff"})
"""Extensions of parts that may have several pages."""
_NEIGHBOURS = "keys are unique and the members of a sample are neighbours, under one name; sort the tar by name"


@dataclass(frozen=True, slots=True, kw_only=True)
class TarRules:
    """How tars of others are read.

    Attributes:
        keys: where a key ends: at the first dot of the basename, as webdataset has it, or at the last one ("dotted").
        prefix_keys: put the name of the tar and a slash before each key, so that equal keys of two tars differ.
        skip_bad: leave out samples whose names are at fault, rather than refuse their tar.
        rows: how samples are read; with their map, if there is one.
    """

    keys: KeyRule = "webdataset"
    prefix_keys: bool = False
    skip_bad: bool = False
    rows: RowRules = DEFAULT_RULES

    def key(self, tar_name: str, key: str) -> str:
        """The key of a sample of the tar, in the index."""
        return prefixed_key(tar_name, key) if self.prefix_keys else key


PLAIN_TAR = TarRules()


def listed(troubles: Sequence[str]) -> str:
    """One trouble per line, the first of them, and how many more there are."""
    lines = [f"\n  {trouble}" for trouble in troubles[:MAX_LISTED]]
    return "".join(lines) + (f"\n  ... and {len(troubles) - MAX_LISTED:,} more" if len(troubles) > MAX_LISTED else "")


def describe_tar(
    tar: Path,
    image_size: ImageSize,
    rules: TarRules = PLAIN_TAR,
    *,
    left_out: Mapping[str, str] | None = None,
    known: Collection[str] = (),
    described_in: Path | None = None,
    elsewhere: TarElsewhere | None = None,
) -> ShardMeta:
    """Walk a tar, write `x.tar.idx` and `x.meta.npz`, and return the meta.

    It is read once, front to back: each sample when its last header was passed, for its checksum, its text and the
    sizes of its images. A sample that cannot be used is left out, and listed in `failures`.

    Args:
        tar: an uncompressed tar: USTAR, or with the long names of GNU or PAX.
        image_size: (width, height) of an image after EXIF rotation, from its bytes.
        rules: how keys are read, and what becomes of bad ones.
        left_out: reasons by key, as the index has it, of samples that are left out whatever they hold.
        known: digests of what the tar was described as before, if it was.
        described_in: the folder of the files that are written; that of the tar when left out.
        elsewhere: where its bytes are, if not in the file `tar`; then no idx is written, which belongs next to a tar.

    Raises:
        ForbiddenFileError, StorageFailureError: what is elsewhere cannot be read.
        ShardError: when it cannot serve as a shard: broken, cut off, compressed, with samples whose names are bad, or
            not with the bytes that it had; then nothing is written.
    """
    try:
        with reads_of_tar(tar, elsewhere) as (read, tar_bytes):
            found = _samples_of(read, tar, tar_bytes, image_size, rules, left_out or {})
            meta = _meta_of(found, tar, tar_bytes, rules, repacking(elsewhere.at if elsewhere else tar.parent))
            changed = what_changed(tar, meta, known, read)
    except (ForbiddenFileError, StorageFailureError):
        raise  # of a network, say: nothing is known of the tar
    except (ShardError, OSError) as error:
        raise ShardError(f"{f'{elsewhere.at}/{elsewhere.name}' if elsewhere else tar}: {error}") from error
    if changed:
        raise ShardError("\n".join(changed))
    paths = ShardPaths.of(tar, described_in)
    if elsewhere is None or elsewhere.has_idx:
        save_idx(paths.idx, [*(sample.span.offset for sample in found.samples), found.end])
    meta.save(paths.meta)
    return meta


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """A sample of a tar: its checksum and what the index keeps of it, or why it is left out."""

    span: SampleSpan
    key: str
    crc: int = 0
    entry: SampleEntry | None = None
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """All samples of a tar, and the offset of its end-of-archive block."""

    samples: Sequence[_Described]
    end: int


def _samples_of(
    read: ReadAt, tar: Path, tar_bytes: int, image_size: ImageSize, rules: TarRules, left_out: Mapping[str, str]
) -> _Found:
    """One pass over a tar."""
    compression = compression_of(read(0, MAGIC_BYTES))
    if compression is not None:
        raise ShardError(f"compressed with {compression}: {repacking(tar.parent)}, or stream it (data.streaming)")
    members: list[Member] = []
    samples: list[_Described] = []

    def head_of(member: Member) -> bytes:
        return read(member.data_offset, min(member.size, HEAD_BYTES))

    for span in group_samples(_kept(walk(read, 0, tar_bytes), members), rules.keys, head_of=head_of):
        key = rules.key(tar.name, span.key)
        samples.append(_describe_sample(read, span, key, image_size, rules, left_out.get(key, "")))
    end = members[-1].end if members else 0
    if read(end, BLOCK_SIZE) != ZERO_BLOCK:
        raise ShardError(f"no end-of-archive block at byte {end} of {tar_bytes}: truncated; copy or write it again")
    for start in range(end, tar_bytes, _TAIL_BYTES):
        refuse_rest(read(start, _TAIL_BYTES))
    return _Found(samples=samples, end=end)


def _kept(members: Iterable[Member], last: list[Member]) -> Iterator[Member]:
    """The members; the last that came is kept."""
    for member in members:
        last[:] = [member]
        yield member


def _meta_of(found: _Found, tar: Path, tar_bytes: int, rules: TarRules, remedy: str) -> ShardMeta:
    """The meta of all samples that can be used.

    Raises:
        ShardError: names are bad.
    """
    spans = [sample.span for sample in found.samples]
    _blame_names(spans)
    bad = [f"{span.key!r}: {span.fault}" for span in spans if span.has_bad_name]
    if bad and not rules.skip_bad:
        raise ShardError(f"{len(bad):,} of {len(spans):,} samples have bad names:{listed(bad)}")
    builder = MetaBuilder()
    for sample in found.samples:
        span = sample.span
        if sample.entry is None or span.fault:
            builder.failures.append(SampleFailure(key=sample.key, reason=span.fault or sample.why_not))
        else:
            builder.add(sample.key, span.offset, span.end - span.offset, sample.crc, sample.entry)
    builder.failures[:] = _with_remedies(builder.failures, spans, tar, rules, remedy)
    strays = Strays()
    strays.add(stray.name for span in spans for stray in span.strays)
    if strays.counts:
        first = rules.key(tar.name, min(strays.examples.values()))
        builder.failures.append(SampleFailure(key=first, reason=f"files that are in no sample, passed over: {strays}"))
    return builder.build(tar_bytes)


def _describe_sample(
    read: ReadAt, span: SampleSpan, key: str, image_size: ImageSize, rules: TarRules, why_left_out: str
) -> _Described:
    """A sample, or the reason why it is left out."""
    try:
        if span.fault or why_left_out:
            raise PageError(span.fault or why_left_out)
        data = read(span.offset, span.end - span.offset)
        page = page_from_members(key, _members(span, data), rules=rules.rows)
        entry = SampleEntry.of(page, [image_size(image) for image in page.images])
    except PageError as error:
        return _Described(span=span, key=key, why_not=str(error))
    return _Described(span=span, key=key, crc=zlib.crc32(data), entry=entry)


def _members(span: SampleSpan, data: bytes) -> dict[str, bytes]:
    """The files of a sample in its bytes.

    Raises:
        ShardError: these are not all that there were when its headers were read.
    """
    if len(data) != span.end - span.offset:
        raise ShardError(f"sample {span.key!r} at byte {span.offset} is cut off: the tar changes while it is read")
    places = {extension: member.data_offset - span.offset for extension, member in span.members.items()}
    return {extension: data[start : start + span.members[extension].size] for extension, start in places.items()}


def repacking(folder: Path | str) -> str:
    """The command that makes shards of tars which cannot be indexed as they are."""
    return f"repack it with `wdstream make-shards {folder} NEW_FOLDER`"


def _with_remedies(
    failures: Sequence[SampleFailure], spans: Sequence[SampleSpan], tar: Path, rules: TarRules, remedy: str
) -> list[SampleFailure]:
    """Failures, with the command that reads documents where the sample holds one."""
    documents = {rules.key(tar.name, span.key) for span in spans if span.members.keys() & _DOCUMENTS}
    more = f"; documents of several pages are pages of their own where you {remedy.replace(' it ', ' ')}"
    return [replace(failure, reason=failure.reason + more * (failure.key in documents)) for failure in failures]


def _blame_names(spans: Sequence[SampleSpan]) -> None:
    """Keys with dots, keys that come again, and samples whose parts are apart."""
    by_key: dict[str, list[SampleSpan]] = {}
    halves: dict[str, list[SampleSpan]] = {}
    strays = [stray for span in spans for stray in span.strays]
    bare = {loose_name_of_stray(stray): stray.name for stray in strays}
    images = [stray.name for stray in strays if is_stray_image(stray)]
    for span in spans:
        by_key.setdefault(span.key, []).append(span)
        if half_of(span.members):
            halves.setdefault(loose_name(span.key), []).append(span)
        _blame_dotted_key(span)
    for same in by_key.values():
        if len(same) > 1:
            _blame_repeated_key(same)
    for name, same in halves.items():
        if are_apart(half_of(span.members) for span in same if span.members):
            _blame_apart(same)
        if name in bare:
            _blame_bare(same, bare[name])
        if images:
            _blame_bare([span for span in same if half_of(span.members) == TEXT_HALF], images[0])


def _blame_bare(spans: Sequence[SampleSpan], name: str) -> None:
    """Samples of images or of texts alone, and a file elsewhere in the tar that could be their other half."""
    for span in spans:
        span.blame(
            f"the file {name!r}, without a suffix or hidden, could be its image or its text: {_NEIGHBOURS}",
            has_bad_name=True,
        )


def _blame_repeated_key(spans: Sequence[SampleSpan]) -> None:
    """Several samples of one key: all are at fault when they are the parts of one, else all but the first."""
    if are_pieces([span.members for span in spans]):
        _blame_apart(spans)
        return
    for span in spans[1:]:
        span.blame(f"the key appears again, the first at byte {spans[0].offset}: {_NEIGHBOURS}", has_bad_name=True)


def _blame_apart(spans: Sequence[SampleSpan]) -> None:
    """Samples that are the parts of one."""
    for span in spans:
        other = spans[1] if span is spans[0] else spans[0]
        what = "its image and its text are" if half_of(span.members) else "its parts are"
        name = "" if other.key == span.key else f", {other.key!r},"
        span.blame(f"{what} apart, the other half{name} at byte {other.offset}: {_NEIGHBOURS}", has_bad_name=True)


def _blame_dotted_key(span: SampleSpan) -> None:
    """A sample with only members such as `v2.jpg` comes from a name such as `page.v2.jpg`."""
    if any("." not in extension or image_number(extension) is not None for extension in span.members):
        return
    for extension, member in span.members.items():
        last = extension.rpartition(".")[2]
        if last in (TEXT_EXTENSION, JSON_EXTENSION) or names_image(last):
            span.blame(
                f"the name {member.name!r} has a dot in its key: readers of tar shards take {span.key!r} for the key "
                f"and {extension!r} for the extension; write the shard again without dots in the keys, or read keys "
                "up to the last dot, with --key dotted",
                has_bad_name=True,
            )
            return
