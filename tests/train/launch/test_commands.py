"""The commands that docs/training.md prints, as printed, through the real launcher, on a CPU.

In place of what a page cannot know are this machine's: the configuration file, fewer processes, addresses of the
loopback. FSDP, which Accelerate has on GPUs only, is made to believe that it is on some (as_gpus.py).

Spans: train, docs.
"""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig

from tests.helpers.launches import AS_GPUS, run_launches
from tests.helpers.paths import ROOT
from tests.helpers.processes import free_port
from tests.helpers.training import Workplace
from wdstream.storage.json_lines import read_lines

CHOSEN = ("train.max_steps=3", "data.global_batch_size=4", "train.checkpoint_every=2", "data.eval=[]")
MODULE = "-m wdstream.train"
SEVERAL_GPUS, SEVERAL_MACHINES = "Several GPUs", "Several machines"


def commands(title: str) -> list[str]:
    """The launches in a section of the page, without comments; of the start of the page with an empty title."""
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    section = text if not title else text.split(f"## {title}\n", 1)[1]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return [line.split(" #")[0].strip() for line in block[1].splitlines() if line.startswith("accelerate launch")]


def words_of(command: str, workplace: Workplace, output: Path, port: int) -> list[str]:
    """A command of the page for this machine: two processes in all where it says more than one."""
    launch, settings = command.split(f" {MODULE} cfg.yaml")
    launch = re.sub(r"--num_processes \d+", "", launch).replace("10.0.0.1", "127.0.0.1").replace("29500", str(port))
    is_sharded, is_alone = "fsdp" in launch, launch == "accelerate launch"
    words = [*shlex.split(launch)[2:], *([] if is_alone else ["--num_processes", "2"])]
    words += [AS_GPUS] if is_sharded else MODULE.split()
    words += [str(workplace.config_file), *shlex.split(settings)]
    return [*words, *(word for chosen in (f"train.output={output}", *CHOSEN) for word in ("--set", chosen))]


def losses_of(commands: list[str], workplace: Workplace, output: Path) -> list[float]:
    """The losses of one run that these commands start together, one on each machine."""
    port = free_port()
    run_launches([words_of(each, workplace, output, port) for each in commands], output.with_suffix(".log"))
    assert (output / "final" / "config.json").is_file()
    return [line["loss"] for line in read_lines(output / "metrics.jsonl")]


@pytest.fixture(scope="module")
def wanted(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of one process."""
    output = tmp_path_factory.mktemp("alone") / "run"
    assert workplace.train(output, *CHOSEN) == 0
    return [line["loss"] for line in read_lines(output / "metrics.jsonl")]


def test_the_files_for_accelerate_are_those_of_the_page() -> None:
    named = {match for command in commands(SEVERAL_GPUS) for match in re.findall(r"configs/accelerate/\S+", command)}
    assert named == {str(path.relative_to(ROOT)) for path in (ROOT / "configs/accelerate").iterdir()}
    for path in (ROOT / "configs/accelerate").iterdir():
        ClusterConfig.from_yaml_file(path)  # raises on a key that Accelerate does not know


@pytest.mark.slow
@pytest.mark.parametrize("command", [*commands(""), *commands(SEVERAL_GPUS)], ids=lambda text: text[18:70])
def test_a_launch_on_one_machine(command: str, workplace: Workplace, tmp_path: Path, wanted: list[float]) -> None:
    if "zero" in command and find_spec("deepspeed") is None:
        pytest.skip("DeepSpeed is not installed: pip install 'wdstream[deepspeed]'")
    losses = losses_of([command], workplace, tmp_path / "run")
    if "train.lr" in command:
        assert losses[0] == wanted[0] and losses[2] != wanted[2]
    else:
        assert losses == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["ddp", "fsdp2"])
def test_a_launch_on_two_machines(file: str, workplace: Workplace, tmp_path: Path, wanted: list[float]) -> None:
    """Two launchers, which meet at the loopback."""
    launches = [command.replace("fsdp2", file) for command in commands(SEVERAL_MACHINES)]
    assert [re.findall(r"--machine_rank (\d)", command) for command in launches] == [["0"], ["1"]]
    assert losses_of(launches, workplace, tmp_path / "run") == pytest.approx(wanted, rel=1e-5)
