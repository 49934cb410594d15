"""The section `data:` of the YAML configuration: what is read, and how it becomes packs."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """Base of all sections: frozen, and no key is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetConfig(Section):
    """One data set: a directory of shards with its index; or a mix of several that share a weight or epochs."""

    path: str = ""
    datasets: tuple["DatasetConfig", ...] = ()
    """In place of `path`: a mix. The weights inside divide the mix's own weight; epochs inside are multiplied by
    its."""
    name: str | None = None
    """Shown in reports; the directory's name when left out."""
    weight: float | None = Field(default=None, gt=0)
    """Share of the stream, in any unit; give all data sets a weight, or none. With weights there are no epochs."""
    epochs: int = Field(default=1, gt=0)
    """How often each page comes in one of `data.epochs`; for data sets without weights."""

    @model_validator(mode="after")
    def _has_path_or_datasets(self) -> "DatasetConfig":
        if bool(self.path) == bool(self.datasets):
            raise ValueError("give either path, a directory of shards, or datasets, a mix of several")
        return self


class PhaseConfig(Section):
    """One part of `data.curriculum`: for so many epochs, only pages for which `where` holds."""

    epochs: int = Field(gt=0)
    where: str


class TileCacheConfig(Section):
    """`data.tile_cache:` tiles kept on disk between epochs and runs; see docs/pixels.md for when that pays."""

    path: Path
    """A folder on a fast disk of this machine; several runs may share it."""
    max_bytes: int = Field(gt=0)
    """All its files together; some go when more come."""


class StreamingConfig(Section):
    """`data.streaming:` train from tars without an index, read front to back; see docs/plan.md for what that costs.

    `path` in data.train is then a folder of tars or a tar, on disk or an object store (`s3://bucket/tars`), an http(s)
    address (no ranges needed), or `pipe:COMMAND`; braces stand for several: `https://host/pages-{000..127}.tar`.
    train.max_steps is needed.
    """

    lanes: int = Field(default=8, gt=0)
    """Rows of shards that are read side by side: a multiple of the number of processes of every start of the run, and
    at most the number of shards."""
    shuffle_buffer: int = Field(default=64, gt=0)
    """Pages of a lane that are shuffled together, in memory with their images still encoded; the order of shards is
    shuffled, too."""
    allow_pipes: bool = False
    """Run the shell commands that `pipe:` paths hold, as you."""


NEEDS_INDEX = ("where", "curriculum", "weights_in", "shuffle_shards", "tail", "deal", "on_change")
"""Settings of DataConfig that mean nothing for tars without an index."""


class DataConfig(Section):
    """`data:` what is read, and the two capacities of a pack."""

    train: tuple[DatasetConfig, ...] = Field(min_length=1)
    eval: tuple[DatasetConfig, ...] = ()
    sequence_length: int = Field(default=8192, gt=0)
    """Tokens a pack."""
    max_patches: int = Field(default=40_000, gt=0)
    """Vision patches a pack."""
    global_batch_size: int = Field(default=16, gt=0)
    """Packs a step, over all ranks and accumulation."""
    seed: int = Field(default=0, ge=0)
    epochs: int | None = Field(default=None, gt=0)
    """Passes over the data; None goes on until train.max_steps."""
    tail: Literal["wrap", "drop", "pad"] = "wrap"
    """The last step of a run of so many epochs: filled from the next epoch, dropped, or padded with empty packs."""
    shuffle_shards: int = Field(default=16, gt=0)
    """Shards whose samples are shuffled together."""
    pool: int = Field(default=128, gt=0)
    """Pending samples the packer chooses from."""
    overlength: Literal["reject", "downscale", "split"] = "reject"
    """Pages too long for a pack: left out and listed; or their images shrunk until they fit; or their text cut between
    paragraphs into samples that each have the page's images (plan/split.py), of shards that `wdstream lengths
    --paragraphs` counted. What does not help is left out."""
    deal: Literal["total", "phase"] = "total"
    """How a step's packs are shared: total evens out whole steps (DDP), phase every part of a micro step (FSDP)."""
    on_change: Literal["refuse", "keep", "new_epoch"] = "refuse"
    """When a checkpoint was made with other settings or data: refuse it, go on where it stands (not when the data or
    their order changed), or start a new pass over the data."""
    weights_in: Literal["pages", "tokens"] = "pages"
    """What the weights of data sets count."""
    where: str | None = None
    """Only pages for which this holds, such as `text_tokens > 50 and language == "de"`; see wdstream/plan/where.py."""
    curriculum: tuple[PhaseConfig, ...] = ()
    """Further conditions for the first epochs, one phase after the other."""
    workers: int = Field(default=2, ge=0)
    """Threads that read, decode and lay out pages; 0 works in the reading thread."""
    prefetch: int = Field(default=2, gt=0)
    """Batches ready ahead of training."""
    max_pixels: int = Field(default=200_000_000, gt=0)
    """Images above this are not decoded."""
    decode: Literal["exact", "scaled"] = "exact"
    """scaled: JPEG pages whose tiles need at most half their resolution are decoded smaller; see docs/pixels.md."""
    pixels: Literal["fast", "reference"] = "fast"
    """reference: tiles pass the model's own image processor on the host, slowly, to compare with."""
    tile_cache: TileCacheConfig | None = None
    """None cuts every page anew in every epoch."""
    max_bad_fraction: float = Field(default=0.01, ge=0, le=1)
    """Training stops when more than this share of pages failed at run time."""
    streaming: StreamingConfig | None = None
    """None plans from an index; `{}` streams tars that have none, with the settings above."""

    @model_validator(mode="after")
    def _streams_without_index(self) -> "DataConfig":
        if self.streaming is None:
            return self
        fields = DataConfig.model_fields
        given = [name for name in NEEDS_INDEX if getattr(self, name) != fields[name].default]
        given += ["overlength: split"] if self.overlength not in ("reject", "downscale") else []
        given += ["weight, epochs or datasets"] if any(_is_mixed(entry) for entry in self.train) else []
        if given:
            raise ValueError(
                f"streaming reads tars without an index, so it has no {', '.join(given)}: leave that out, or make an "
                "index (wdstream index FOLDER --tokenizer MODEL) and leave out streaming"
            )
        return self


def _is_mixed(entry: DatasetConfig) -> bool:
    return entry.weight is not None or entry.epochs != 1 or bool(entry.datasets)
