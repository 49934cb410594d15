"""DeepSpeed's ZeRO through the real launcher, two processes: the training of DDP and of one process, and exact resume.

The long proofs need DeepSpeed, which `pip install 'wdstream[deepspeed]'` builds; without it they are skipped.
"""

import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.helpers.command import run as wdstream
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_world
from tests.helpers.training import Workplace
from wdstream.config.build import plan_from_config
from wdstream.config.schema import Config
from wdstream.errors import ConfigError
from wdstream.storage.json_lines import read_lines
from wdstream.testing.launcher import TrainingProcess
from wdstream.train.launch.zero import check_settings, describe_zero
from wdstream.train.saving.weights import tied_again

TUNED = {
    "full": ("train.adapter=null", "train.lr=0.003", "train.weight_decay=5.0"),
    "lora": ("train.adapter={kind: lora, r: 4, dropout: 0.2}", "train.lr=0.01"),
}
COMMON = ("data.global_batch_size=4", "train.checkpoint_every=4")
"""Two micro-batches on each of two ranks."""

several_runs = pytest.mark.timeout(900)
needs_deepspeed = pytest.mark.skipif(
    find_spec("deepspeed") is None, reason="DeepSpeed is not installed: pip install 'wdstream[deepspeed]'"
)


def settings(**changes: object) -> dict[str, Any]:
    """Of DeepSpeed, as Accelerate makes them from a configuration that asks for stage 2."""
    found: dict[str, Any] = {
        "train_batch_size": "auto",
        "gradient_accumulation_steps": 1,
        "zero_optimization": {"stage": 2, "offload_optimizer": {"device": "none", "nvme_path": None}},
        "fp16": {"enabled": False},
        "bf16": {"enabled": False},
    }
    return found | changes


def config(**train: object) -> Config:
    tree = {"model": {"path": "m", "dtype": "float32"}, "data": {"train": [{"path": "s"}]}, "train": train}
    return Config.model_validate(tree)


FOLLOWS = {"train_batch_size": 2, "gradient_accumulation_steps": 1, "gradient_clipping": 1.0}


def test_settings_that_repeat_the_run_are_taken() -> None:
    check_settings(config(), settings(), FOLLOWS)
    check_settings(config(), settings(train_batch_size=2, gradient_clipping="auto"), FOLLOWS)


@pytest.mark.parametrize(
    ("found", "train", "message"),
    [
        ({"gradient_accumulation_steps": 4}, {}, "gradient_accumulation_steps: expected auto or 1, .*, found 4"),
        ({"gradient_clipping": 0.5}, {}, "gradient_clipping: expected auto or 1.0, .* found 0.5"),
        ({"zero_optimization": {"stage": 0}}, {}, "zero_stage: expected 1, 2 or 3, found 0"),
        ({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}, {}, "offload_optimizer: brings"),
        ({"zero_optimization": {"stage": 3, "offload_param": {"device": "nvme"}}}, {}, "offload_param: brings"),
        ({"fp16": {"enabled": True}}, {}, "fp16: its loss scale skips steps"),
        ({"bf16": {"enabled": True}}, {}, "bf16: expected what model.dtype: float32 says, found True"),
        ({"optimizer": {"type": "AdamW"}}, {}, "optimizer: wdstream brings its own"),
        ({"scheduler": {"type": "WarmupLR"}}, {}, "scheduler: wdstream brings its own"),
        ({}, {"optimizer": "adamw_8bit"}, "train.optimizer: adamw_8bit would quantise shards"),
        ({}, {"adapter": {"dora": True}}, "train.adapter.dora: is not proven in its engine"),
        ({}, {"adapter": {"modules_to_save": ["lm_head"]}}, "train.adapter.modules_to_save: is not proven"),
        ({}, {"adapter": {"train_tokens": ["x"]}}, "train.adapter.train_tokens: is not proven in its engine"),
        ({}, {"stages": [{"train": ["language"]}]}, "train.stages: its engine takes the step by itself"),
        ({}, {"parts": {"vision": {"lr": 1e-6}}}, "train.parts, train.patterns: rates of their own are not proven"),
        ({}, {"ema": {}}, "train.ema: its engine keeps the float32 weights"),
        ({}, {"max_grad_norm": None}, "train.max_grad_norm: null is not proven"),
        ({}, {"adapter": {"kind": "qlora"}}, "train.adapter.kind: 4-bit weights .* are not proven"),
    ],
)
def test_what_is_not_proven_is_refused(found: dict[str, Any], train: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^DeepSpeed: {message}"):
        check_settings(config(**train), settings(**found), FOLLOWS)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError, match=r"gradient_clipping: .*\nDeepSpeed: optimizer: "):
        check_settings(config(), settings(gradient_clipping=2.0, optimizer={}), FOLLOWS)


def test_stages_are_named() -> None:
    assert (describe_zero(None), describe_zero(3)) == ("without DeepSpeed", "under DeepSpeed's ZeRO-3")


def test_copies_of_a_tied_weight_become_one_again() -> None:
    model = nn.ModuleDict({"inner": nn.Linear(2, 2, bias=False), "head": nn.Linear(2, 2, bias=False)})
    model["head"].weight = model["inner"].weight
    state = tied_again(model, {"inner.weight": torch.ones(2, 2), "head.weight": torch.ones(2, 2)})
    assert state["head.weight"] is state["inner.weight"]
    assert tied_again(model, {}) == {}


class Zero:
    """Runs by the launcher, with the project's own configuration for Accelerate."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self._done: dict[tuple[int, str], Path] = {}

    def start(self, output: Path, stage: int, *chosen: str) -> TrainingProcess:
        tree = yaml.safe_load((ROOT / "configs/accelerate/zero2.yaml").read_text())
        tree["num_processes"], tree["deepspeed_config"]["zero_stage"] = 2, stage
        file = output.with_suffix(".yaml")
        file.write_text(yaml.safe_dump(tree))
        overrides = (f"train.output={output}", *COMMON, *chosen)
        log = output.with_suffix(".log")
        process = TrainingProcess(self.workplace.config_file, overrides, output=output, log=log)
        python, *_ = process.command
        launcher = ("-m", "accelerate.commands.launch", "--config_file", str(file), "-m", "wdstream.train")
        words = [word for override in overrides for word in ("--set", override)]
        process.command = [python, *launcher, str(self.workplace.config_file), *words]
        return process

    def run(self, output: Path, stage: int, *chosen: str) -> Path:
        with self.start(output, stage, *chosen) as process:
            process.wait()
        return output

    def straight(self, stage: int, kind: str) -> Path:
        """An uninterrupted run, made once."""
        if (stage, kind) not in self._done:
            output = self.workplace.root / f"zero{stage}-{kind}"
            self._done[stage, kind] = self.run(output, stage, *TUNED[kind])
        return self._done[stage, kind]


@pytest.fixture(scope="module")
def zero(workplace: Workplace) -> Zero:
    return Zero(workplace)


@pytest.fixture(scope="module")
def plain(workplace: Workplace) -> Callable[[int, str], Path]:
    """Runs without DeepSpeed, by number of processes, made once each."""
    done: dict[tuple[int, str], Path] = {}

    def run(size: int, kind: str) -> Path:
        if (size, kind) not in done:
            output = done[size, kind] = workplace.root / f"plain{size}-{kind}"
            start(workplace, output, size, *TUNED[kind])
        return done[size, kind]

    return run


def start(workplace: Workplace, output: Path, size: int, *chosen: str) -> None:
    words = [word for chosen_one in (f"train.output={output}", *COMMON, *chosen) for word in ("--set", chosen_one)]
    run_world("wdstream.train", [str(workplace.config_file), *words], size=size)


def figures(output: Path, *names: str) -> list[float]:
    return [line[name] for line in read_lines(output / "metrics.jsonl") for name in names]


def weights(output: Path) -> dict[str, Tensor]:
    (file,) = (output / "final").glob("*.safetensors")
    return load_file(file)


def evaluation(output: Path) -> tuple[float, int]:
    """Loss and tokens of the only one of a run."""
    (line,) = read_lines(output / "eval.jsonl")
    return line["loss"], line["tokens"]


def assert_same_training(ours: Path, theirs: Path) -> None:
    assert len(figures(ours, "loss")) == 10
    assert figures(ours, "loss") == pytest.approx(figures(theirs, "loss"), rel=1e-5)
    assert figures(ours, "grad_norm") == pytest.approx(figures(theirs, "grad_norm"), rel=1e-4)
    (found_loss, num_tokens), (loss, wanted_tokens) = evaluation(ours), evaluation(theirs)
    assert found_loss == pytest.approx(loss, rel=1e-5) and num_tokens == wanted_tokens
    found, wanted = weights(ours), weights(theirs)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-4, msg=name)


@several_runs
@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_same_training(zero: Zero, plain: Callable[[int, str], Path], stage: int, kind: str) -> None:
    ours = zero.straight(stage, kind)
    assert_same_training(ours, plain(2, kind))
    assert_same_training(ours, plain(1, kind))
    assert max(figures(ours, "grad_norm")) > 1.0  # some steps are clipped


@pytest.mark.slow
@needs_deepspeed
def test_ranks_and_micro_batches_of_these_runs_are_uneven(workplace: Workplace, tmp_path: Path) -> None:
    """Else the comparisons above would hold for an average of averages as well."""
    plan = plan_from_config(workplace.config(tmp_path, *COMMON))
    first = next(iter(plan.steps(world_size=2)))
    counts = [[sum(first.packs[place].supervised) for place in places] for places in first.assignment]
    assert len(counts) == 2 and all(len(own) == 2 for own in counts)
    assert sum(counts[0]) != sum(counts[1])
    assert counts[0][0] != counts[0][1]


@several_runs
@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_what_zero_3_saved_is_evaluated_by_one_process(zero: Zero, kind: str) -> None:
    run = zero.straight(3, kind)
    done = wdstream("evaluate", run, "--step", "newest", "--generate", "2", "--max-new-tokens", "4", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout[done.stdout.index("{") :])["10"]["held_out"]
    loss, num_tokens = evaluation(run)
    assert (report["loss"], report["tokens"], report["generated"]) == (pytest.approx(loss, rel=1e-6), num_tokens, 2)


@several_runs
@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize(("stage", "kind"), [(1, "lora"), (2, "full"), (3, "full"), (3, "lora")])
def test_killed_without_warning_and_resumed(zero: Zero, tmp_path: Path, stage: int, kind: str) -> None:
    output, straight = tmp_path / "killed", zero.straight(stage, kind)
    with zero.start(output, stage, *TUNED[kind]) as process:
        assert 6 <= process.kill_after(6) < 10
    (checkpoint,) = (output / "checkpoints").glob("step-*/manifest.json")
    assert json.loads(checkpoint.read_text())["zero_stage"] == stage
    assert len(list(checkpoint.parent.rglob("stream.json"))) == 1
    zero.run(output, stage, *TUNED[kind])
    assert figures(output, "loss", "grad_norm") == figures(straight, "loss", "grad_norm")
    digests = [[line["digest"] for line in read_lines(folder / "steps.jsonl")] for folder in (output, straight)]
    assert digests[0] == digests[1]
    ours, theirs = weights(output), weights(straight)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


@several_runs
@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("stage", [2, 3])
def test_bfloat16_is_as_near_to_float32_as_under_ddp(
    workplace: Workplace, zero: Zero, tmp_path: Path, stage: int
) -> None:
    chosen = (*TUNED["full"], "train.max_steps=3", "data.global_batch_size=4")
    start(workplace, tmp_path / "float32", 2, *chosen)
    zero.run(tmp_path / "bfloat16", stage, *chosen, "model.dtype=bfloat16")
    found, wanted = tmp_path / "bfloat16", tmp_path / "float32"
    assert figures(found, "loss") == pytest.approx(figures(wanted, "loss"), rel=5e-4)
    assert figures(found, "grad_norm") == pytest.approx(figures(wanted, "grad_norm"), rel=2e-2)
    assert {tensor.dtype for tensor in weights(found).values()} == {torch.bfloat16}


@several_runs
@pytest.mark.slow
@needs_deepspeed
def test_settings_change_between_starts_and_pages_are_written(workplace: Workplace, zero: Zero, tmp_path: Path) -> None:
    """Clipping is the engine's, and a checkpoint of it would bring the old one back."""
    generate = "train.generate={max_pages: 2, max_new_tokens: 4}"
    for output, run in (("plain", start), ("zero", None)):
        for chosen in (("train.stop_after=4",), ("train.max_grad_norm=0.1", generate)):
            every = (*TUNED["full"], *chosen)
            if run is None:
                zero.run(tmp_path / output, 2, *every)
            else:
                run(workplace, tmp_path / output, 2, *every)
    assert_same_training(tmp_path / "zero", tmp_path / "plain")
    (ours,), (theirs,) = (list(read_lines(tmp_path / name / "eval.jsonl")) for name in ("zero", "plain"))
    assert ours["generated"] == theirs["generated"] == 2
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("stage", [2, 3])
def test_a_gradient_that_is_not_finite_stops_the_run(zero: Zero, tmp_path: Path, stage: int) -> None:
    """Of the second step: the first one, at such a rate, makes weights that no float32 can multiply."""
    with zero.start(tmp_path / "run", stage, *TUNED["full"], "train.lr=1e30") as process:
        process.process.wait()
    log = (tmp_path / "run.log").read_text()
    assert process.process.returncode != 0
    assert re.search(r"step 1: the gradient norm is (nan|inf)", log) and "the step was not taken" in log
    assert not (tmp_path / "run" / "final").exists()
