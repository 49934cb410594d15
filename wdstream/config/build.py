"""From a configuration to what it describes: a plan, or the lanes of a stream without an index.

Torch is imported for lanes alone, so that planning, tracing and reports start at once.
"""

import logging
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from wdstream.config.schema import Config, DataConfig, DatasetConfig, TilingConfig, set_name
from wdstream.errors import ConfigError
from wdstream.families.base import Family
from wdstream.families.registry import load_family
from wdstream.pipeline.planned import Plan
from wdstream.pixels.settings import PixelSettings
from wdstream.plan.protocols import Dataset, Mix
from wdstream.plan.settings import PackSettings, PlanSettings
from wdstream.shards.catalog import INDEX_FOLDER, SPLIT_JSON
from wdstream.shards.reader import Shards
from wdstream.tiling.plugin import LoadedTiling, load_tiling
from wdstream.tiling.policy import TilingPolicy
from wdstream.tiling.settings import TilingSettings

if TYPE_CHECKING:
    from wdstream.pipeline.streamed import Lanes

log = logging.getLogger("wdstream")


def plan_from_config(config: Config, *, split: str = "train") -> Plan:
    """The plan of a configuration: `train`, or the evaluation set of this name.

    Raises:
        ConfigError: there is no such split, or settings contradict each other.
        WdstreamError: shards, model folder or token column are missing; see Plan.
    """
    data = config.data
    if data.streaming is not None and split == "train":
        raise ConfigError(
            "data.streaming: tars without an index have no plan: their pages are known only once they are read. "
            "A run lists the pages of each step in pages.jsonl (`wdstream trace RUN --step N` prints them); for plan, "
            "where, digest, show and audit make an index (`wdstream index FOLDER --tokenizer MODEL`) and leave out "
            "data.streaming"
        )
    entries = data.train if split == "train" else [entry for entry in data.eval if set_name(entry) == split]
    if not entries:
        names = ", ".join(["train", *map(set_name, data.eval)])
        raise ConfigError(f"there is no dataset '{split}' in data.eval; known: {names}")
    datasets = [_dataset(entry, data, is_trained=split == "train") for entry in entries]
    family = family_from_config(config)
    tiling, pixels = tiling_from_config(config.tiling), PixelSettings.within(data)
    return Plan(datasets, family, tiling, pixels=pixels, **dict(PlanSettings.within(data)))


def family_from_config(config: Config) -> Family:
    """The family of the configured model, with the tokens that text may form.

    Raises:
        FamilyError: no model folder there, or of no family that is known.
        ConfigError: a token cannot be allowed.
    """
    model = config.model
    return load_family(model.path, name=model.family, allow_tokens=config.text.allow_tokens)


def tiling_from_config(tiling: TilingConfig) -> TilingPolicy | LoadedTiling:
    """The policy that `tiling:` describes; what is left out takes the policy's default.

    Settings that have no effect under its kind are reported in the log, once per process.

    Raises:
        ConfigError: a setting is wrong, or the transform is not installed.
    """
    if tiling.transform is not None:
        return load_tiling(tiling.transform, **tiling.settings)
    policy = TilingPolicy(
        **dict(TilingSettings.within(tiling)),
        tile_labels=tiling.labels != "none",
        own_labels=tiling.labels == "family",
    )
    if policy.ignored_fields:
        _warn_ignored(policy.kind, policy.ignored_fields)
    return policy


@lru_cache
def _warn_ignored(kind: str, fields: tuple[str, ...]) -> None:
    names = ", ".join("labels" if field in ("tile_labels", "own_labels") else field for field in fields)
    log.warning("tiling: %s: no effect under kind %s", names, kind)


def lanes_from_config(config: Config) -> "Lanes":
    """The stream of a configuration with `data.streaming`.

    Raises:
        ConfigError: a path is not a tar, or a command that is not allowed.
        WdstreamError: the model folder is missing.
    """
    from wdstream.nodes.lane import LaneSettings
    from wdstream.nodes.tar_urls import expand_urls
    from wdstream.pipeline.streamed import Lanes

    data, streaming = config.data, config.data.streaming
    assert streaming is not None, "asked for only where data.streaming is set"
    urls = [url for entry in data.train for url in expand_urls(entry.path)]
    if not streaming.allow_pipes and (pipes := [url for url in urls if url.startswith("pipe:")]):
        raise ConfigError(
            f"data.train: {pipes[0]} runs a shell command as you; if you know what it does, allow it with "
            "--set data.streaming.allow_pipes=true"
        )
    _refuse_streamed_split(data.train)
    packs = PackSettings.within(data)
    settings = LaneSettings(
        **dict(packs.replace(pool=max(1, data.pool // streaming.lanes))),
        family=family_from_config(config),
        tiling=tiling_from_config(config.tiling),
        lanes=streaming.lanes,
        shuffle=streaming.shuffle_buffer,
        key_rule=streaming.key_rule,
        rules=streaming.rules,
        downscale=data.overlength == "downscale",
    )
    return Lanes(urls=urls, settings=settings, pixels=PixelSettings.within(data))


def _dataset(entry: DatasetConfig, data: DataConfig, *, is_trained: bool) -> Dataset | Mix:
    """An entry of `data.train` or `data.eval`, its shards opened.

    Raises:
        ConfigError: it is evaluated, and does not say on which side of a split.
    """
    name, weight, epochs = set_name(entry), entry.weight, entry.epochs
    if entry.datasets:
        inside = tuple(_dataset(each, data, is_trained=is_trained) for each in entry.datasets)
        return Mix(datasets=inside, name=name, weight=weight, epochs=epochs)
    shards = Shards.open(entry.path, reading=data.reading, cache=data.cache)
    if entry.split is None and not is_trained and shards.catalog.split is not None:
        raise ConfigError(
            f"data.eval: {name}: {entry.path} holds pages out, and this set does not say which it is: add `split: "
            "held_out`, or `split: all` to evaluate on what is trained on, too"
        )
    split = entry.split or "train"
    return Dataset(columns=shards, name=name, weight=weight, epochs=epochs, where=entry.where, split=split)


def _refuse_streamed_split(entries: tuple[DatasetConfig, ...]) -> None:
    """Refuse to stream folders whose index holds pages out: a stream reads every page.

    Raises:
        ConfigError: names one.
    """
    for entry in entries:
        folder = Path(entry.path)
        if (folder / INDEX_FOLDER / SPLIT_JSON).is_file():
            raise ConfigError(
                f"data.train: {folder} holds pages out, and a stream reads every page, those too: leave out "
                f"data.streaming, for the folder has an index; or hold nothing out (`wdstream split {folder} --remove`)"
            )


def sets_of(config: Config) -> list[tuple[str, str]]:
    """Name and path of every folder of shards that a configuration trains or evaluates on."""

    def inside(entries: tuple[DatasetConfig, ...]) -> Iterator[tuple[str, str]]:
        for entry in entries:
            yield from inside(entry.datasets) if entry.datasets else [(set_name(entry), entry.path)]

    return [*inside(config.data.train), *inside(config.data.eval)]
