"""Run in the place of `-m wdstream.train` by tests of FSDP's commands: training on a CPU that passes for GPUs."""

import os
import sys
from typing import Any

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"

from accelerate import Accelerator

from tests.helpers.emulated_world import pretend_gpus
from wdstream.train.__main__ import main
from wdstream.train.launch import accelerator


def without_cpu(*, cpu: bool, **options: Any) -> Accelerator:
    """The accelerator of a machine that has GPUs."""
    return Accelerator(**options)


if __name__ == "__main__":
    pretend_gpus()
    vars(accelerator)["Accelerator"] = without_cpu
    sys.exit(main())
