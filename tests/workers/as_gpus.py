"""Run in the place of `-m wdstream.train` by tests of FSDP's commands: training on a CPU that passes for GPUs."""

import os
import sys
from typing import Any

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"

import wdstream.train.launch.accelerator as launch
from tests.helpers.emulated_world import pretend_gpus
from wdstream.train.__main__ import main


def without_cpu(*, cpu: bool, **options: Any) -> Any:
    """The accelerator of a machine that has GPUs."""
    return launch_accelerator(**options)


launch_accelerator = launch.Accelerator

if __name__ == "__main__":
    pretend_gpus()
    launch.Accelerator = without_cpu  # type: ignore[assignment, misc]
    sys.exit(main())
