"""The YAML configuration: one schema, unknown keys are errors with a suggestion; only the edges unpack it.

`data:` has a file of its own, config_data.py.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from wdstream.config_data import DataConfig, Section
from wdstream.errors import ConfigError

PairOrInt = Annotated[int, Field(strict=True)] | tuple[int, int]


class ModelConfig(Section):
    """`model:` which checkpoint, and how it computes."""

    path: Path
    """Local checkpoint directory: config.json, tokenizer, image processor, and weights for training."""
    family: str | None = None
    """Model family; read from the checkpoint's config.json when left out."""
    attn: Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"] = "sdpa"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: bfloat16 on a GPU that has it, else float32."""


class ShapeBucketConfig(Section):
    """One rule of `tiling.shape_buckets`: heights/widths in [min, max) take this grid and these settings."""

    grid: tuple[int, int]
    name: str | None = None
    min_aspect_ratio: float | None = None
    max_aspect_ratio: float | None = None
    tile_size: PairOrInt | None = None
    overlap: float | None = None
    min_area: int | None = None
    overview_size: PairOrInt | None = None
    overview_buckets: tuple[tuple[int, int], ...] | None = None
    no_upscale: bool | None = None
    pad_color: int | tuple[int, int, int] | str | None = None
    reading_order: Literal["ltr", "rtl"] | None = None


class TilingConfig(Section):
    """`tiling:` how a page is cut; the fields of TilingPolicy, see wdstream/pages/tile.py for their meaning."""

    kind: Literal["none", "grid", "shape_buckets", "adaptive", "native"] = "adaptive"
    native_resolution: bool = False
    grid: tuple[int, int] = (2, 3)
    tile_size: PairOrInt = 1024
    overlap: float | None = None
    min_area: int = 0
    overview_size: PairOrInt | None = None
    overview_buckets: tuple[tuple[int, int], ...] | None = None
    no_upscale: bool | None = None
    pad_color: int | tuple[int, int, int] | str | None = None
    reading_order: Literal["ltr", "rtl"] = "ltr"
    shape_buckets: Literal["auto", "ocr_pages"] | tuple[ShapeBucketConfig, ...] = "ocr_pages"
    resample: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"
    image_size: PairOrInt | None = None
    resize_buckets: tuple[tuple[int, int], ...] | None = None
    max_page_pixels: int | None = 28 * 28 * 16_384
    labels: Literal["text", "family", "none"] = "text"
    """Tile labels: plain text such as <row0_col1>, the family's own tokens where it has them, or none."""
    transform: str | None = None
    """In place of all above: the tiling of another installed package, by its name (wdstream/pages/tile_seam.py)."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the transform."""

    @model_validator(mode="after")
    def _has_one_tiling(self) -> Self:
        others = sorted(self.model_fields_set - {"transform", "settings"})
        if self.transform is not None and others:
            raise ValueError(f"with transform the keys {', '.join(others)} have no meaning; put its own under settings")
        if self.transform is None and self.settings:
            raise ValueError("settings are those of a transform; give its name as transform")
        return self


class AdapterConfig(Section):
    """`train.adapter:` LoRA, or QLoRA over a 4-bit base."""

    kind: Literal["lora", "qlora"] = "lora"
    r: int = Field(default=16, gt=0)
    alpha: int = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | tuple[str, ...] | None = None
    """Regex or names; None targets the attention and MLP projections of the language model only."""


class GenerateConfig(Section):
    """`train.generate:` at each evaluation the model also writes pages of every set, for CER and WER; token by token,
    so it is slow."""

    max_pages: int = Field(default=16, gt=0)
    """The first so many of a set's plan, the same ones each time."""
    max_new_tokens: int = Field(default=1024, gt=0)
    """A page's text is cut off there; what is missing counts as errors."""


class TrainConfig(Section):
    """`train:` the optimizer loop."""

    output: Path = Path("runs/first")
    max_steps: int | None = Field(default=None, gt=0)
    micro_batch_size: int = Field(default=1, gt=0)
    """Packs a forward pass; accumulation follows from global_batch_size and the world."""
    lr: float = Field(default=1e-4, gt=0)
    min_lr_ratio: float = Field(default=0.1, ge=0, le=1)
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    max_grad_norm: float = Field(default=1.0, gt=0)
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    adapter: AdapterConfig | None = None
    freeze_vision: bool = False
    gradient_checkpointing: bool = False
    checkpoint_every: int = Field(default=500, gt=0)
    keep_checkpoints: int = Field(default=3, gt=0)
    resume: Literal["auto", "never"] = "auto"
    """auto: go on from the newest complete checkpoint in `output`."""
    eval_every: int | None = Field(default=None, gt=0)
    """Steps between evaluations; the last step is always followed by one."""
    generate: GenerateConfig | None = None
    """None: evaluation is the loss alone."""
    log_every: int = Field(default=1, gt=0)
    seed: int = Field(default=0, ge=0)
    world_size: int | None = Field(default=None, gt=0)
    """When given, the run refuses to start with any other number of processes."""
    record_bytes: bool = False
    """Write beside each step in steps.jsonl the sha256 over all that is trained on, as `wdstream digest` prints it;
    about 2 ms a megabyte of pixels."""
    stop_after: int | None = Field(default=None, gt=0)
    """Write a checkpoint and stop after so many steps of one start, in queues with a time limit say; the learning rate
    still follows max_steps."""


class Config(Section):
    """A whole run."""

    model: ModelConfig
    data: DataConfig
    tiling: TilingConfig = Field(default_factory=TilingConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)


def load_config(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Read a YAML file; `overrides` are `section.key=value` with YAML values.

    Relative paths inside stay relative to the working directory, as on the command line.

    Raises:
        ConfigError: the file is missing, is not YAML, or does not fit the schema; names each wrong key.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot read the configuration ({error.strerror}); give the path of a YAML file"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected sections model:, data:, tiling:, train:, found {type(tree).__name__}")
    return config_from_tree(tree, overrides, path)


def config_from_tree(tree: dict[str, Any], overrides: tuple[str, ...], path: Path) -> Config:
    """The configuration of a tree of sections and keys read from `path`; `overrides` as in `load_config`.

    Raises:
        ConfigError: it does not fit the schema; names each wrong key.
    """
    for override in overrides:
        _apply_override(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{path}:\n" + "\n".join(_explain(item) for item in error.errors())) from None


def _apply_override(tree: dict[str, Any], override: str) -> None:
    name, equals, value = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: expected section.key=value, such as train.lr=1e-4")
    *parents, leaf = name.strip().split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {override}: '{parent}' holds no keys")
    tree[leaf] = yaml.safe_load(value)


def _explain(item: Any) -> str:
    """One line on one mistake; for an unknown key, the nearest known one."""
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "value_error":  # of our own validators: it says what it found
        return f"  {where}: {item['msg'].removeprefix('Value error, ')}"
    if item["type"] != "extra_forbidden":
        return f"  {where}: {item['msg']} (found {item['input']!r})"
    known = _known_keys([part for part in item["loc"][:-1] if isinstance(part, str)])
    near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
    return f"  {where}: unknown key; {hint}"


def _known_keys(path: list[str]) -> list[str]:
    """Keys of the section at `path`, following annotations through unions and tuples."""
    section: type[BaseModel] = Config
    for part in path:
        if part in section.model_fields:
            found = _sections_in(section.model_fields[part].annotation)
            section = found[0] if found else section
    return sorted(section.model_fields)


def _sections_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in _sections_in(inner)]
