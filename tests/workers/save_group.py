"""Run as two processes by tests/train/saving/test_together.py: one of them fails in a thread while both train on.

The time limit of what they train with is that of the configuration; the group in which they save has its own.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from wdstream.config.schema import Config
from wdstream.errors import ConfigError, TrainError
from wdstream.train.launch.accelerator import start_accelerator
from wdstream.train.saving.together import SaveGroup, from_main


def limit(group: Any) -> timedelta:
    found: timedelta = group._get_backend(torch.device("cpu")).options._timeout
    return found


def main() -> None:
    data = {"train": [{"path": "shards"}], "global_batch_size": 2}
    accelerator = start_accelerator(
        Config.of({"model": {"path": "model"}, "data": data, "train": {"collective_minutes": 7}})
    )
    print(f"limits {limit(dist.group.WORLD)} {limit(SaveGroup(accelerator)._group)}")
    rank = accelerator.process_index
    group = SaveGroup(accelerator)

    def write() -> None:
        if rank == 1:
            raise OSError("disk full")

    with ThreadPoolExecutor(max_workers=1) as pool:
        job = pool.submit(group.do, write)
        accelerator.wait_for_everyone()
        try:
            job.result()
        except TrainError as error:
            print(" | ".join(str(error).splitlines()))
    print(f"gathered {group.gather(10 * rank)}")

    def refuse() -> None:
        raise ConfigError(f"of rank {rank}")

    try:
        from_main(refuse, is_main=rank == 0)
    except ConfigError as error:
        print(f"refused: {error}")
    accelerator.end_training()


if __name__ == "__main__":
    main()
