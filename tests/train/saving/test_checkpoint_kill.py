"""Killed at random moments while checkpoints are written next to the steps: it ends as a run that nobody disturbed.

Spans: train, runs, testing.
"""

import json
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.launches import AS_GPUS
from tests.helpers.processes import Rank, finish, run_world, start_world
from tests.helpers.training import TRAIN, Workplace, arguments
from tests.helpers.waiting import wait_until
from wdstream.runs.audit import audit
from wdstream.runs.checkpoint import find_newest, partial_path
from wdstream.runs.layout import RunLayout
from wdstream.storage.json_lines import read_lines
from wdstream.train.saving.export_run import export_run

ASYNC = (
    "train.async_checkpoints=true",
    "train.checkpoint_every=1",
    "train.keep_checkpoints=2",
    "train.keep_every=7",
    "train.eval_every=6",
    "train.keep_best={set: held_out}",
)


def saved_steps(output: Path) -> int:
    """The step of the newest finished checkpoint."""
    folder = RunLayout(output).checkpoints
    return max((int(path.name[5:]) for path in folder.glob("step-*") if not path.suffix), default=0)


@dataclass(frozen=True)
class World:
    """How a run is started: processes, and whether FSDP2 divides the model among them."""

    size: int
    is_sharded: bool = False

    def start(self, workplace: Workplace, output: Path, *settings: str) -> list[Rank]:
        words = arguments(workplace, output, *settings)
        chosen = (AS_GPUS, ["fsdp2", *words]) if self.is_sharded else (TRAIN, words)
        return start_world(*chosen, size=self.size)

    def run(self, workplace: Workplace, output: Path, *settings: str) -> None:
        ended = finish(self.start(workplace, output, *settings), hangs_after_s=1500)  # up to 100 checkpoints
        assert all(status == 0 for status, _ in ended), "\n".join(printed for _, printed in ended)


def kill_while_saving(
    workplace: Workplace, output: Path, settings: Sequence[str], draw: random.Random, world: World
) -> bool:
    """Start, wait for a new checkpoint and some moments more, kill all; whether the run was still going."""
    begin = saved_steps(output)
    ranks = world.start(workplace, output, *settings)
    done = begin + draw.randint(1, 3)

    def is_there() -> bool:
        return saved_steps(output) >= done or any(not rank.process.is_alive() for rank in ranks)

    wait_until(is_there, f"a checkpoint of step {done}")
    time.sleep(draw.random() * 0.3)
    is_running = all(rank.process.is_alive() for rank in ranks)
    for rank in ranks:
        rank.send(signal.SIGKILL)
    finish(ranks)
    return is_running


def check_same(output: Path, straight: Path) -> None:
    for file, names in (("metrics.jsonl", ("step", "loss", "grad_norm")), ("steps.jsonl", ("step", "digest"))):
        found, wanted = (
            [[line[name] for name in names] for line in read_lines(run / file)] for run in (output, straight)
        )
        assert found == wanted, file
    assert list(read_lines(output / "eval.jsonl")) == list(read_lines(straight / "eval.jsonl"))
    assert (output / "best.json").read_bytes() == (straight / "best.json").read_bytes()
    kept = sorted(path.name for path in (straight / "checkpoints").iterdir())
    assert sorted(path.name for path in (output / "checkpoints").iterdir()) == kept
    paths = [*straight.rglob("checkpoints/**/*"), *straight.glob("final/*.safetensors")]
    for path in paths:
        # Not used, since each micro-batch seeds its own numbers; and where an id of the save is in it.
        if path.is_file() and not path.name.startswith(("random_states", ".metadata")):
            assert is_same(output / path.relative_to(straight), path), path
    assert audit(output).is_clean


def is_same(path: Path, other: Path) -> bool:
    """The manifest has checksums of the random numbers too; what else it holds is compared by itself."""
    return path.name == "manifest.json" or path.read_bytes() == other.read_bytes()


def undisturbed(workplace: Workplace, output: Path, settings: Sequence[str], world: World) -> Path:
    world.run(workplace, output, *settings, "train.async_checkpoints=false")
    return output


def test_killed_twice(workplace: Workplace, tmp_path: Path) -> None:
    settings, draw = (*ASYNC, "train.max_steps=8"), random.Random(3)
    straight = undisturbed(workplace, tmp_path / "straight", settings, World(1))
    output = tmp_path / "killed"
    for _ in range(2):
        kill_while_saving(workplace, output, settings, draw, World(1))
    newest, messages = find_newest(RunLayout(output).checkpoints)
    assert newest is not None and not messages  # complete or absent
    assert not partial_path(newest.path).exists()
    World(1).run(workplace, output, *settings)
    check_same(output, straight)


FULL = ("train.adapter=null", "train.lr=0.003")


@pytest.mark.slow
@pytest.mark.timeout(3600)  # up to 27 starts
@pytest.mark.parametrize(
    ("world", "kills", "more"),
    [(World(1), 25, ()), (World(2), 12, ()), (World(2), 4, FULL), (World(2, is_sharded=True), 6, FULL)],
    ids=["one process", "two", "two, all weights", "two, FSDP2"],
)
def test_killed_many_times(workplace: Workplace, tmp_path: Path, world: World, kills: int, more: Sequence[str]) -> None:
    settings, draw = (*ASYNC, *more, f"train.max_steps={4 * kills}"), random.Random(world.size)
    straight = undisturbed(workplace, tmp_path / "straight", settings, world)
    output = tmp_path / "killed"
    while_running = [kill_while_saving(workplace, output, settings, draw, world) for _ in range(kills)]
    assert all(while_running)
    world.run(workplace, output, *settings)
    check_same(output, straight)


def kill_in_a_save(ranks: Sequence[Rank], output: Path) -> None:
    """Kill all while the checkpoint after the third step, or a later one, is being written."""
    processes = [psutil.Process(rank.process.pid) for rank in ranks]
    while True:
        wait_until(lambda: being_written(output) > 2 or not is_running(processes), "a checkpoint that is written")
        assert is_running(processes), [rank.output for rank in ranks]
        for rank in ranks:
            rank.send(signal.SIGSTOP)
        wait_until(lambda: not is_running(processes), "processes that are stopped")
        is_inside = being_written(output) > 2
        for rank in ranks:
            rank.send(signal.SIGKILL if is_inside else signal.SIGCONT)
        if is_inside:
            finish(ranks)
            assert being_written(output) > 2
            return


def being_written(output: Path) -> int:
    """The step of the checkpoint that is not complete; 0 where there is none."""
    paths = RunLayout(output).checkpoints.glob("step-*.tmp")
    return max((int(path.stem[5:]) for path in paths), default=0)


def is_running(processes: Sequence[psutil.Process]) -> bool:
    """Whether one of them is neither stopped nor at its end."""
    still = {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    return any(process.is_running() and process.status() not in still for process in processes)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["all", "lora"])
def test_shards_are_continued_by_any_number_of_processes(workplace: Workplace, tmp_path: Path, kind: str) -> None:
    """Killed inside of a save under FSDP2, continued by fewer or more, which need not divide a step; exported."""
    shared = ("data.global_batch_size=4", "train.max_steps=8", "train.ema={decay: 0.9}", "train.lr=0.0001")
    settings = (*ASYNC, *shared, *(("train.adapter=null",) if kind == "all" else ()))
    straight = undisturbed(workplace, tmp_path / "straight", settings, World(2, is_sharded=True))
    weights = load_file(next((straight / "final").glob("*.safetensors")))
    for first, second in ((2, 1), (1, 2), (2, 3), (4, 2)):
        output = tmp_path / f"{first}-{second}"
        kill_in_a_save(World(first, is_sharded=True).start(workplace, output, *settings), output)
        World(second, is_sharded=True).run(workplace, output, *settings)
        starts = json.loads((output / "run.json").read_text())["starts"]
        assert [start["world_size"] for start in starts] == [first, second] and starts[1]["step"] >= 2
        for name, figures in (("metrics.jsonl", ("loss",)), ("eval.jsonl", ("loss", "tokens"))):
            found, wanted = (list(read_lines(run / name)) for run in (output, straight))
            assert [line["step"] for line in found] == [line["step"] for line in wanted]
            for figure in figures:
                assert [line[figure] for line in found] == pytest.approx([line[figure] for line in wanted], rel=1e-6)
        ledgers = [
            [(line["step"], line["digest"]) for line in read_lines(run / "steps.jsonl")] for run in (output, straight)
        ]
        assert ledgers[0] == ledgers[1] and audit(output).is_clean
        kept = [sorted(path.name for path in RunLayout(run).checkpoints.iterdir()) for run in (output, straight)]
        assert kept[0] == kept[1]
        export_run(output, tmp_path / f"{first}-{second}-model")
        final, exported = (
            load_file(next(folder.glob("*.safetensors")))
            for folder in (output / "final", tmp_path / f"{first}-{second}-model")
        )
        assert final.keys() == exported.keys() == weights.keys()
        assert all(torch.equal(exported[name], tensor) for name, tensor in final.items())
        for name, tensor in weights.items():
            assert torch.allclose(final[name], tensor, rtol=0, atol=1e-5), name


@pytest.mark.slow
def test_all_weights_continue_on_another_number_of_processes(workplace: Workplace, tmp_path: Path) -> None:
    settings = ("train.adapter=null", "train.lr=0.003", "train.max_steps=6")
    for name, sizes in (("one", (1, 1)), ("two, one", (2, 1)), ("one, two", (1, 2))):
        output = tmp_path / name
        run_world(TRAIN, arguments(workplace, output, *settings, "train.stop_after=3"), size=sizes[0])
        run_world(TRAIN, arguments(workplace, output, *settings), size=sizes[1])
    wanted, *others = (
        [line["loss"] for line in read_lines(path / "metrics.jsonl")] for path in sorted(tmp_path.iterdir())
    )
    for losses in others:
        assert losses == pytest.approx(wanted, rel=1e-4)
