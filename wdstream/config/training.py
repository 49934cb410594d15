"""The section `train:` of a configuration."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, StrictInt, field_validator, model_validator

from wdstream.config.adapter import AdapterConfig
from wdstream.config.ema import EmaConfig
from wdstream.config.learning import LearningSettings
from wdstream.config.saving import SavingConfig
from wdstream.config.skipping import range_of_steps, require_steps_of_run
from wdstream.config.speed import CheckpointedLayers, CompileBackend
from wdstream.config.watching import WatchConfig
from wdstream.settings import Settings


class GenerateConfig(Settings):
    """`train.generate:` at each evaluation the model also writes pages of every set, for CER and WER; token by token,
    so it is slow."""

    max_pages: int = Field(default=16, gt=0)
    """The first pages of a set's plan, this many, the same ones each time."""
    max_new_tokens: int = Field(default=1024, gt=0)
    """A page's text is cut off there; what is missing counts as errors."""


class TrainConfig(LearningSettings, SavingConfig, WatchConfig):
    """`train:` the optimizer loop; what learns, and how fast, is in config/learning.py."""

    output: Path = Path("runs/first")
    """Folder of the run; docs/training.md says what is in it."""
    max_steps: int | None = Field(default=None, gt=0)
    """Optimizer steps; None ends with the data, for which data.epochs is needed."""
    micro_batch_size: int = Field(default=1, gt=0)
    """Packs per forward pass; accumulation follows from global_batch_size and the world."""
    adapter: AdapterConfig | None = None
    """None trains the model's own weights."""
    gradient_checkpointing: bool | Literal["auto", "selective"] | CheckpointedLayers = "auto"
    """Compute activations again in the backward pass: less memory, more time. auto: where an estimate of memory says
    so, and no more than it says; without a GPU never, unless `gpu_gib` is given. true: of every layer; `{layers: 8,
    vision_layers: 4}`: of the first ones of each part; selective: of every layer, but the results of matrix products
    and of attention, which are kept."""
    gpu_gib: float | None = Field(default=None, gt=0)
    """GiB of a GPU that the run may use, for what follows from an estimate of memory; None, and at most: as much as the
    smallest one has. It limits nothing by itself."""
    compile: bool = False
    """Compile the layers of the language model (torch.compile), once for all of them; needs data.pad_to: full. The
    vision tower is compiled where all batches have one number of patches (data.pad_to), and else left as it is."""
    compile_backend: CompileBackend = "inductor"
    """inductor makes kernels, on a GPU by Triton, on a CPU by its C++ compiler; aot_eager runs what was traced without
    making it faster, to find out where a fault comes from."""
    sync_each_micro_batch: bool | Literal["auto"] = False
    """Under FSDP2: sum gradients over the processes after each micro-batch of a step, and keep this process's part
    alone. false does so once per step, and keeps whole gradients in float32 until then: 4 bytes per trained weight on
    every GPU. auto: true where an estimate says that these do not fit into the GPU. The sums are the same, up to
    rounding."""
    ema: EmaConfig | None = None
    """None keeps no average of the weights."""
    eval_every: int | None = Field(default=None, gt=0)
    """Steps between evaluations; the last step is always followed by one."""
    generate: GenerateConfig | None = None
    """None: evaluation is the loss alone."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of new weights and of dropout; the order of pages has data.seed."""
    world_size: int | None = Field(default=None, gt=0)
    """The run refuses to start with any other number of processes; None allows any."""
    record_bytes: bool = False
    """Write with each step in steps.jsonl the sha256 over all that is trained on, as `wdstream digest` prints it;
    about 2 ms per megabyte of pixels."""
    stop_after: int | None = Field(default=None, gt=0)
    """Write a checkpoint and stop after this many steps of one start, for queues with a time limit; the learning rate
    still follows max_steps."""
    skip_steps: tuple[StrictInt | str, ...] = ()
    """Steps that are passed over, such as `[1234, "2000-2010"]`: their data are taken from the stream and not trained
    on, and the learning rate of the others is as it was. For a step that fails."""
    stopped_status: int | None = Field(default=None, ge=0, le=125)
    """Exit status of a run that stopped with a checkpoint, by a signal or `stop_after`. None: 3 of `wdstream launch`
    and `python -m wdstream.train`, 0 under `accelerate launch` and torchrun, which make 1 of any other."""

    def skips(self, step: int) -> bool:
        """Whether a step is passed over."""
        return any(step in range_of_steps(entry) for entry in self.skip_steps)

    @model_validator(mode="after")
    def _has_one_average(self) -> Self:
        if self.ema is not None and self.optimizer == "schedule_free":
            raise ValueError("ema: optimizer: schedule_free averages the weights already: leave one out")
        return self

    @model_validator(mode="after")
    def _skips_steps_of_the_run(self) -> Self:
        if self.max_steps is not None:
            require_steps_of_run(self.skip_steps, self.max_steps, of="max_steps")
        return self

    @field_validator("skip_steps")
    @classmethod
    def _are_steps(cls, entries: tuple[int | str, ...]) -> tuple[int | str, ...]:
        for entry in entries:
            range_of_steps(entry)
        return entries

    @field_validator("stopped_status")
    @classmethod
    def _is_no_failure(cls, status: int | None) -> int | None:
        if status in (1, 2):
            raise ValueError(f"expected 0, or 3 to 125, found {status}: 1 and 2 say that the run failed")
        return status
