"""What fails on one rank is an error of all of them, and names the rank; nobody waits forever."""

from pathlib import Path
from traceback import StackSummary

import pytest
from accelerate import Accelerator
from torch.distributed.checkpoint.api import CheckpointException

from tests.helpers.paths import ROOT
from tests.helpers.processes import finish, start_world
from wdstream.errors import ConfigError, TrainError
from wdstream.train.saving.together import SaveGroup, alone, from_main


def broken() -> None:
    raise FileNotFoundError(2, "No such file or directory", "/gone/model.safetensors")


def full_of_shards() -> None:
    raise CheckpointException("write", {1: (OSError("disk full"), StackSummary())})


def refused() -> None:
    raise ConfigError("train.resume: no")


def test_alone() -> None:
    group = SaveGroup(Accelerator(cpu=True))
    assert group.gather("a") == ["a"]
    assert group.do(lambda: 3) == [3]
    with pytest.raises(TrainError, match=r"rank 0: /gone/model.safetensors: No such file or directory"):
        group.do(broken)
    with pytest.raises(TrainError, match=r"rank 0: ZeroDivisionError: .*by zero"):
        group.do(lambda: 1 // 0)
    assert from_main(lambda: [1], is_main=True) == [1]
    with pytest.raises(ConfigError, match=r"train\.resume: no"):
        from_main(refused, is_main=True)
    with pytest.raises(FileNotFoundError):
        from_main(broken, is_main=True)
    with pytest.raises(TrainError, match=r"^/runs/a: .* written:\nrank 3: /gone/model.safetensors: No such file"):
        alone(broken, 3, Path("/runs/a"))
    with pytest.raises(TrainError, match=r"^/runs/a: .* written:\nrank 1: OSError: disk full$"):
        alone(full_of_shards, 3, Path("/runs/a"))


def test_two_ranks_of_which_one_fails() -> None:
    outputs = [output for _, output in finish(start_world(str(ROOT / "tests/workers/save_group.py"), [], size=2))]
    wanted = "a checkpoint could not be written: | rank 1: OSError: disk full"
    assert all(wanted in output for output in outputs), outputs
    assert all("limits 0:07:00 3:00:00" in output for output in outputs), outputs
    assert all("gathered [0, 10]" in output and "refused: of rank 0" in output for output in outputs), outputs
