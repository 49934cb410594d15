"""What `accelerate launch` would not follow is refused by `wdstream launch`, with Accelerate's own parser."""

import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config import config_args
from accelerate.commands.launch import launch_command_parser

from tests.helpers.training import Workplace
from wdstream.errors import ConfigError
from wdstream.train.launch import options
from wdstream.train.launch.options import check_options

CONFIGS = Path(__file__).parents[3] / "configs" / "accelerate"
NO_FILE = "distributed_type: 'NO'\nnum_processes: 1\n"


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where DeepSpeed is."""
    monkeypatch.setattr(options, "find_spec", lambda name: name)


def check(*words: str) -> None:
    """As `wdstream launch` does with these options."""
    parser = launch_command_parser()
    check_options(parser, parser.parse_args([*words, "-m", "wdstream.train", "cfg.yaml", "--set", "train.lr=1"]))


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--cpu",
        "--cpu --num_processes 1",
        "--multi_gpu --num_processes 3",
        "--num-processes 2 --multi-gpu --main_process_port 0 --max_restarts 1 --tee 3",
        "--multi_gpu --num_processes 4 --num_machines 2 --machine_rank 1 --main_process_ip 10.0.0.1",
        "--use_fsdp --fsdp_version 2 --num_processes 8 --fsdp_reshard_after_forward true",
        "--use_deepspeed --zero_stage 1 --gradient_accumulation_steps 1 --num_processes 2",
        "--config_file {configs}/ddp.yaml",
        "--config_file {configs}/fsdp2.yaml --num_processes 4",
        "--config_file {configs}/zero2.yaml",
        "--config_file {configs}/zero3.yaml --num_machines 2 --num_processes 16 --machine_rank 1",
        "--config_file {configs}/ddp.yaml --use_fsdp --fsdp_version 2",
        "--cpu --mpirun_hostfile hosts --num_processes 4 --num_machines 2",
        "--multi_gpu --num_processes 4 --num_machines 1 --machine_rank 0 --main_process_ip 10.0.0.1",
    ],
)
def test_what_is_followed_is_taken(words: str) -> None:
    check(*words.format(configs=CONFIGS).split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "--cpu --num_processes 3",
            r"with --cpu starts one process .* not the 3 of --num_processes: leave out --cpu; --multi_gpu",
        ),
        ("--cpu --num_machines 2 --num_processes 2", "with --cpu starts one process on each machine"),
        ("--cpu --config_file {configs}/ddp.yaml", "with --cpu starts one process .* not the 8 of"),
        ("--num_processes 2", "with no --multi_gpu starts one process"),
        (
            "--config_file {file} --num_processes 2",
            r"with distributed_type: NO or MULTI_CPU \(in .*no.yaml\) starts one",
        ),
        (
            "--multi_gpu --num_processes 5 --num_machines 2",
            "would start 4; --num_processes counts the processes of all",
        ),
        ("--multi_gpu --num_processes 4 --machine_rank 1", "ignored without --num_machines: each machine would train"),
        ("--multi_gpu --num_processes 4 --main_process_ip 10.0.0.1", "would be ignored without --num_machines"),
        ("--multi_gpu --num_processes 4 --fsdp_version 2", "^--fsdp_version: .* would ignore it without --use_fsdp$"),
        ("--multi_gpu --num_processes 4 --zero_stage 3", "^--zero_stage: .* without --use_deepspeed$"),
        ("--gradient_accumulation_steps 4", "^--gradient_accumulation_steps: .* without --use_deepspeed$"),
        ("--use_fsdp --parallelism_config_cp_size 2", "^--parallelism_config_cp_size: .* --use_parallelism_config$"),
        ("--max_restarts 3", "^--max_restarts: accelerate launch would ignore it with one process"),
        ("--config_file {configs}/fsdp2.yaml --multi_gpu", r"^fsdp_config of .*fsdp2.yaml would be ignored"),
        ("--config_file {configs}/zero3.yaml --use_fsdp", r"^deepspeed_config of .*zero3.yaml would be ignored"),
        ("--config_file {configs}/absent.yaml", r"^--config_file .*absent\.yaml: accelerate does not take it: .*exist"),
    ],
)
def test_what_would_be_ignored_is_refused(words: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "no.yaml").write_text(NO_FILE)
    with pytest.raises(ConfigError, match=said):
        check(*words.format(configs=CONFIGS, file=tmp_path / "no.yaml").split())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fsdp_config: {fsdp_version: 2, fsdp_reshard_after_fowrard: false}", r"^fsdp_config\.fsdp_reshard_after_fow"),
        ("fsdp_config: {version: 2, auto_wrap: X}", r"^fsdp_config\.auto_wrap: .* would ignore it \(no such key\)"),
        ("fsdp_configs: {}", "does not take it: .*unknown keys"),
        ("- a list", "accelerate does not take it"),
    ],
)
def test_keys_of_a_file_that_are_none_are_refused(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"distributed_type: FSDP\nnum_processes: 2\n{line}\n")
    with pytest.raises(ConfigError, match=said):
        check("--config_file", str(tmp_path / "a.yaml"))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("distributed_type: FSDP\nnum_processes: 8\nfsdp_config: {fsdp_version: 2}", "--multi_gpu --num_processes 2"),
        ("distributed_type: FSDP\nnum_processes: 8\nfsdp_config: {fsdp_version: 2}", "--cpu"),
        ("distributed_type: MULTI_GPU\nnum_processes: 8", "--num_processes 2 --max_restarts 1"),
        ("distributed_type: MULTI_CPU\nnum_processes: 4\nmpirun_config: {mpirun_hostfile: hosts}", ""),
    ],
)
def test_the_file_that_nobody_named_gives_way(
    lines: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "default.yaml").write_text(f"{lines}\n")
    for module in (options, config_args):
        monkeypatch.setattr(module, "default_config_file", str(tmp_path / "default.yaml"))
    check(*words.split())


@pytest.mark.parametrize("words", ["", "--max_restarts 1", "--cpu", "--num_machines 2 --machine_rank 1"])
def test_all_gpus_of_a_machine_count_where_no_number_is_said(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    check(*words.split())


def test_deepspeed_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"DeepSpeed is not installed: pip install 'wdstream\[deepspeed\]'"):
        check("--config_file", str(CONFIGS / "zero2.yaml"))


def test_the_command_says_it_in_one_line_and_starts_nothing(workplace: Workplace, tmp_path: Path) -> None:
    words = ["--cpu", "--num_processes", "3", str(workplace.config_file), "--set", f"train.output={tmp_path / 'run'}"]
    command = [sys.executable, "-m", "wdstream", "launch", *words]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stderr.startswith("wdstream launch: accelerate launch with --cpu starts one")
    assert len(ended.stderr.splitlines()) == 1 and not (tmp_path / "run").exists()
