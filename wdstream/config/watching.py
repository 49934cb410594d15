"""Settings of `train:` about what is written down and shown while a run trains; none changes what it computes."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from wdstream.config.skipping import range_of_steps
from wdstream.settings import Settings


class ProfileConfig(Settings):
    """`train.profile:` torch's profiler over some steps."""

    steps: int | str
    """The first and the last, such as "10-12", or one. Not the very first of a start, which has other work too."""
    ranks: Literal["first", "all"] = "first"
    """first: of the process of rank 0 alone."""
    memory: bool = False
    """Also shapes and memory of every operation: a larger trace, a slower step."""

    @property
    def range(self) -> range:
        """The steps that are profiled."""
        return range_of_steps(self.steps)

    @field_validator("steps")
    @classmethod
    def _are_steps(cls, steps: int | str) -> int | str:
        range_of_steps(steps)
        return steps


TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio", "comet"]


class WatchConfig(Settings):
    """Fields of `train:` (docs/training.md, "Watching a run")."""

    log_every: int = Field(default=1, gt=0)
    """Steps per log line."""
    log_format: Literal["text", "json"] = "text"
    """What is printed. json: an object per line, for programs that collect logs; no progress bar."""
    peak_tflops: float | None = Field(default=None, gt=0)
    """TFLOP/s of each device, for the share of it that is used (mfu_pct); None: as its data sheet says of bfloat16, for
    GPUs that wdstream knows. Needs a plan: of tars without an index nobody knows the work of a step."""
    record_losses: bool = False
    """Write the summed loss and the supervised tokens of every page of every step to losses/ of the run, for
    `wdstream run losses`; about 12 bytes per page. In float32 the output head computes its losses twice for it."""
    spike_threshold: float | None = Field(default=None, gt=0)
    """Write spikes/step-N.json with the pages of a step whose loss is this many deviations above the median of the last
    100 steps, the worst first with record_losses; 8 is a good one. None: no reports."""
    profile: ProfileConfig | None = None
    """Write traces of some steps to profile/; None: of those that `touch RUN/profile.request` asks for."""
    trackers: tuple[TrackerName, ...] = ("tensorboard",)
    """Where figures go next to metrics.jsonl, by Accelerate's trackers; each has a package of its own to install."""
    tracker_project: str = Field(default="wdstream", min_length=1)
    """The project of wandb, trackio and comet, or the experiment of mlflow."""
    tracker_options: dict[TrackerName, dict[str, Any]] = Field(default_factory=dict)
    """For each tracker what Accelerate's class of it takes, such as `wandb: {mode: offline}`."""

    @model_validator(mode="after")
    def _trackers_fit(self) -> Self:
        """Each tracker once, and no options that nothing would take."""
        if len(set(self.trackers)) < len(self.trackers):
            raise ValueError(f"trackers: {', '.join(self.trackers)}: name each once")
        used = set(self.trackers) - {"tensorboard"}
        unused = sorted(self.tracker_options.keys() - used)
        if unused:
            raise ValueError(
                f"tracker_options.{unused[0]}: would be ignored: "
                + ("tensorboard has none here" if unused[0] == "tensorboard" else "it is not in trackers")
            )
        if self.tracker_project != "wdstream" and not used:
            raise ValueError("tracker_project: would be ignored: trackers has none that keeps projects")
        return self
