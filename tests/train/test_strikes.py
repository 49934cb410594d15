"""The long proof: runs that are struck a hundred times are the runs that nobody struck.

By SIGKILL and by every signal that asks to stop, at any moment, on one process and on two in turn.

Spans: train, runs.
"""

import json
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.helpers.processes import Rank, finish, run_world, start_world
from tests.helpers.training import TRAIN, Workplace, arguments, steps_done
from wdstream.runs.audit import audit
from wdstream.storage.json_lines import read_lines
from wdstream.train.launch.signals import StopSignals

STRIKES = 25
"""Of each of four runs."""
STEPS = 60
EVERY = (
    f"train.max_steps={STEPS}",
    "train.checkpoint_every=2",
    "train.eval_every=5",
    "train.stopped_status=null",
    "train.skip_steps=[7]",
    "train.async_checkpoints=true",
    "train.adapter={kind: lora, r: 4, dropout: 0.2, parts: [language, projector]}",
    "train.stages=[{steps: 24, train: [projector]}, {train: [projector, language], lr: 0.005}]",
)
STOPPED = 3


def strike(ranks: Sequence[Rank], draw: random.Random, output: Path) -> str:
    """Strike at a random moment of the next steps; how, or "" when the run had ended before."""
    steps, until = steps_done(output) + draw.randint(0, 3), time.monotonic() + 60
    while steps_done(output) < steps and time.monotonic() < until and _is_alive(ranks):
        time.sleep(0.01)
    time.sleep(draw.random() * 0.5)
    if not _is_alive(ranks):
        return ""
    number = draw.choice([signal.SIGKILL, signal.SIGKILL, *StopSignals.SIGNALS])
    struck = ranks if draw.random() < 0.5 else [draw.choice(ranks)]
    while number != signal.SIGKILL and not all(map(_catches_signals, struck)) and _is_alive(ranks):
        time.sleep(0.01)
    if not _is_alive(ranks):
        return ""
    for rank in struck:
        rank.send(number)
    if number == signal.SIGKILL:  # as a launcher does, when one of its processes is lost
        for rank in ranks:
            rank.process.kill()
    return number.name


def _catches_signals(rank: Rank) -> bool:
    """Whether a process has a handler of its own for SIGUSR2, as Linux has it."""
    try:
        text = Path(f"/proc/{rank.process.pid}/status").read_text()
    except OSError:
        return True
    caught = next((line.split()[1] for line in text.splitlines() if line.startswith("SigCgt")), "0")
    return bool(int(caught, 16) >> (signal.SIGUSR2 - 1) & 1)


def _is_alive(ranks: Sequence[Rank]) -> bool:
    return any(rank.process.is_alive() for rank in ranks)


def has_finished(results: Sequence[tuple[int | None, str]], how: str) -> bool:
    """Whether a start came to the end of the run; refuses statuses that are not those of the strike."""
    said = "\n".join(text for _, text in results)
    statuses = {status for status, _ in results}
    expected = {0, STOPPED} | (
        {-signal.Signals[how]} if how else set()
    )  # the last: before and after it catches signals
    assert statuses <= expected or (how == "SIGINT" and "KeyboardInterrupt" in said), (how, statuses, said)
    return statuses == {0}


def schedule(output: Path) -> list[tuple[int, int]]:
    """(first step, processes) of every part of a run, as it is in the weights."""
    parts: list[tuple[int, int]] = []
    for start in json.loads((output / "run.json").read_text())["starts"]:
        while parts and parts[-1][0] >= start["step"]:
            parts.pop()
        if not parts or parts[-1][1] != start["world_size"]:
            parts.append((start["step"], start["world_size"]))
    return parts


def evaluations(output: Path) -> dict[tuple[int, str], tuple[float, int]]:
    """Loss and tokens by step and set, each once."""
    lines = list(read_lines(output / "eval.jsonl"))
    found = {(line["step"], line["name"]): (line["loss"], line["tokens"]) for line in lines}
    assert len(found) == len(lines)
    return found


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("seed", "worlds"), [(0, (2,)), (1, (1, 2)), (2, (1, 2)), (3, (1,))])
def test_a_run_that_is_struck_again_and_again(
    seed: int, worlds: Sequence[int], workplace: Workplace, tmp_path: Path
) -> None:
    draw, output, num_starts = random.Random(seed), tmp_path / "struck", 0
    strikes: list[str] = []
    words = arguments(workplace, output, *EVERY)
    while True:
        ranks = start_world(TRAIN, words, size=draw.choice(worlds))
        num_starts += 1
        how = strike(ranks, draw, output) if len(strikes) < STRIKES else ""
        strikes += [how] if how else []
        if has_finished(finish(ranks), how):
            break
        assert num_starts < 3 * STRIKES
    parts = schedule(output)
    print(f"seed {seed}: {len(strikes)} strikes {sorted(strikes)}; parts {parts}")
    whole = tmp_path / "whole"
    for (first, size), (end, _) in zip(parts, [*parts[1:], (STEPS, 0)], strict=True):
        stop = () if end == STEPS else (f"train.stop_after={end - first}", "train.stopped_status=0")
        run_world(TRAIN, arguments(workplace, whole, *EVERY, *stop), size=size)
    assert_equal(output, whole)


def assert_equal(output: Path, whole: Path) -> None:
    """Ledger, losses, rates and weights bit for bit; evaluations to rounding: either of two starts may make them."""
    for name, keys in (("steps.jsonl", ("step", "digest", "world_size", "skipped")), ("metrics.jsonl", ("loss", "lr"))):
        assert figures(output / name, keys) == figures(whole / name, keys)
    ours, theirs = evaluations(output), evaluations(whole)
    assert ours.keys() == theirs.keys()
    for key, (loss, tokens) in ours.items():
        assert loss == pytest.approx(theirs[key][0], rel=1e-5) and tokens == theirs[key][1]
    name = "adapter_model.safetensors"
    assert (output / "final" / name).read_bytes() == (whole / "final" / name).read_bytes()
    report = audit(output)
    assert report.is_clean and report.steps == STEPS, report.differences


def figures(path: Path, keys: Sequence[str]) -> list[list[object]]:
    """Some values of every line."""
    return [[line.get(key) for key in keys] for line in read_lines(path)]
