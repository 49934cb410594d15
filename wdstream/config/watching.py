"""Settings of `train:` about what is written down and shown while a run trains; none changes what it computes."""

from pydantic import Field

from wdstream.settings import Settings


class WatchConfig(Settings):
    """Fields of `train:` (docs/training.md, "Watching a run")."""

    log_every: int = Field(default=1, gt=0)
    """Steps per log line."""
    record_losses: bool = False
    """Write the summed loss and the supervised tokens of every page of every step to losses/ of the run, for
    `wdstream run losses`; about 12 bytes per page."""
    spike_threshold: float | None = Field(default=None, gt=0)
    """Write spikes/step-N.json with the pages of a step whose loss is this many deviations above the median of the last
    100 steps, the worst first with record_losses; 8 is a good one. None: no reports."""
