"""The YAML configuration: the stations' settings as sections, those of the training command, and reading them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import indent
from typing import Any, ClassVar, Literal, Self

import yaml
from pydantic import Field, field_serializer, field_validator, model_validator

from wdstream.config.idle import idle_settings
from wdstream.config.other_names import OTHER_NAMES
from wdstream.config.speed import compile_problems
from wdstream.config.training import TrainConfig
from wdstream.errors import ConfigError
from wdstream.pipeline.planning.feed import Planning
from wdstream.pixels.settings import PixelSettings
from wdstream.plan.held_out import Split
from wdstream.plan.settings import PlanSettings, WhereText
from wdstream.settings import Settings, expanded
from wdstream.shards.layout import KeyRule
from wdstream.storage.addresses import kept_url
from wdstream.storage.cache.settings import CacheSettings
from wdstream.storage.local import read_small
from wdstream.storage.settings import ReadSettings
from wdstream.text.maps.field_map import FieldMap
from wdstream.text.row_forms import RowRules, rules_with_map
from wdstream.text.settings import TextSettings
from wdstream.tiling.settings import TilingSettings


class DatasetConfig(Settings):
    """One dataset: a folder of shards with its index; or a mix of several that share a weight or epochs."""

    path: str = ""
    """Folder of shards with their index, or its URL."""
    datasets: tuple["DatasetConfig", ...] = ()
    """In place of `path`: a mix. The weights inside divide the mix's own weight; epochs inside are multiplied by
    its."""
    name: str | None = None
    """Shown in reports; the folder's name when left out."""
    weight: float | None = Field(default=None, gt=0)
    """Share of the stream, in any unit; give all datasets a weight, or none. With weights there are no epochs."""
    epochs: int = Field(default=1, gt=0)
    """How often each page comes in one of `data.epochs`; for datasets without weights."""
    loss_weight: float = Field(default=1.0, gt=0)
    """How much a supervised token of this dataset counts in the loss, and in what it is divided by, against 1 for
    others; in data.train only. What comes stays the same: `weight` decides that."""
    where: WhereText | None = None
    """Only pages of this dataset for which this holds, such as `script == "Latn"`. So one folder can be several
    datasets by metadata, each with a name and a weight of its own; of a mix, give it to the datasets inside."""
    split: Split | None = None
    """Of shards that hold pages out (`wdstream split`): `train`, all but those; `held_out`, those; or `all`. Left out
    it is `train` in data.train; data.eval has to say it."""

    @field_validator("path")
    @classmethod
    def _is_written_out(cls, path: str) -> str:
        return path if path.startswith("pipe:") else expanded(path)

    @field_serializer("path", when_used="json")
    def _is_kept(self, path: str) -> str:
        """For run.json and trackers."""
        return kept_url(path)

    @model_validator(mode="after")
    def _has_path_or_datasets(self) -> "DatasetConfig":
        if bool(self.path) == bool(self.datasets):
            raise ValueError("give either path, a folder of shards, or datasets, a mix of several")
        for name in ("where", "split") if self.datasets else ():
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} chooses among the pages of one folder: give it to the datasets inside of the mix"
                )
        if self.datasets and self.loss_weight != 1:
            raise ValueError("loss_weight is of the pages of one folder: give it to the datasets inside of the mix")
        return self


def leaf_datasets(entries: Iterable[DatasetConfig]) -> Iterator[DatasetConfig]:
    """Those with a folder of their own, of mixes what is inside, in the order of the plan."""
    for entry in entries:
        if entry.datasets:
            yield from leaf_datasets(entry.datasets)
        else:
            yield entry


def set_name(entry: DatasetConfig) -> str:
    """How a dataset or an evaluation set is called in reports and settings."""
    return entry.name or Path(kept_url(entry.path)).name or "mix"


class StreamingConfig(Settings):
    """`data.streaming:` train from tars without an index, read front to back; see docs/plan.md for what that costs.

    `path` in data.train is then a folder of tars or a tar, on disk or an object store (`s3://bucket/tars`), an http(s)
    address (no ranges needed), or `pipe:COMMAND`; braces name several: `https://host/pages-{000..127}.tar`.
    train.max_steps is needed.
    """

    lanes: int = Field(default=8, gt=0)
    """Rows of shards that are read side by side: a multiple of the number of processes of every start of the run, and
    at most the number of shards."""
    shuffle_buffer: int = Field(default=64, gt=0)
    """Pages of a lane that are shuffled together, in memory with their images still encoded; the order of shards is
    shuffled, too."""
    key_rule: KeyRule = "webdataset"
    """Where the key of a sample ends in a name: at the first dot of the basename, as webdataset has it, or at the last,
    `dotted`, for names such as `report.v2.jpg`."""
    map: dict[str, str | tuple[str, ...]] | str = ""
    """Which part or field of samples is what: `{image: jp2, text: "json:caption"}`, or as `--map` has it; see
    docs/sources.md."""
    preset: str | None = None
    """The layout of samples by name, such as `img2dataset` or `llava`; what `map` says counts in place of it."""
    metadata_fields: tuple[str, ...] = ()
    """Fields that are metadata, whatever they look like."""
    allow_pipes: bool = False
    """Run the shell commands that `pipe:` paths hold, as you."""

    @property
    def rules(self) -> RowRules:
        """How samples are read."""
        return rules_with_map(RowRules(metadata_fields=frozenset(self.metadata_fields)), self.map, self.preset)

    @model_validator(mode="after")
    def _has_a_map(self) -> Self:
        FieldMap.chosen(self.map, self.preset)
        return self


NEEDS_INDEX = ("where", "curriculum", "weights_in", "shuffle_shards", "tail", "deal", "on_change", "cache")
"""Settings of DataConfig that mean nothing for tars without an index."""


class DataConfig(PlanSettings, PixelSettings):
    """`data:` what is read, and how it becomes packs: the settings of the plan, of pixels, and these."""

    train: tuple[DatasetConfig, ...] = Field(min_length=1)
    """The datasets that are trained on."""
    eval: tuple[DatasetConfig, ...] = ()
    """The sets that are evaluated, each by itself."""
    workers: int = Field(default=2, ge=0, le=1000)
    """Threads that read, decode and lay out pages; 0 works in the reading thread."""
    pad_to: Literal["longest", "full"] = "longest"
    """Tokens of the rows of a batch: those of the longest pack in it; or, full, always the same number, a little over
    `sequence_length`, as train.compile needs it, and in the Qwen-VL families one number of patches in all batches.
    `wdstream plan` says how much is then padding."""
    prefetch: int = Field(default=2, gt=0, le=1000)
    """Batches ready ahead of training."""
    planning: Planning = "auto"
    """Where steps are planned: thread, of each training process; process, one next to it, which all ranks of a machine
    share; auto takes a process from 512 packs per step on. No influence on what comes."""
    max_bad_fraction: float = Field(default=0.01, ge=0, le=1)
    """Training stops when more than this share of pages failed at run time."""
    reading: ReadSettings = ReadSettings()
    """How shards at a URL are read."""
    cache: CacheSettings | None = None
    """Keeps on this machine what is read from URLs, for all its processes; None asks the store each time."""
    streaming: StreamingConfig | None = None
    """None plans from an index; `{}` streams tars that have none, with the settings above."""

    @property
    def eval_names(self) -> list[str]:
        """How the evaluation sets are called."""
        return [set_name(entry) for entry in self.eval]

    @property
    def loss_weights(self) -> list[float]:
        """Of each dataset that is trained on, in the order of the plan."""
        return [entry.loss_weight for entry in leaf_datasets(self.train)]

    @model_validator(mode="after")
    def _weighs_what_is_trained(self) -> Self:
        if found := [entry.name or entry.path for entry in leaf_datasets(self.eval) if entry.loss_weight != 1]:
            raise ValueError(f"eval: {found[0]}: loss_weight is of datasets that are trained on: leave it out")
        return self

    @model_validator(mode="after")
    def _streams_without_index(self) -> "DataConfig":
        if self.streaming is None:
            return self
        fields = DataConfig.model_fields
        wrong = [name for name in NEEDS_INDEX if getattr(self, name) != fields[name].default]
        wrong += ["overlength: split"] if self.overlength not in ("reject", "downscale") else []
        wrong += ["weight, epochs, where, split or datasets"] if any(_is_mixed(entry) for entry in self.train) else []
        wrong += ["loss_weight"] if any(entry.loss_weight != 1 for entry in self.train) else []
        if wrong:
            raise ValueError(
                f"streaming reads tars without an index, so it has no {', '.join(wrong)}: leave that out, or make an "
                "index (wdstream index FOLDER --tokenizer MODEL) and leave out streaming"
            )
        return self


def _is_mixed(entry: DatasetConfig) -> bool:
    chosen = (entry.weight, entry.where, entry.split)
    return entry.epochs != 1 or bool(entry.datasets) or any(value is not None for value in chosen)


class ModelConfig(Settings):
    """`model:` which model, and how it computes."""

    path: Path
    """Model folder: config.json, tokenizer, image processor, and weights for training."""
    family: str | None = None
    """Model family; read from the model's config.json when left out."""
    attn: Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"] = "sdpa"
    """Attention implementation; refused where it would mix packed documents (docs/families.md)."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: bfloat16 on a GPU that has it, else float32."""
    kernels: Literal["none", "liger", "hub"] = "none"
    """Who computes norms and gated MLPs: none, the model's own code; liger, liger-kernel, whose package has to be
    installed; hub, the kernels that transformers takes from a hub. On GPUs; the same up to rounding."""
    allow_missing: tuple[str, ...] = ()
    """Patterns such as `lm_head.*` of weights that the checkpoint may lack, or have in another shape: they begin as
    random numbers. Any other makes training stop before it starts."""
    allow_unexpected: tuple[str, ...] = ()
    """Patterns of weights in the checkpoint that the model has no place for, and that may be left out."""
    init: Path | None = None
    """Begin a new run with other weights than those of `path`: a run (its newest checkpoint), a checkpoint's folder, a
    model folder such as `final/`, or an adapter, whose training continues where train.adapter is as it was, and which
    is merged where there is none. Steps and data begin at 0; a resume does not look at it."""
    init_optimizer: bool = False
    """Begin with the state of that checkpoint's optimizer, too; of the same parameters."""

    @model_validator(mode="after")
    def _optimizer_is_of_init(self) -> Self:
        if self.init_optimizer and self.init is None:
            raise ValueError("init_optimizer: its state comes from the checkpoint that init names; give that, too")
        return self


class TilingConfig(TilingSettings):
    """`tiling:` how a page is cut."""

    labels: Literal["text", "family", "none"] = "text"
    """Tile labels: plain text such as <row0_col1>, the family's own tokens where it has them, or none."""
    transform: str | None = None
    """In place of all above: the tiling of another installed package, by its name (wdstream/tiling/plugin.py)."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the transform."""

    @model_validator(mode="after")
    def _has_one_tiling(self) -> Self:
        names = self.model_fields_set - {"transform", "settings"}
        fields = type(self).model_fields  # what is as by default, run.json has written out
        others = sorted(name for name in names if getattr(self, name) != fields[name].get_default())
        if self.transform is not None and others:
            raise ValueError(f"with transform the keys {', '.join(others)} have no meaning; put its own under settings")
        if self.transform is None and self.settings:
            raise ValueError("settings are those of a transform; give its name as transform")
        return self


class Config(Settings):
    """The configuration of a whole run: one YAML file, a section for each field."""

    other_names: ClassVar[Mapping[str, str]] = OTHER_NAMES

    model: ModelConfig
    data: DataConfig
    text: TextSettings = Field(default_factory=TextSettings)
    tiling: TilingConfig = Field(default_factory=TilingConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)

    @model_validator(mode="after")
    def _knows_the_work_of_a_step(self) -> Self:
        if self.data.streaming is not None and self.train.peak_tflops is not None:
            raise ValueError(
                "train.peak_tflops would be ignored with data.streaming: without a plan nobody knows the work of a "
                "step; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _begins_once(self) -> Self:
        if self.model.init is not None and isinstance(self.train.resume, Path):
            raise ValueError(
                "model.init and train.resume both name what the run begins with: resume continues a checkpoint with "
                "its step and data, init takes weights alone; leave one out"
            )
        return self

    @model_validator(mode="after")
    def _can_be_compiled(self) -> Self:
        given = {"pad_to": self.data.pad_to, "attn": self.model.attn, "kernels": self.model.kernels}
        problems = list(compile_problems(self.train, **given))
        if problems:
            raise ValueError("; ".join(problems))
        return self


MAX_CONFIG_BYTES = 1 << 24
"""A configuration has some kilobytes: a shard, or a device without an end, was not meant."""


class _OnceLoader(yaml.SafeLoader):
    """YAML in which no mapping has a key twice: PyYAML would take the last of them without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping as it is written, before `<<` brings in keys of others, which its own may override."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"):
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise ValueError(
                    f"the key {key.value!r} is in line {lines[name]} and again in line {line}, so that one would be "
                    "ignored; leave one out, or join them"
                )
            lines[name] = line
        return node


def load_config(path: Path, overrides: tuple[str, ...] = (), *, is_trained: bool = True) -> Config:
    """Read a YAML file; `overrides` are `section.key=value` with YAML values.

    Relative paths inside stay relative to the working directory, as on the command line.

    Args:
        path: of the file.
        overrides: later ones win.
        is_trained: settings without effect on training are refused, unless a run has begun in `train.output`: one of an
            earlier wdstream may have some.

    Raises:
        ConfigError: the file is missing, is not YAML, or does not fit the schema, or a setting has no effect; names
            each wrong key.
    """
    try:
        tree = _read_yaml(read_small(path, limit=MAX_CONFIG_BYTES).decode("utf-8"), str(path))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot read the configuration ({error.strerror}); give the path of a YAML file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not text in UTF-8 ({error}); save it as UTF-8") from error
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else type(tree).__name__
        raise ConfigError(f"{path}: expected sections model:, data:, text:, tiling:, train:, found {found}")
    config = config_from_tree(tree, overrides, path)
    is_new = not (config.train.output / "run.json").is_file()  # `RunLayout.record`, of a station above this one
    if is_trained and (idle := list(idle_settings(config, is_new=is_new))):
        raise ConfigError("\n  ".join([f"{path}:", *idle]))
    return config


def config_from_tree(tree: dict[str, Any], overrides: tuple[str, ...], path: Path) -> Config:
    """The configuration of a tree of sections and keys read from `path`; `overrides` as in `load_config`.

    Raises:
        ConfigError: it does not fit the schema; names each wrong key.
    """
    for override in overrides:
        _apply_override(tree, override)
    try:
        return Config.of(tree)
    except ConfigError as error:
        raise ConfigError(f"{path}:\n{indent(str(error), '  ')}") from None


def _apply_override(tree: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: expected section.key=value, such as train.lr=1e-4")
    *parents, leaf = name.strip().split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {override}: '{parent}' holds no keys")
    tree[leaf] = _read_yaml(value, f"--set {override}")


def _read_yaml(text: str, what: str) -> Any:
    """The value of a YAML text; `what` it is of, for errors."""
    try:
        return yaml.load(text, Loader=_OnceLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: of dates and numbers
        raise ConfigError(f"{what}: not valid YAML: {error}") from error
