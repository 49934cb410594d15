"""A pipeline of webdataset, made to give the same samples again: its shards shared out, its randomness from a seed.

A pipeline is a list of stages. `open_pipeline` makes a copy of one for an epoch, whose stages are these:

    split_by_node, split_by_worker, single_node_only     gone: each share of the shards is dealt here
    functions of yours between shards and their opening  refused on several ranks: they may deal a second time
    shuffle, detshuffle, shuffled and resampled shards   with the seed of the node, the epoch and the stage
    streams of tars                                      closed when they are read, which webdataset leaves to chance
    decode                                               after a look for parts that it would unpickle
    rsample, RandomMix, DataLoader, ...                  refused: nothing can make them give the same samples again

All other stages are taken as they are; what they do to a sample is to depend on the sample alone.
"""

import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import webdataset
from webdataset import autodecode, cache, filters, mix, shardlists

from wdstream.errors import ConfigError, PlanError
from wdstream.plan.order import combine

ShareOf = Literal["shards", "samples", "own"]
"""What is dealt to ranks: the shards, the samples of one pipeline that each rank runs, or nothing, as the pipeline
reads its own share."""

_Stage = Any
_SPLITTERS = (shardlists.single_node_only, shardlists.split_by_node, shardlists.split_by_worker)
_SHARD_LISTS = (shardlists.SimpleShardList, shardlists.ResampledShards)
_REFUSED: tuple[tuple[type, str], ...] = (
    (
        mix.RandomMix,
        "draws from a generator without a seed; give each dataset a node of its own, and weights in a plan",
    ),
    (shardlists.DirectoryShardList, "renames files while it reads"),
    (shardlists.MultiShardSample, "draws shards from a generator without a seed"),
)
_PICKLED = frozenset({"pkl", "pickle", "pyd", "pth", "pt"})


@dataclass(frozen=True, slots=True)
class DataShare:
    """Which part of the data is read: number `index`, from 0, of `count` parts."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index} of {self.count}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How a pipeline is opened.

    Attributes:
        share: this process's part.
        share_of: what is dealt.
        seed: of all that is shuffled.
        allow_pickle: let `decode()` unpickle parts.
    """

    share: DataShare
    share_of: ShareOf
    seed: int
    allow_pickle: bool


def open_pipeline(pipeline: "webdataset.DataPipeline", how: Opening, epoch: int) -> Iterator[object]:
    """The samples of an epoch of this process.

    Raises:
        ConfigError: a stage cannot give the same samples again, or is not one whose shards can be shared out.
        PlanError: there are fewer shards than shares.
    """
    samples: Iterator[object] = iter(_prepared(pipeline, how, combine(how.seed, epoch), how.share_of == "shards"))
    if how.share_of == "samples":
        return islice(samples, how.share.index, None, how.share.count)
    return samples


def _prepared(pipeline: "webdataset.DataPipeline", how: Opening, seed: int, deals: bool) -> "webdataset.DataPipeline":
    """A copy with stages that give the same again."""
    stages: list[_Stage] = []
    for number, stage in enumerate(pipeline.pipeline):
        if how.share_of != "own" and any(stage is splitter for splitter in _SPLITTERS):
            stages.append(iter)  # what comes next may ask a list for its first
            continue
        if _decodes(stage) and not how.allow_pickle:
            stages.append(_refuse_pickle)
        stages.append(_same_again(stage, how, combine(seed, number), deals and number == 0))
        if number == 0 and deals:
            stages += _dealt(stage, how.share)
            _refuse_own_splitter(pipeline.pipeline, how.share)
        if isinstance(stage, cache.StreamingOpen | cache.FileCache):
            stages.append(_closing)
    prepared = copy.copy(pipeline)
    prepared.pipeline = stages
    return prepared


def _same_again(stage: _Stage, how: Opening, seed: int, deals: bool) -> _Stage:
    """A stage that gives the same again for the same seed."""
    for kind, why in _REFUSED:
        if isinstance(stage, kind):
            raise ConfigError(f"FromWebDataset: {kind.__name__} {why}")
    if isinstance(stage, webdataset.DataPipeline):
        return _prepared(stage, how, seed, deals)
    if isinstance(stage, mix.RoundRobin):
        return _with(
            stage, datasets=[_same_again(part, how, combine(seed, n), deals) for n, part in enumerate(stage.datasets)]
        )
    if isinstance(stage, shardlists.ResampledShards):
        return _with(stage, deterministic=True, seed=seed, epoch=-1, worker_seed=lambda: how.share.index)
    if isinstance(stage, shardlists.SimpleShardList):
        return _with(stage, seed=None if stage.seed is None else seed)
    if isinstance(stage, filters.detshuffle):
        return _with(stage, seed=seed, epoch=-1)
    if isinstance(stage, filters.FilterFunction):
        return _same_filter(stage, seed)
    if type(stage).__name__ == "DataLoader":
        raise ConfigError(
            "FromWebDataset: a DataLoader has processes of its own, whose place in the data nobody knows; give the "
            "pipeline inside it, and workers to the nodes after it (Decode, Tile)"
        )
    return copy.copy(stage) if isinstance(stage, webdataset.utils.PipelineStage) else stage


def _same_filter(stage: "filters.FilterFunction", seed: int) -> _Stage:
    if stage.f is filters.rsample.f:
        raise ConfigError(
            "FromWebDataset: rsample draws from a generator without a seed; choose by a hash of the key, in select"
        )
    if stage.f is not filters.shuffle.f:
        return stage
    given = inspect.signature(stage.f).bind(None, *stage.args, **stage.kw).arguments
    kept = {name: value for name, value in given.items() if name not in ("data", "rng", "seed")}
    return filters.FilterFunction(stage.f, **kept, seed=seed)


def _dealt(stage: _Stage, share: DataShare) -> list[_Stage]:
    """The stage after a list of shards that lets this process's share through."""
    if isinstance(stage, webdataset.DataPipeline | mix.RoundRobin):
        return []  # dealt inside
    if not isinstance(stage, _SHARD_LISTS):
        if share.count == 1:
            return []
        raise ConfigError(
            f"FromWebDataset: the pipeline begins with {type(stage).__name__}, whose shards cannot be shared out; say "
            'share="samples" to have each rank run all of it and take its part of the samples, or share="own" when it '
            "reads this rank's part by itself"
        )
    if isinstance(stage, shardlists.SimpleShardList) and len(stage.urls) < share.count:
        raise PlanError(
            f"FromWebDataset: {len(stage.urls)} shards for {share.count} ranks and workers: some would have none"
        )
    if isinstance(stage, shardlists.ResampledShards):
        return []  # drawn for this share
    return [lambda shards: islice(shards, share.index, None, share.count)]


def _refuse_own_splitter(stages: Sequence[_Stage], share: DataShare) -> None:
    """Raise at a function of the user's between the list of shards and their opening: most take a rank's part again.

    Raises:
        ConfigError: there is one, and the shards of such a list are dealt.
    """
    opening = next((number for number, stage in enumerate(stages) if _opens(stage)), 0)
    own = [stage for stage in stages[1:opening] if inspect.isroutine(stage) and stage not in _SPLITTERS]
    if own and share.count > 1 and isinstance(stages[0], shardlists.SimpleShardList):
        raise ConfigError(
            f"FromWebDataset: {own[0].__name__} of the pipeline comes before its shards are opened, and would take a "
            "part of the part that this rank has already: leave it out (nodesplitter, workersplitter); or say "
            'share="own" where it takes this rank\'s part, and share="samples" where each rank is to read all'
        )


def _opens(stage: _Stage) -> bool:
    """Whether a stage opens the shards whose addresses it gets."""
    is_filter = isinstance(stage, filters.FilterFunction)
    return isinstance(stage, cache.StreamingOpen | cache.FileCache) or (
        is_filter and stage.f is webdataset.tariterators.tarfile_samples
    )


def _with(stage: _Stage, **attributes: object) -> _Stage:
    changed = copy.copy(stage)
    for name, value in attributes.items():
        setattr(changed, name, value)
    return changed


def _decodes(stage: _Stage) -> bool:
    """Whether a stage decodes parts by webdataset's own decoders."""
    if not isinstance(stage, filters.FilterFunction):
        return False
    return stage.f in (filters.decode.f, filters.xdecode.f) or any(
        isinstance(argument, autodecode.Decoder) for argument in stage.args
    )


def _refuse_pickle(samples: Iterable[Mapping[str, object]]) -> Iterator[Mapping[str, object]]:
    """Raise at a part that the next stage would unpickle: a pickle runs whatever code is in it."""
    for sample in samples:
        for name in sample if isinstance(sample, Mapping) else ():
            if str(name).removesuffix(".gz").rpartition(".")[2] in _PICKLED and isinstance(sample[name], bytes):
                raise ConfigError(
                    f"FromWebDataset: sample {sample.get('__key__')!r} has the part {name!r}, which decode() would "
                    "unpickle, and a pickle runs whatever code is in it: leave such parts out (select_files), or, "
                    "where you trust all of them, say allow_pickle=True"
                )
        yield sample


def _closing(streams: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Close each stream of a tar when the next one is asked for."""
    for opened_tar in streams:
        stream = opened_tar["stream"]
        try:
            yield opened_tar
        finally:
            stream.close()


def current_share(rank: int | None, size: int | None) -> DataShare:
    """The part of this process: of its rank, or that which torch's environment says, and of its DataLoader worker."""
    own_rank, own_size, worker, num_workers = webdataset.utils.pytorch_worker_info()
    rank, size = (own_rank, own_size) if rank is None or size is None else (rank, size)
    return DataShare(rank * num_workers + worker, size * num_workers)
