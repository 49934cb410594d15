"""Guards at the start: no world but the one that was asked for."""

import pytest
import torch
from accelerate.utils import DistributedType

from wdstream.config.schema import Config
from wdstream.errors import ConfigError, TrainError
from wdstream.train.launch.accelerator import check_environment, check_kind, check_world


def config(**train: object) -> Config:
    tree = {"model": {"path": "m"}, "data": {"train": [{"path": "s"}], "global_batch_size": 4}, "train": train}
    return Config.model_validate(tree)


def test_processes_that_do_not_meet_are_refused() -> None:
    with pytest.raises(TrainError, match="launcher started 2 processes but Accelerate joined 1"):
        check_world(config(), joined=1, launched=2)


def test_world_size_of_the_configuration_is_held() -> None:
    check_world(config(world_size=2), joined=2, launched=2)
    with pytest.raises(TrainError, match=r"train.world_size: expected 2 processes, found 1.*--multi_gpu"):
        check_world(config(world_size=2), joined=1, launched=1)


def test_world_and_micro_batch_divide_the_batch() -> None:
    check_world(config(micro_batch_size=2), joined=2, launched=2)
    check_world(config(), joined=3, launched=3)  # two of six places stay empty
    with pytest.raises(ConfigError, match=r"data\.global_batch_size 4 on 5 ranks: 1 of them would never have a pack"):
        check_world(config(), joined=5, launched=5)
    with pytest.raises(
        ConfigError, match=r"data\.global_batch_size 4 is less than micro_batch_size 5: places would never"
    ):
        check_world(config(micro_batch_size=5), joined=1, launched=1)


def test_fsdp_that_is_not_in_force_is_refused() -> None:
    check_kind(DistributedType.FSDP, wants_fsdp=True)
    with pytest.raises(TrainError, match="FSDP was asked for, but Accelerate chose MULTI_CPU"):
        check_kind(DistributedType.MULTI_CPU, wants_fsdp=True)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "it would divide every gradient once more"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "true", "each process reads its own"),
        ("ACCELERATE_MIXED_PRECISION", "fp16", "model.dtype computes in bfloat16"),
        ("ACCELERATE_MIXED_PRECISION", "fp8", "model.dtype computes in bfloat16"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "set train.compile"),
    ],
)
def test_what_would_change_the_mathematics_is_refused(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{variable}={value} \(--[a-z_]+ of accelerate launch.*{said}"):
        check_environment({variable: value}, torch.bfloat16)


def test_one_process_in_place_of_several_is_refused() -> None:
    alone = {"ACCELERATE_USE_CPU": "True"}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    with pytest.raises(ConfigError, match=r"several processes and started this one by itself: --multi_gpu --num_proc"):
        check_environment(alone | meeting, torch.float32)
    for more in ({"WORLD_SIZE": "1"}, {"PMI_SIZE": "2"}, {"WDSTREAM_LAUNCH_FOLDER": "/tmp/a"}):
        check_environment(alone | meeting | more, torch.float32)
    for environment in (alone, meeting):
        check_environment(environment, torch.float32)


def test_what_a_launcher_says_by_itself_is_no_wish() -> None:
    check_environment({}, torch.float32)
    said = {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1", "ACCELERATE_DYNAMO_BACKEND": "NO"}
    check_environment({**said, "ACCELERATE_MIXED_PRECISION": "no"}, torch.bfloat16)
    check_environment({**said, "ACCELERATE_MIXED_PRECISION": "bf16"}, torch.bfloat16)
    check_environment({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "auto"}, torch.float32)


def test_megatron_is_refused() -> None:
    check_kind(DistributedType.DEEPSPEED, wants_fsdp=False)
    with pytest.raises(TrainError, match="MEGATRON_LM is not supported"):
        check_kind(DistributedType.MEGATRON_LM, wants_fsdp=False)
