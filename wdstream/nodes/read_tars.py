"""ReadTars: samples out of tars without an index, front to back: foreign shards, pipes, downloads.

Any tar that webdataset reads, compressed or not. Nothing is sought, except that a resume goes straight to its place in
a plain file on a disk or an object store; anywhere else it reads the shard again up to there. Members become samples by
the rules of an index (shards/layout.py), so a sample is the same through both; one that cannot be used comes with its
fault and without its parts. So does the rest of a tar that is damaged or has no end, as one sample, `rest@BYTE`, at its
place: it costs that rest, and a resume finds the same; and so does a tar that is not there, as `rest@0`. A tar whose
images and texts are apart is an error, and so is what may be passing: rights, a network, a device or a command that
fails.

A key that comes again in its tar is said, and its samples are given all: which of them came first, only a reader that
has been there from the beginning knows, and a resume has not.
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import BinaryIO

from wdstream.errors import AbsentFileError, ForbiddenFileError, ShardError, StorageFailureError
from wdstream.nodes.apart import refuse_apart
from wdstream.nodes.node import Stage, State, check_tars
from wdstream.nodes.tar_urls import OpenStream, open_url
from wdstream.raw.tars.samples import RawSample, read_samples
from wdstream.shards.layout import KEY_RULES, KeyRule
from wdstream.shards.parts import HalvesSeen
from wdstream.shards.tar_header import refuse_rest
from wdstream.storage.addresses import shown_url
from wdstream.storage.forward import ForwardReads, unpacked

_log = logging.getLogger("wdstream")


class ReadTars(Stage[RawSample]):
    """The samples of some tars, in order. The state is the tar, the sample in it, and where that sample starts.

    Args:
        urls: local paths, `http://` and `https://` addresses, others that fsspec reaches (`s3://bucket/x.tar`), or
            `pipe:COMMAND` for the output of a shell command.
        open_stream: opens one of them for reading; replace it for other kinds of address.
        keys: where a key ends: at the first dot of the basename, as webdataset has it, or at the last one ("dotted").
    """

    _stream: BinaryIO | None = None
    _samples: Iterator[RawSample] | None = None
    SHARD_KEY, SAMPLE_KEY, OFFSET_KEY = "shard", "sample", "offset"

    def __init__(
        self, urls: Sequence[str], *, open_stream: OpenStream | None = None, keys: KeyRule = "webdataset"
    ) -> None:
        super().__init__()
        check_tars(urls, self.name)
        if keys not in KEY_RULES:
            raise ValueError(f"{self.name}: keys={keys!r}, expected one of {', '.join(map(repr, KEY_RULES))}")
        if open_stream is None:
            refuse_apart(urls, keys)
        self.urls = urls
        self._keys = keys
        self._open_stream = open_stream or open_url
        self._told: set[str] = set()  # tars of which all was said

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
        self.refuse_copies()
        try:
            self._stream = self._open_stream(url)
        except AbsentFileError as error:
            return islice([RawSample("rest@0", {}, 0, url, f"the tar is passed over: {error}")], self._sample, None)
        stream, is_plain = unpacked(self._stream, shown_url(url))
        if self._offset and is_plain:
            stream.seek(self._offset)
            return self._read_whole(ForwardReads(stream, shown_url(url), self._offset), url)
        return islice(self._read_whole(ForwardReads(stream, shown_url(url)), url), self._sample, None)

    def _read_whole(self, reads: ForwardReads, url: str) -> Iterator[RawSample]:
        """The samples of a tar, which is read to its last byte.

        Raises:
            ShardError: the parts of samples are apart.
            StorageFailureError: it cannot be read.
        """
        halves, end = HalvesSeen(), reads.position
        samples = _until_damage(reads, url, self._keys)
        for sample in samples:
            if isinstance(sample, ShardError):
                fault = f"the rest of the tar, from byte {end} on, is passed over: {sample}"
                yield RawSample(f"rest@{end}", {}, end, url, fault, end)
                return
            is_apart = halves.add(sample.key, sample.members)
            if (stray := halves.add_strays(sample.strays)) or is_apart:
                raise ShardError(
                    f"{shown_url(url)}: the image and the text of {stray or sample.key!r} are apart, and neither would "
                    "be trained on with the other: the members of a sample have one name, each with a suffix, and are "
                    "neighbours; sort the tar by name"
                )
            end = sample.end
            yield sample
        if url not in self._told:
            self._told.add(url)
            self._say(url, halves)

    def _say(self, url: str, halves: HalvesSeen) -> None:
        """Say what is passed over, and what came twice."""
        if halves.strays.counts:
            _log.warning("%s: files that are in no sample, passed over: %s", shown_url(url), halves.strays)
        if halves.repeated:
            _log.warning(
                "%s: %s samples have a key that came before in this tar, %r and others; all are given. `wdstream index "
                "--skip-bad` keeps the first of each",
                *(shown_url(url), f"{len(halves.repeated):,}", halves.repeated[0]),
            )


def _until_damage(reads: ForwardReads, url: str, keys: KeyRule) -> Iterator[RawSample | ShardError]:
    """The samples of a tar, and at last what is wrong with it, if anything is."""
    try:
        yield from read_samples(reads, url, keys)
        for rest in reads.rest():
            refuse_rest(rest, shown_url(url))
    except (StorageFailureError, AbsentFileError, ForbiddenFileError):
        raise
    except ShardError as error:
        yield error
