"""torch's profiler over chosen steps: `profile/step-N-rank-R.json.gz`, a trace for Perfetto or chrome://tracing.

    train.profile: {steps: 10-12}          these steps
    touch RUN/profile.request              the next step of a run that lives; its file is removed when it is profiled

Signals are not used for it: the ones that are free to programs ask a run to stop, as schedulers send them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from wdstream.config.watching import ProfileConfig
from wdstream.errors import ConfigError
from wdstream.runs.layout import RunLayout
from wdstream.storage.atomic import TEMP_SUFFIX


def check_profile(settings: ProfileConfig | None, total_steps: int | None) -> None:
    """Refuse steps that the run does not have; `total_steps` is None while nobody knows how many those are.

    Raises:
        ConfigError: names the last step that there is.
    """
    if settings is not None and total_steps is not None and settings.range[0] >= total_steps:
        raise ConfigError(
            f"train.profile.steps: {settings.steps}: the steps of the run are 0 to {total_steps - 1}, so nothing would "
            "be profiled"
        )


class Profiler:
    """Profiles steps of this rank.

    Args:
        files: of the run; this rank's folder of traces is there too.
        settings: which steps and ranks; None: those that are requested.
        rank: of this process.
    """

    def __init__(self, files: RunLayout, settings: ProfileConfig | None, rank: int) -> None:
        self._files = files
        self._rank = rank
        is_chosen = settings is not None and (rank == 0 or settings.ranks == "all")
        self._steps = settings.range if settings is not None and is_chosen else range(0)
        self._has_memory = settings is not None and settings.memory

    @contextmanager
    def around(self, step: int) -> Iterator[None]:
        """Profile what is inside, where this step is wanted."""
        if step not in self._steps and not self._is_requested():
            yield
            return
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        with profile(activities=activities, profile_memory=self._has_memory, record_shapes=self._has_memory) as found:
            yield
        write_trace(found, self._files.profile / f"step-{step}-rank-{self._rank}.json.gz")

    def _is_requested(self) -> bool:
        """Whether somebody asks for the next step; asked for once, by the first process alone."""
        if self._rank != 0 or not self._files.profile_request.exists():
            return False
        self._files.profile_request.unlink(missing_ok=True)
        return True


def write_trace(found: profile, path: Path) -> None:
    """Write a trace, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}{TEMP_SUFFIX}.gz")  # torch compresses by the end of the name
    try:
        found.export_chrome_trace(str(partial))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
