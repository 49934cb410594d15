"""Whole runs on one process: falling loss, exact evaluation, resume, adapters, failing pages, refusals."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoTokenizer

from tests.helpers.training import Workplace
from wdstream.config.build import plan_from_config
from wdstream.plan.deal import pages_digest
from wdstream.records import World
from wdstream.storage.json_lines import read_lines
from wdstream.train.evaluate.sets import eval_config


def losses(output: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in read_lines(output / "metrics.jsonl")]


def ledger(output: Path) -> list[tuple[int, str]]:
    return [(line["step"], line["digest"]) for line in read_lines(output / "steps.jsonl")]


@pytest.fixture(scope="module")
def straight(workplace: Workplace) -> Path:
    """Ten steps without interruption, dropout on by way of LoRA's."""
    output = workplace.root / "straight"
    assert workplace.train(output, *LORA) == 0
    return output


LORA = ("train.adapter={kind: lora, r: 4, dropout: 0.2}", "train.lr=0.01")


def test_five_and_five_are_ten(workplace: Workplace, straight: Path) -> None:
    output = workplace.root / "halves"
    assert workplace.train(output, *LORA, "train.stop_after=5") == 0
    assert not (output / "final").exists()
    assert workplace.train(output, *LORA) == 0
    assert [step for step, _ in losses(output)] == list(range(10))
    assert losses(output) == losses(straight)
    assert ledger(output) == ledger(straight)
    assert adapter_bytes(output) == adapter_bytes(straight)
    run = json.loads((output / "run.json").read_text())
    assert run["starts"] == [{"step": 0, "world_size": 1}, {"step": 5, "world_size": 1}]


def test_an_evaluation_that_a_kill_or_a_stop_left_out_is_made_up(
    workplace: Workplace, straight: Path, tmp_path: Path
) -> None:
    """The checkpoint of a step is written before its evaluation, so that this cannot take the step with it."""
    wanted = list(read_lines(straight / "eval.jsonl"))
    killed = tmp_path / "killed"  # in its last evaluation: the checkpoint is there, and nothing that comes after it
    shutil.copytree(straight, killed)
    shutil.rmtree(killed / "final")
    (killed / "eval.jsonl").unlink()
    assert workplace.train(killed, *LORA) == 0
    assert list(read_lines(killed / "eval.jsonl")) == wanted
    assert adapter_bytes(killed) == adapter_bytes(straight)
    stopped = tmp_path / "stopped"
    every = (*LORA, "train.eval_every=5")
    assert workplace.train(stopped, *every, "train.stop_after=5") == 0
    assert not list(read_lines(stopped / "eval.jsonl"))
    assert workplace.train(stopped, *every) == 0
    assert [line["step"] for line in read_lines(stopped / "eval.jsonl")] == [4, 9]
    assert list(read_lines(stopped / "eval.jsonl"))[1:] == wanted
    assert losses(stopped) == losses(straight)


def adapter_bytes(output: Path) -> bytes:
    return (output / "final" / "adapter_model.safetensors").read_bytes()


def test_checkpoints_of_an_adapter_hold_the_adapter_only(straight: Path) -> None:
    newest = straight / "checkpoints" / "step-00000010"
    names = {path.name for path in newest.iterdir()}
    assert names == {
        "adapter_model.safetensors",
        "optimizer.bin",
        "random_states_0.pkl",
        "stream.json",
        "trainer.json",
        "manifest.json",
    }
    assert len((newest / "stream.json").read_bytes()) < 2048
    assert all(".lora_" in name for name in load_file(newest / "adapter_model.safetensors"))


def test_ledger_names_the_pages_that_the_plan_names(workplace: Workplace, straight: Path) -> None:
    plan = plan_from_config(workplace.config(straight))
    for step, digest in ledger(straight):
        packs = [(pack.number, [plan.key(sample) for sample in pack.samples]) for pack in plan.step(step).packs]
        assert digest == pages_digest(packs)
    states = list(read_lines(straight / "states.jsonl"))
    assert [line["step"] for line in states] == [4, 9]


def test_full_training_learns_and_its_result_loads(workplace: Workplace) -> None:
    output = workplace.root / "full"
    assert workplace.train(output, "train.lr=0.003", "train.eval_every=5") == 0
    figures = [loss for _, loss in losses(output)]
    assert figures[-1] < figures[0] - 0.5
    model = AutoModelForImageTextToText.from_pretrained(output / "final")
    assert len(AutoTokenizer.from_pretrained(output / "final")) > 900
    evals = list(read_lines(output / "eval.jsonl"))
    assert [(line["step"], line["name"]) for line in evals] == [(4, "held_out"), (9, "held_out")]
    assert evals[1]["loss"] == pytest.approx(plain_loss(workplace, model), rel=1e-6)
    assert evals[1]["loss"] < evals[0]["loss"]
    line = next(read_lines(output / "metrics.jsonl"))
    assert 0 < line["fill_tokens_pct"] <= 100
    assert line["imbalance"] == 1.0


def plain_loss(workplace: Workplace, model: Any) -> float:
    """Hugging Face's own loss over the evaluation pages, pack by pack, weighted by supervised tokens."""
    config = workplace.config(workplace.root / "none")
    plan = plan_from_config(eval_config(config, config.data.eval[0], world_size=1), split="held_out")
    loss_sum, num_tokens = 0.0, 0
    with plan.loader(world=World(), workers=0, prefetch=1, micro_batch_size=1) as loader, torch.no_grad():
        for batch in loader:
            inputs = plan.family.model_inputs(batch, device="cpu", dtype=torch.float32)
            loss_sum += model(**inputs, num_items_in_batch=torch.tensor(1.0)).loss.double().item()
            num_tokens += int((batch["labels"] != -100).sum())
    return loss_sum / num_tokens


def test_qlora_resumes_bit_for_bit(workplace: Workplace) -> None:
    settings = (
        "train.adapter={kind: qlora, r: 64, dropout: 0.1}",  # large enough for 8-bit optimizer state
        "train.optimizer=adamw_8bit",
        "train.gradient_checkpointing=true",
        "train.lr=0.01",
        "train.max_steps=4",
        "train.checkpoint_every=2",
    )
    whole, halves = workplace.root / "qlora", workplace.root / "qlora-halves"
    assert workplace.train(whole, *settings) == 0
    assert workplace.train(halves, *settings, "train.stop_after=2") == 0
    assert workplace.train(halves, *settings) == 0
    assert losses(whole) == losses(halves)
    assert losses(whole)[-1][1] < losses(whole)[0][1]
    assert adapter_bytes(whole) == adapter_bytes(halves)


@pytest.mark.parametrize(
    ("adapter", "name"),
    [("null", "model"), pytest.param("{kind: lora, r: 4}", "adapter_model", marks=pytest.mark.slow)],
)
def test_bfloat16_computes_in_half_and_keeps_what_is_trained_whole(
    workplace: Workplace, adapter: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole, half = workplace.root / f"{name}-f32", workplace.root / f"{name}-bf16"
    settings = (f"train.adapter={adapter}", "train.max_steps=2", "data.eval=[]", "train.lr=0.001")
    assert workplace.train(whole, *settings) == 0
    assert workplace.train(half, *settings, "model.dtype=bfloat16") == 0
    assert [text for text in caplog.messages if text.startswith("model.dtype:")] == [
        "model.dtype: bfloat16 is 20 to 70 times slower than float32 on a CPU; use auto"
    ]
    assert [loss for _, loss in losses(half)] == pytest.approx([loss for _, loss in losses(whole)], rel=3e-3)
    kept = load_file(half / "checkpoints" / "step-00000002" / f"{name}.safetensors")
    assert {tensor.dtype for tensor in kept.values()} == {torch.float32}
    final = load_file(half / "final" / f"{name}.safetensors")
    assert {tensor.dtype for tensor in final.values()} == {torch.bfloat16}


def test_damaged_newest_checkpoint_is_passed_over(
    workplace: Workplace, straight: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = workplace.root / "damaged"
    assert workplace.train(output, *LORA, "train.stop_after=8", "train.checkpoint_every=4") == 0
    (output / "checkpoints" / "step-00000008" / "optimizer.bin").write_bytes(b"torn")
    capfd.readouterr()
    assert workplace.train(output, *LORA, "train.checkpoint_every=4") == 0
    printed = capfd.readouterr().out
    assert "optimizer.bin: expected" in printed
    assert "passed over" in printed
    assert "continuing from" in printed
    assert "step-00000004" in printed
    assert losses(output) == losses(straight)
    assert adapter_bytes(output) == adapter_bytes(straight)


def test_finished_run_started_again_changes_nothing(workplace: Workplace, straight: Path) -> None:
    before = adapter_bytes(straight), (straight / "metrics.jsonl").read_bytes()
    assert workplace.train(straight, *LORA) == 0
    assert (adapter_bytes(straight), (straight / "metrics.jsonl").read_bytes()) == before


@pytest.mark.parametrize(
    ("settings", "status", "message"),
    [
        (("data.seed=1",), 1, "seed"),
        (("train.resume=never",), 2, "already holds checkpoints and train.resume is never"),
        (("train.world_size=2",), 1, "train.world_size: expected 2 processes, found 1"),
        (("train.max_steps=null",), 2, "train.max_steps and data.epochs are both unset"),
        (("train.learning_rate=1",), 2, "train.learning_rate: unknown key"),
    ],
)
def test_refusals(
    workplace: Workplace,
    straight: Path,
    capfd: pytest.CaptureFixture[str],
    settings: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    assert workplace.train(straight, *LORA, *settings) == status
    assert message in capfd.readouterr().err


def test_failed_pages_are_listed_once_and_too_many_stop_the_run(
    workplace: Workplace, capfd: pytest.CaptureFixture[str]
) -> None:
    shards, bad_keys = workplace.damaged_shards()
    output = workplace.root / "quarantine"
    data = f"data.train=[{{path: {shards}}}]"
    assert workplace.train(output, data, "data.max_bad_fraction=0.5", "train.stop_after=5") == 0
    assert workplace.train(output, data, "data.max_bad_fraction=0.5") == 0
    lines = list(read_lines(output / "quarantine.jsonl"))
    assert sorted(line["key"] for line in lines) == sorted(bad_keys)
    assert all(line["reason"] for line in lines)
    capfd.readouterr()
    assert workplace.train(workplace.root / "stopped", data, "data.max_bad_fraction=0.0") == 1
    assert "pages failed, more than data.max_bad_fraction 0.0" in capfd.readouterr().err


def test_the_mix_is_logged_as_it_was_trained(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    """Two thirds of the tokens from one dataset, one third from the other, over the whole run."""
    sets = [f"{{path: {workplace.root / name}, name: {name}, weight: {weight}}}" for name, weight in MIXED]
    output = workplace.root / "mixed"
    settings = (f"data.train=[{', '.join(sets)}]", "data.weights_in=tokens", "data.eval=[]", "train.log_every=5")
    assert workplace.train(output, *settings) == 0
    lines = list(read_lines(output / "metrics.jsonl"))
    plan = plan_from_config(workplace.config(output, *settings))
    for line in lines:
        tokens = [0, 0]
        for step in range(line["step"] - 4, line["step"] + 1):
            for pack in plan.step(step).packs:
                for sample, count in zip(pack.samples, pack.tokens, strict=True):
                    tokens[plan.locate(sample)[0]] += count
        assert line["mix_tokens_pct/shards"] == pytest.approx(100 * tokens[0] / sum(tokens))
        assert line["mix_tokens_pct/shards"] + line["mix_tokens_pct/shards-eval"] == pytest.approx(100)
    mean = sum(line["mix_tokens_pct/shards"] for line in lines) / len(lines)
    assert mean == pytest.approx(66.7, abs=10)  # a page is 5 % of these few steps
    assert "tokens of shards" in capfd.readouterr().out


MIXED = [("shards", 2), ("shards-eval", 1)]
