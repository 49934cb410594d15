"""The average of the weights: its values by hand, in checkpoints, in evaluation and in the result.

Spans: train.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import nn

from tests.helpers.training import Workplace
from wdstream.config.ema import EmaConfig
from wdstream.errors import ConfigError, TrainError
from wdstream.storage.json_lines import read_lines
from wdstream.train.model.ema import EMA_FILE, AverageWeights, require_averaged


def make_layer() -> nn.Linear:
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    return layer


@pytest.fixture
def accelerator() -> Accelerator:
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=True)


@pytest.mark.parametrize(("decay", "every", "from_step"), [(0.9, 1, 0), (0.5, 1, 3), (0.9, 2, 0), (0.99, 3, 2)])
def test_values_are_those_of_numpy(
    accelerator: Accelerator, tmp_path: Path, decay: float, every: int, from_step: int
) -> None:
    layer = make_layer()
    average = AverageWeights(layer, accelerator, EmaConfig(decay=decay, every=every, from_step=from_step))
    assert average.restore(0, None)
    history = [layer.weight.detach().numpy().astype(np.float64).copy()]  # before step 0, 1, ...
    for step in range(8):
        with torch.no_grad():
            layer.weight.add_(torch.randn(2, 3))
        history.append(layer.weight.detach().numpy().astype(np.float64).copy())
        average.update(step)
    wanted = history[from_step]
    for done in range(from_step + 1, 9):
        if (done - from_step) % every == 0:
            wanted = decay * wanted + (1 - decay) * history[done]
    average.write(tmp_path)
    saved = load_file(tmp_path / EMA_FILE)
    assert saved.keys() == {"weight"}  # and not what is frozen
    assert saved["weight"].dtype == torch.float32
    np.testing.assert_allclose(saved["weight"].numpy(), wanted, rtol=0, atol=1e-6)


def test_weights_are_their_own_again_after_use(accelerator: Accelerator) -> None:
    layer = make_layer()
    average = AverageWeights(layer, accelerator, EmaConfig(decay=0.5, eval_with="ema"))
    average.restore(0, None)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1)
    average.update(0)
    after = layer.weight.detach().clone()
    with average.in_use("final_with"):
        assert torch.equal(layer.weight, after)
    for _ in range(2):
        with average.in_use("eval_with"):
            torch.testing.assert_close(layer.weight.detach(), before + 0.5)
        assert torch.equal(layer.weight, after)


def test_before_it_begins_there_is_none(accelerator: Accelerator, tmp_path: Path) -> None:
    layer = make_layer()
    average = AverageWeights(layer, accelerator, EmaConfig(from_step=5, eval_with="ema"))
    assert average.restore(0, None)
    average.write(tmp_path)
    assert not list(tmp_path.iterdir())
    with average.in_use("eval_with"):
        assert layer.weight.requires_grad


def test_checkpoints_without_it_and_of_other_weights(accelerator: Accelerator, tmp_path: Path) -> None:
    layer = make_layer()
    average = AverageWeights(layer, accelerator, EmaConfig())
    assert not average.restore(3, tmp_path)  # an earlier start should have kept one
    average.write(tmp_path)
    both = AverageWeights(nn.Linear(3, 2), accelerator, EmaConfig())
    with pytest.raises(TrainError, match=r"ema.safetensors is not of the weights that this start trains"):
        both.restore(3, tmp_path)


def test_weights_of_another_shape(accelerator: Accelerator, tmp_path: Path) -> None:
    average = AverageWeights(nn.Linear(3, 2), accelerator, EmaConfig())
    average.restore(0, None)
    average.write(tmp_path)
    with pytest.raises(TrainError, match=r"ema.safetensors is not of the weights that this start trains"):
        AverageWeights(nn.Linear(4, 2), accelerator, EmaConfig()).restore(3, tmp_path)


def test_it_begins_before_its_step_though_the_one_before_was_passed_over(accelerator: Accelerator) -> None:
    """As in a start that continues there."""
    layer = make_layer()
    before = layer.weight.detach().clone()
    average = AverageWeights(layer, accelerator, EmaConfig(decay=0.5, from_step=2, eval_with="ema"))
    average.restore(0, None)
    average.update(1, is_skipped=True)
    with torch.no_grad():
        layer.weight.add_(1)
    average.update(2)
    average.update(3, is_skipped=True)
    with average.in_use("eval_with"):
        torch.testing.assert_close(layer.weight.detach(), before + 0.5)


def test_an_average_of_no_step_is_refused() -> None:
    require_averaged(EmaConfig(from_step=3), 4)
    require_averaged(EmaConfig(from_step=300), None)
    require_averaged(None, 4)
    for late in (EmaConfig(from_step=4), EmaConfig(every=5)):
        with pytest.raises(ConfigError, match=r"train.ema: the run has 4 steps, and the first .* is number 5"):
            require_averaged(late, 4)


COMMON = ("train.max_steps=4", "train.checkpoint_every=2", "train.eval_every=2", "train.lr=0.01")
LORA = "train.adapter={kind: lora, r: 4, dropout: 0.1}"


def figures(output: Path, name: str) -> list[float]:
    return [line["loss"] for line in read_lines(output / f"{name}.jsonl")]


@pytest.mark.slow
def test_a_run_resumes_bit_for_bit_and_is_the_same_run(workplace: Workplace, tmp_path: Path) -> None:
    """Evaluated and exported with the average, while training notices nothing."""
    ema = "train.ema={decay: 0.6, from_step: 1, eval_with: ema, final_with: ema}"
    plain, whole, halves = (tmp_path / name for name in ("plain", "whole", "halves"))
    assert workplace.train(plain, *COMMON, LORA) == 0
    assert workplace.train(whole, *COMMON, LORA, ema) == 0
    assert workplace.train(halves, *COMMON, LORA, ema, "train.stop_after=2") == 0
    assert workplace.train(halves, *COMMON, LORA, ema) == 0
    assert figures(whole, "metrics") == figures(plain, "metrics") == figures(halves, "metrics")
    assert figures(whole, "eval") == figures(halves, "eval")
    assert figures(whole, "eval")[-1] != figures(plain, "eval")[-1]
    newest = "checkpoints/step-00000004"
    for name in ("adapter_model.safetensors", EMA_FILE):
        assert (whole / newest / name).read_bytes() == (halves / newest / name).read_bytes()
    assert not (plain / newest / EMA_FILE).exists()
    final, average = load_file(whole / "final/adapter_model.safetensors"), load_file(whole / newest / EMA_FILE)
    assert {name.replace(".default", "") for name in average} == final.keys()
    assert all(torch.equal(final[name.replace(".default", "")], tensor) for name, tensor in average.items())
    trained = load_file(whole / newest / "adapter_model.safetensors")
    assert not all(torch.equal(final[name], trained[name]) for name in final)
