"""Whole runs that save next to their steps, against the same runs that save between them: every file is the same.

Spans: train, runs.
"""

import resource
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.helpers.launches import AS_GPUS
from tests.helpers.processes import finish, run_world, start_world
from tests.helpers.training import Workplace, wait_for_steps
from wdstream.runs.audit import audit
from wdstream.storage.json_lines import read_lines

FULL = ("train.adapter=null", "train.lr=0.003", "train.max_steps=6", "train.checkpoint_every=1", "data.eval=[]")
KEPT = "train.keep_checkpoints=9"
FSDP2 = (*FULL, KEPT, "train.ema={decay: 0.9}")
ASYNC = "train.async_checkpoints=true"
NOT_COMPARED = ("random_states", "manifest.json", ".metadata")
"""Not used; has a checksum of these; holds an id of the save."""


def words(workplace: Workplace, output: Path, *settings: str) -> list[str]:
    every = (f"train.output={output}", *settings)
    return ["fsdp2", str(workplace.config_file), *(word for one in every for word in ("--set", one))]


def assert_same_run(output: Path, straight: Path) -> None:
    names = ("step", "loss", "grad_norm")
    found, wanted = (
        [[line[name] for name in names] for line in read_lines(run / "metrics.jsonl")] for run in (output, straight)
    )
    assert found == wanted
    paths = [*straight.rglob("checkpoints/**/*"), *straight.glob("final/*.safetensors")]
    files = [path for path in paths if path.is_file() and not path.name.startswith(NOT_COMPARED)]
    assert len(files) > 6
    for path in files:
        assert (output / path.relative_to(straight)).read_bytes() == path.read_bytes(), path
    assert audit(output).is_clean


def test_fsdp2_writes_the_same_shards(workplace: Workplace, tmp_path: Path) -> None:
    """With an average too; and a run continues from what was written next to its steps."""
    straight, output = tmp_path / "straight", tmp_path / "async"
    run_world(AS_GPUS, words(workplace, straight, *FSDP2), size=2)
    printed = run_world(AS_GPUS, words(workplace, output, *FSDP2, ASYNC, "train.stop_after=3"), size=2)
    assert "between steps" not in printed
    run_world(AS_GPUS, words(workplace, output, *FSDP2, ASYNC), size=2)
    assert_same_run(output, straight)
    shards = sorted(path.name for path in (output / "checkpoints/step-00000006/pytorch_model_fsdp_0").iterdir())
    assert shards == [".metadata", "__0_0.distcp", "__1_0.distcp"]


@pytest.mark.slow
def test_fsdp2_saves_before_the_optimizer_has_taken_a_step(workplace: Workplace, tmp_path: Path) -> None:
    """To ask for the state of one takes a step, which must not count: not in this start, nor in one that continues."""
    straight, output = tmp_path / "straight", tmp_path / "async"
    every = (*FULL, "train.max_steps=4", "train.checkpoint_every=50", "train.skip_steps=[0]")
    run_world(AS_GPUS, words(workplace, straight, *every), size=2)
    run_world(AS_GPUS, words(workplace, output, *every, ASYNC), size=2)
    stopped = tmp_path / "stopped"
    run_world(AS_GPUS, words(workplace, stopped, *every, "train.stop_after=1"), size=2)
    run_world(AS_GPUS, words(workplace, stopped, *every), size=2)
    wanted, *others = (
        [(line["step"], line["loss"]) for line in read_lines(run / "metrics.jsonl")]
        for run in (straight, output, stopped)
    )
    assert len(wanted) == 3 and others == [wanted, wanted]


@pytest.mark.slow
@pytest.mark.parametrize("is_async", ["true", "false"])
def test_fsdp2_says_on_all_ranks_why_one_cannot_write(workplace: Workplace, tmp_path: Path, is_async: str) -> None:
    """The second rank may not write the file of its shards: nobody waits, nothing half written counts."""
    every = (*FULL, "train.max_steps=500", "train.checkpoint_every=6", f"train.async_checkpoints={is_async}")
    ranks = start_world(AS_GPUS, words(workplace, tmp_path, *every), size=2)
    wait_for_steps(tmp_path, 1)
    assert ranks[1].process.pid is not None
    resource.prlimit(ranks[1].process.pid, resource.RLIMIT_FSIZE, (40_000, 40_000))
    for status, printed in finish(ranks):
        assert status == 1, printed
        assert "a checkpoint could not be written:" in printed and "rank 1: " in printed
        assert "could not be written whole, as on a disk that is full" in printed and "Traceback" not in printed
    steps = [int(path.name[5:]) for path in (tmp_path / "checkpoints").iterdir() if not path.suffix]
    run_world(AS_GPUS, words(workplace, tmp_path, *every, f"train.stop_after={max(steps, default=0) + 1}"), size=2)
    assert audit(tmp_path).is_clean


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ("train.optimizer=muon",),
        ("train.optimizer=adamw_8bit",),
        ("train.optimizer=adafactor",),
        ("train.optimizer=schedule_free", "train.schedule=constant"),
    ],
    ids=lambda settings: settings[0],
)
def test_every_optimizer(workplace: Workplace, tmp_path: Path, settings: tuple[str, ...]) -> None:
    if "schedule_free" in settings[0] and find_spec("schedulefree") is None:
        pytest.skip("schedulefree is not installed: pip install 'wdstream[schedulefree]'")
    straight, output = tmp_path / "straight", tmp_path / "async"
    every = (*FULL, KEPT, *settings)
    assert workplace.train(straight, *every) == 0
    assert workplace.train(output, *every, ASYNC, "train.stop_after=3") == 0
    assert workplace.train(output, *every, ASYNC) == 0
    assert_same_run(output, straight)
