"""Options whose effect no other test shows by a run: rates, moments, clipping, freezing, dropout, what is printed.

Spans: train, runs.
"""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.helpers.training import Workplace
from wdstream.storage.json_lines import read_lines

THREE = ("train.max_steps=3", "data.eval=[]", "train.checkpoint_every=100")
LORA = "train.adapter={kind: lora, r: 4}"


def lines_of(workplace: Workplace, output: Path, *settings: str) -> list[dict[str, float]]:
    assert workplace.train(output, *THREE, *settings) == 0
    return list(read_lines(output / "metrics.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        (("train.min_lr_ratio=0",), [1.0, 0.5, 0.0]),
        (("train.schedule=linear", "train.min_lr_ratio=0.5"), [1.0, 0.75, 0.5]),
        (("train.warmup_ratio=0.6", "train.schedule=constant"), [1 / 3, 2 / 3, 1.0]),
        (("train.schedule=warmup_stable_decay", "train.decay_steps=1", "train.min_lr_ratio=0"), [1.0, 1.0, 0.0]),
        (("train.schedule=warmup_stable_decay", "train.decay_ratio=0.6", "train.min_lr_ratio=0"), [1.0, 0.5, 0.0]),
    ],
)
def test_rates(settings: tuple[str, ...], rates: list[float], workplace: Workplace, tmp_path: Path) -> None:
    found = [line["lr"] for line in lines_of(workplace, tmp_path / "run", "train.lr=0.001", LORA, *settings)]
    assert found == pytest.approx([0.001 * rate for rate in rates])


@pytest.mark.slow
def test_moments_and_frozen_parts(workplace: Workplace, tmp_path: Path) -> None:
    """Without averages AdamW's update is the sign of the gradient; a large eps leaves next to nothing of it."""
    begin = load_file(workplace.root / "model" / "model.safetensors")
    frozen = ("train.freeze_vision=true", "train.lr=0.001", "train.schedule=constant")
    moved = {}
    for name, settings in {"signs": ("train.betas=[0.0, 0.0]",), "eps": ("train.eps=1000",)}.items():
        lines_of(workplace, tmp_path / name, *frozen, *settings)
        final = load_file(tmp_path / name / "final" / "model.safetensors")
        difference = {weight: (final[weight] - begin[weight]).abs().max().item() for weight in final}
        assert {value for weight, value in difference.items() if "visual." in weight} == {0.0}
        moved[name] = max(difference.values())
    assert moved["signs"] == pytest.approx(0.003, rel=1e-3)  # three steps of one sign
    assert 0 < moved["eps"] < 1e-5


@pytest.mark.slow
def test_clipping_and_dropout(workplace: Workplace, tmp_path: Path) -> None:
    quick = (LORA, "train.lr=0.01", "train.schedule=constant")
    plain = lines_of(workplace, tmp_path / "plain", *quick, "train.max_grad_norm=null")
    clipped = lines_of(workplace, tmp_path / "clipped", *quick, "train.max_grad_norm=1.0e-9")
    dropped = lines_of(
        workplace, tmp_path / "dropped", *quick[1:], "train.adapter={r: 4, dropout: 0.5}", "train.max_grad_norm=null"
    )
    assert {line["clipped_pct"] for line in plain} == {0.0} and {line["clipped_pct"] for line in clipped} == {100.0}
    losses = [[line["loss"] for line in lines] for lines in (plain, clipped, dropped)]
    assert losses[0][0] == losses[1][0] == losses[2][0]  # an adapter begins at nothing
    assert losses[0][2] < losses[1][2]  # AdamW moves by less where eps outweighs the gradient
    assert losses[0][1:] != losses[2][1:]


def test_lines_of_json(workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines_of(workplace, tmp_path / "run", LORA, "train.log_format=json", "train.log_every=2")
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    steps = [line["step"] for line in printed if line["event"] == "step"]
    assert steps == [1, 2] and printed[-1]["message"].startswith("finished after 3 steps")
