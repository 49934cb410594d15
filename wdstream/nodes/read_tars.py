"""ReadTars: samples out of tars without an index, front to back: foreign shards, pipes, downloads.

Any tar that webdataset reads, compressed or not. Nothing is sought, except that a resume goes straight to its place in
a plain file on a disk or an object store; anywhere else it reads the shard again up to there. Members become samples by
the rules of an index (shards/layout.py), so a sample is the same through both; one that cannot be used comes with its
fault and without its parts. What no sample can be blamed for is an error: a tar that is damaged or has no end, or whose
images and texts are apart.
"""

import http.client
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from lzma import LZMAError
from typing import BinaryIO, NamedTuple, cast

from wdstream.errors import ShardError
from wdstream.nodes.node import Stage, State, check_tars
from wdstream.nodes.tar_urls import OpenStream, open_url
from wdstream.shards.layout import KEY_RULES, MAX_MEMBER_BYTES, KeyRule, cut_name, group_samples
from wdstream.shards.parts import HalvesSeen
from wdstream.shards.tar_header import Member, refuse_rest, walk
from wdstream.storage.compression import MAGIC_BYTES, compression_of, decompress

_NO_END = 1 << 62
"""Of a stream whose length nobody knows."""
_CHUNK = 1 << 20


class RawSample(NamedTuple):
    """One sample as it is in a tar: `members` maps extension to bytes, `offset` is where its first header starts.

    A sample that cannot be used, such as one whose image is a link, has a `fault` that says why, and no members.
    """

    key: str
    members: dict[str, bytes]
    offset: int
    url: str
    fault: str = ""


class ReadTars(Stage[RawSample]):
    """The samples of some tars, in order. The state is the tar, the sample in it, and where that sample starts.

    Args:
        urls: local paths, `http://` and `https://` addresses, others that fsspec reaches (`s3://bucket/x.tar`), or
            `pipe:COMMAND` for the output of a shell command.
        open_stream: opens one of them for reading; replace it for other kinds of address.
        keys: where a key ends: at the first dot of the basename, as webdataset has it, or at the last one ("dotted").
    """

    SHARD_KEY, SAMPLE_KEY, OFFSET_KEY = "shard", "sample", "offset"

    def __init__(
        self, urls: Sequence[str], *, open_stream: OpenStream | None = None, keys: KeyRule = "webdataset"
    ) -> None:
        super().__init__()
        check_tars(urls, self.name)
        if keys not in KEY_RULES:
            raise ValueError(f"{self.name}: keys={keys!r}, expected one of {', '.join(map(repr, KEY_RULES))}")
        self.urls = urls
        self._keys = keys
        self._open_stream = open_stream or open_url
        self._stream: BinaryIO | None = None
        self._samples: Iterator[RawSample] | None = None

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved place, or at the first sample of the first tar."""
        super().reset(initial_state)
        state = initial_state or {self.SHARD_KEY: 0, self.SAMPLE_KEY: 0, self.OFFSET_KEY: 0}
        self._shard, self._sample = int(state[self.SHARD_KEY]), int(state[self.SAMPLE_KEY])
        self._offset = int(state[self.OFFSET_KEY])
        self._close_tar()
        self._next: RawSample | None = None

    def advance(self) -> RawSample:
        """The next sample; the one after it is read ahead, to know where it starts."""
        while self._shard < len(self.urls):
            if self._samples is None:
                self._samples = self._open(self.urls[self._shard])
                self._next = next(self._samples, None)
            sample, self._next = self._next, next(self._samples, None)
            if self._next is None:
                self._shard, self._sample, self._offset = self._shard + 1, 0, 0
                self._close_tar()
            else:
                self._sample, self._offset = self._sample + 1, self._next.offset
            if sample is not None:
                return sample
        raise StopIteration

    def get_state(self) -> State:
        """The place of the next sample."""
        return {self.SHARD_KEY: self._shard, self.SAMPLE_KEY: self._sample, self.OFFSET_KEY: self._offset}

    def close(self) -> None:
        """Close the open tar."""
        self._close_tar()
        super().close()

    def _close_tar(self) -> None:
        self._samples = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _open(self, url: str) -> Iterator[RawSample]:
        self._stream = self._open_stream(url)
        stream, is_plain = _unpacked(self._stream, url)
        if self._offset and is_plain:
            stream.seek(self._offset)
            return _read_samples(ForwardReads(stream, url, self._offset), url, self._keys)
        return islice(_read_samples(ForwardReads(stream, url), url, self._keys), self._sample, None)


class ForwardReads:
    """Reads of a stream at rising places; what is between them is passed over.

    Attributes:
        position: the place after the last byte read.
    """

    def __init__(self, stream: BinaryIO, url: str, position: int = 0) -> None:
        self._stream, self._url, self.position = stream, url, position

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on, fewer only at the end.

        Raises:
            ShardError: the stream breaks off, or what is compressed is damaged.
        """
        if offset > self.position:
            self._skip(offset - self.position)
        data = _read(self._stream, length, self._url)
        self.position = offset + len(data)
        return data

    def drain(self) -> None:
        """Read to the end: a checksum of a compressed stream is there, and the exit status of a command.

        Raises:
            ShardError: another tar follows, which no reader of tars would see.
        """
        while rest := _read(self._stream, _CHUNK, self._url):
            refuse_rest(rest)

    def _skip(self, length: int) -> None:
        if length > _CHUNK and self._stream.seekable():
            self._stream.seek(length, 1)
            return
        while length and (data := _read(self._stream, min(length, _CHUNK), self._url)):
            length -= len(data)


class _Prefixed:
    """A stream of which the first bytes were read to see what it is; enough of a file for what decompresses."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head, self._stream = head, stream

    def read(self, size: int = -1) -> bytes:
        """The first bytes again, then the rest."""
        if not self._head:
            return self._stream.read(size)
        head = self._head if size < 0 else self._head[:size]
        self._head = self._head[len(head) :]
        return head

    def seekable(self) -> bool:
        """Never: what was read is gone."""
        return False


def _unpacked(stream: BinaryIO, url: str) -> tuple[BinaryIO, bool]:
    """The bytes of a tar, whatever it is compressed with; and whether one can go to a place in them."""
    can_seek = stream.seekable()
    head = _read(stream, MAGIC_BYTES, url)
    if can_seek:
        stream.seek(0)
    else:
        stream = cast(BinaryIO, _Prefixed(head, stream))
    compression = compression_of(head)
    if compression is None:
        return stream, can_seek
    return decompress(stream, compression, url), False


def _read(stream: BinaryIO, length: int, url: str) -> bytes:
    """`length` bytes, fewer only at the end."""
    chunks: list[bytes] = []
    try:
        while length and (data := stream.read(length)):
            chunks.append(data)
            length -= len(data)
    except (OSError, EOFError, zlib.error, LZMAError, http.client.HTTPException) as error:
        raise ShardError(
            f"{url}: not a readable tar, or cut short ({type(error).__name__}: {error}); bring a whole file"
        ) from error
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _read_samples(reads: ForwardReads, url: str, keys: KeyRule) -> Iterator[RawSample]:
    """Neighbours with one key make a sample."""
    data: dict[int, bytes] = {}  # of the members of at most two samples, by where they are
    halves = HalvesSeen()
    try:
        for span in group_samples(_members(reads, url, data), keys):
            members = {extension: data[member.data_offset] for extension, member in span.members.items()}
            following = {offset: part for offset, part in data.items() if offset >= span.end}
            data.clear()
            data.update(following)
            if halves.add(span.key, members):
                raise ShardError(
                    f"the image and the text of {span.key!r} are apart, and neither would be trained on with the "
                    "other: the members of a sample have one name and are neighbours; sort the tar by name"
                )
            yield RawSample(span.key, {} if span.fault else members, span.offset, url, span.fault)
    except ShardError as error:
        raise ShardError(str(error) if url in str(error) else f"{url}: {error}") from error


def _members(reads: ForwardReads, url: str, data: dict[int, bytes]) -> Iterator[Member]:
    """Every member of a tar; the bytes of files are put into `data` by their place, as far as samples can have them."""
    for member in walk(reads.read, reads.position, _NO_END):
        if member.is_file and member.size <= MAX_MEMBER_BYTES and cut_name(member.name, "webdataset"):
            data[member.data_offset] = part = reads.read(member.data_offset, member.size)
            if len(part) != member.size:
                raise ShardError(
                    f"{member.name!r} at byte {member.offset} has {len(part)} of {member.size} bytes: cut short"
                )
        yield member
    reads.drain()
