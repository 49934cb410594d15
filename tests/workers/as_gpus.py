"""Run in the place of `-m wdstream.train` by tests of FSDP's commands: training on a CPU that passes for GPUs.

Without a launcher, `fsdp2` as the first argument is what configs/accelerate/fsdp2.yaml makes it say.
"""

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


FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
}
ALONE = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "0",
}
"""One process is launched as a world too."""


if __name__ == "__main__":
    if sys.argv[1] == "fsdp2":
        os.environ.update(FSDP2 if "RANK" in os.environ else FSDP2 | ALONE)
        del sys.argv[1]
    pretend_gpus()
    vars(accelerator)["Accelerator"] = without_cpu
    sys.exit(main())
