"""FromWebDataset: a pipeline of webdataset as a source node, or tars by their addresses, with a state that is exact.

    FromWebDataset(webdataset.WebDataset(urls, shardshuffle=100).map(clean))        -> whatever the pipeline gives
    FromWebDataset("tars/{000..127}.tar")                                           -> {"__key__": ..., "jpg": bytes}

Of a pipeline, the state is how many samples came out in this epoch, and a digest of their keys. A resume runs the
pipeline again up to there, and compares: a pipeline that gives other samples now is an error, not another run. Tars by
their addresses are read by ReadTars, which goes straight to its place and refuses what a reader must not pass over.

Each rank, and each worker of a DataLoader that runs the node, reads its share of the shards. Shares differ in length,
so ranks end at different steps; and a state belongs to its share, so that another number of ranks refuses it. Training
that has to change the number of ranks, or to end alike on all of them, is what LaneSource and plans are for.
"""

import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from wdstream.errors import PlanError, RowError, ShardError, StateError
from wdstream.nodes.foreign.pipelines import DataShare, Opening, ShareOf, current_share, open_pipeline
from wdstream.nodes.mapper import Map, OnError
from wdstream.nodes.node import SOURCE_KEY, Node, Stage, State, check_tars
from wdstream.nodes.read_tars import ReadTars
from wdstream.nodes.tar_urls import expand_urls, shard_names
from wdstream.raw.tars.samples import RawSample
from wdstream.records import World
from wdstream.storage.addresses import shown_url

_DIGEST_BYTES = 12
_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error)


class FromWebDataset(Stage[Any]):
    """The samples of a webdataset pipeline, or of tars.

    Args:
        pipeline_or_urls: a `webdataset.WebDataset`, or any pipeline; or tars: a folder, an address with braces, a list.
        world: which ranks there are; None takes those of torchrun or torch.distributed.
        seed: of all that the pipeline shuffles, in place of seeds of its own; each epoch has another order.
        share: what is dealt to ranks, see `ShareOf`.
        on_error: of tars, "skip" passes over samples with a fault, such as a part that is a link.
        allow_pickle: of a pipeline, let `decode()` unpickle parts: that runs whatever code is in them.

    Raises:
        ConfigError: a stage of the pipeline cannot give the same samples again, or there is no such tar.
        PlanError: there are fewer shards than ranks and workers.
        TypeError: neither a pipeline nor addresses.
    """

    SHARE_KEY, EPOCH_KEY = "share", "epoch"

    def __init__(
        self,
        pipeline_or_urls: object,
        *,
        world: World | None = None,
        seed: int = 0,
        share: ShareOf = "shards",
        on_error: OnError = "raise",
        allow_pickle: bool = False,
    ) -> None:
        super().__init__()
        self._here = partial(current_share, *((world.rank, world.size) if world else (None, None)))
        self._epoch = -1
        self._given = pipeline_or_urls if hasattr(pipeline_or_urls, "pipeline") else _urls(pipeline_or_urls)
        self._opening = partial(Opening, share_of=share, seed=seed, allow_pickle=allow_pickle)
        self._on_error = on_error
        self._share_out()

    def _share_out(self) -> None:
        """Read the share of this process from now on: of a DataLoader's worker, which was not there at first."""
        self.share = self._here()
        if isinstance(self._given, list):
            self._samples: Node[Any] = _tars(self._given, self.share, self._on_error)
        else:
            self._samples = _PipelineSamples(self._given, self._opening(share=self.share))
        self.source = self._samples

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved state of this share, or at the start of the next epoch.

        Raises:
            StateError: the state is that of another share.
        """
        super().reset(initial_state)
        if self.share != self._here():
            self._share_out()
        if initial_state is None:
            self._epoch += 1
            self._samples.reset(None if not isinstance(self._samples, _PipelineSamples) else {"epoch": self._epoch})
            return
        _check_keys(initial_state, self.SHARE_KEY, self.EPOCH_KEY, SOURCE_KEY)
        saved = DataShare(*initial_state[self.SHARE_KEY])
        if saved != self.share:
            raise StateError(
                f"FromWebDataset: the saved state is that of share {saved} of the shards, this is share {self.share}: "
                "continue with as many ranks and workers as before; LaneSource and plans continue on other numbers"
            )
        kind = _PipelineSamples.COUNT_KEY if isinstance(self._samples, _PipelineSamples) else _TarSamples.TARS_KEY
        _check_keys(initial_state[SOURCE_KEY], kind)
        self._epoch = int(initial_state[self.EPOCH_KEY])
        self._samples.reset(initial_state[SOURCE_KEY])

    def advance(self) -> object:
        """The next sample, from the pipeline or out of the tars."""
        return next(self._samples)

    def get_state(self) -> State:
        """The share, the epoch, and the place in it."""
        return {
            self.SHARE_KEY: [self.share.index, self.share.count],
            self.EPOCH_KEY: self._epoch,
            SOURCE_KEY: self._samples.state_dict(),
        }


def _check_keys(state: object, *keys: str) -> None:
    """Check that a state is of a node of this kind.

    Raises:
        StateError: it is not.
    """
    missing = [key for key in keys if not isinstance(state, Mapping) or key not in state]
    if missing:
        raise StateError(
            f"FromWebDataset: the saved state has no {missing[0]!r}, so it is that of another node, or of tars where "
            "this is a pipeline, or the other way round: give it what it was saved with"
        )


class _PipelineSamples(Stage[Any]):
    """An epoch of a pipeline; the state counts its samples, and has a digest of their names."""

    _iterator: Iterator[object] | None = None
    COUNT_KEY, DIGEST_KEY, LAST_KEY = "count", "digest", "last"

    def __init__(self, pipeline: Any, how: Opening) -> None:
        super().__init__(name="FromWebDataset")
        self._pipeline, self._how = pipeline, how
        open_pipeline(pipeline, how, 0)  # so that what is refused is refused now

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved state; the pipeline starts with the first sample that is asked for."""
        super().reset(initial_state)
        state = initial_state or {}
        self._close_pipeline()
        self._epoch = int(state.get("epoch", 0))
        self._count = int(state.get(self.COUNT_KEY, 0))
        self._digest = str(state.get(self.DIGEST_KEY, ""))
        self._last = str(state.get(self.LAST_KEY, ""))

    def advance(self) -> object:
        """The next sample of the pipeline."""
        if self._iterator is None:
            self._iterator = open_pipeline(self._pipeline, self._how, self._epoch)
            self._go_to(self._count)
        return self._next()

    def get_state(self) -> State:
        """How many samples came out, which ones in short, and the last one's name."""
        return {
            "epoch": self._epoch,
            self.COUNT_KEY: self._count,
            self.DIGEST_KEY: self._digest,
            self.LAST_KEY: self._last,
        }

    def close(self) -> None:
        """End the pipeline, and close its tar."""
        self._close_pipeline()
        super().close()

    def _close_pipeline(self) -> None:
        closer = getattr(getattr(self, "_iterator", None), "close", None)
        if closer is not None:
            closer()
        self._iterator = None

    def _go_to(self, count: int) -> None:
        """Run the pipeline again up to a place, and check that it gave what it gave before."""
        digest, last = self._digest, self._last
        self._count, self._digest, self._last = 0, "", ""
        try:
            while self._count < count:
                self._next()
        except StopIteration:
            raise StateError(
                f"FromWebDataset: the saved state is after {count} samples of this epoch, and the pipeline gives only "
                f"{self._count} now; bring back the tars and the pipeline that it was saved with"
            ) from None
        if self._digest != digest:
            raise StateError(
                f"FromWebDataset: the first {count} samples of this epoch are not those before the saved state: the "
                f"last one was {last!r}, and is {self._last!r} now. The same pipeline over the same tars is needed, "
                "whose functions draw nothing at random"
            )

    def _next(self) -> object:
        assert self._iterator is not None
        try:
            sample = next(self._iterator)
        except _DAMAGE as error:
            raise ShardError(
                f"FromWebDataset: after sample {self._last or None!r}: {type(error).__name__}: {error}"
            ) from error
        except Exception as error:
            error.add_note(f"in the pipeline of FromWebDataset, after sample {self._last or None!r}")
            raise
        self._last = _name_of(sample)
        content = hashlib.blake2b(f"{self._digest}\0{self._last}".encode("utf-8", "replace"), digest_size=_DIGEST_BYTES)
        self._count, self._digest = self._count + 1, content.hexdigest()
        return sample


def _name_of(sample: object) -> str:
    """What a sample is called: by its key; one without a key by what it holds, as far as that is cheap to tell."""
    if isinstance(sample, Mapping) and "__key__" in sample:
        tar = str(sample.get("__url__", "")).rpartition("/")[2]
        return f"{sample['__key__']} of {tar}".removesuffix(" of ")
    parts = list(sample.values()) if isinstance(sample, Mapping) else sample
    if not isinstance(parts, list | tuple):
        parts = [parts]
    return " ".join(map(_short, parts))[:200]


def _short(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return f"{len(value)}:{zlib.crc32(value):08x}"
    if isinstance(value, str | int | float | bool) or value is None:
        return repr(value)[:60]
    return f"{type(value).__name__}{getattr(value, 'shape', getattr(value, 'size', ''))}"


def _urls(given: object) -> list[str]:
    """Addresses of tars, those of folders and braces written out."""
    if isinstance(given, str | Path):
        return expand_urls(str(given))
    if not isinstance(given, Sequence) or not all(isinstance(url, str | Path) for url in given):
        hint = "; an iterable is a pipeline as webdataset.DataPipeline(...)" if hasattr(given, "__iter__") else ""
        raise TypeError(
            f"FromWebDataset: expected a webdataset pipeline, or addresses of tars as text; found {given!r:.80}{hint}"
        )
    urls = [str(url) for url in given]
    check_tars(urls, "FromWebDataset")
    return urls


def _tars(urls: Sequence[str], share: DataShare, on_error: OnError) -> "_TarSamples":
    if len(urls) < share.count:
        raise PlanError(f"FromWebDataset: {len(urls)} tars for {share.count} ranks and workers: some would have none")
    return _TarSamples(urls[share.index :: share.count], on_error)


class _TarSamples(Map[RawSample, "dict[str, object]"]):
    """Samples of tars as webdataset has them, but not decoded."""

    TARS_KEY = "tars"

    def __init__(self, urls: Sequence[str], on_error: OnError) -> None:
        super().__init__(ReadTars(urls), _as_webdataset, on_error=on_error, name="FromWebDataset")
        names = "\0".join(shard_names(urls)).encode("utf-8", "surrogatepass")
        self._names = hashlib.blake2b(names, digest_size=_DIGEST_BYTES).hexdigest()

    def reset(self, initial_state: State | None = None) -> None:
        """Open at a saved state of the same tars, or at the first."""
        if initial_state is not None and initial_state[self.TARS_KEY] != self._names:
            raise StateError(
                "FromWebDataset: the saved state is that of other tars, by their names; give the same ones in order"
            )
        super().reset(initial_state)

    def get_state(self) -> State:
        """The place in the tars, and which ones they are."""
        return {**super().get_state(), self.TARS_KEY: self._names}


def _as_webdataset(sample: RawSample) -> "dict[str, object]":
    if sample.fault:
        raise RowError(f"sample {sample.key!r} of {shown_url(sample.url)}: {sample.fault}")
    return {"__key__": sample.key, "__url__": sample.url, **sample.members}
