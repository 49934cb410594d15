"""Start the training command as a user would, and watch it from outside: by its exit status and its metrics."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wdstream.errors import TrainError
from wdstream.runs.layout import RunLayout
from wdstream.storage.processes import kill_tree

POLL_SECONDS = 0.02
LOG_LINES = 30
OnStep = Callable[[int, float], None]
"""Called with the number of finished steps and the loss of the last one."""


class TrainingProcess:
    """`accelerate launch ... -m wdstream.train CFG` on a machine without GPUs; ended with all its children on exit.

    Args:
        config: the configuration file.
        overrides: `key=value` settings.
        output: `train.output` of this run, where its metrics appear.
        log: file for what it prints.
        num_processes: ranks.
        on_step: called after each step.
        timeout: seconds after which it counts as hanging.
    """

    def __init__(
        self,
        config: Path,
        overrides: Sequence[str],
        *,
        output: Path,
        log: Path,
        num_processes: int = 2,
        on_step: OnStep | None = None,
        timeout: float = 600.0,
    ) -> None:
        self.command = launch_command(config, overrides, num_processes)
        self._output = output
        self._log = log
        self._on_step = on_step
        self._timeout = timeout

    def __enter__(self) -> "TrainingProcess":
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            )
        return self

    def __exit__(self, *error: object) -> None:
        kill_tree(self.process.pid)
        self.process.wait()

    def wait(self) -> None:
        """Until the run has ended well.

        Raises:
            TrainError: it failed or hung; shows the end of its log.
        """
        self._watch(until=None)
        if self.process.returncode != 0:
            raise self._failure(f"ended with status {self.process.returncode}")

    def kill_after(self, steps: int) -> int:
        """SIGKILL for every process of the run, as soon as this many steps are done.

        Returns:
            The steps that were done.

        Raises:
            TrainError: it ended before.
        """
        self._watch(until=steps)
        if self.process.poll() is not None:
            raise self._failure(f"ended with status {self.process.returncode} before step {steps}")
        kill_tree(self.process.pid)
        self.process.wait()
        return self._look()

    def _watch(self, *, until: int | None) -> None:
        """Return when the process has ended, or `until` steps are done."""
        deadline = time.monotonic() + self._timeout
        while self.process.poll() is None:
            steps = self._look()
            if until is not None and steps >= until:
                return
            if time.monotonic() > deadline:
                raise self._failure(f"did not end within {self._timeout:.0f} s")
            time.sleep(POLL_SECONDS)
        self._look()

    def _look(self) -> int:
        """Steps done, from the run's own metrics."""
        lines = list(RunLayout(self._output).read_metrics())
        steps = int(lines[-1]["step"]) + 1 if lines else 0
        if lines and self._on_step is not None:
            self._on_step(steps, lines[-1]["loss"])
        return steps

    def _failure(self, what: str) -> TrainError:
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])
        return TrainError(f"training {what}; the end of {self._log}:\n{tail}")


def launch_command(config: Path, overrides: Sequence[str], num_processes: int) -> list[str]:
    """The launcher's command line; the settings that it would guess, with a warning, are all set."""
    world = ["--multi_gpu"] if num_processes > 1 else []
    settings = [word for override in overrides for word in ("--set", override)]
    return [
        *(sys.executable, "-m", "accelerate.commands.launch", *world, "--num_processes", str(num_processes)),
        *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
        *("-m", "wdstream.train", str(config), *settings),
    ]
