"""Kernels of other packages: refused in one line where they are absent; where liger-kernel is there, the same gradient.

Its kernels run on a CPU in Triton's interpreter, each comparison in a process of its own.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.helpers.training import Workplace, make_config
from wdstream.commands.app import app
from wdstream.config.schema import Config, ModelConfig
from wdstream.errors import ConfigError
from wdstream.families.registry import FAMILIES
from wdstream.train.model.kernels import require_kernel_device, require_kernels, take_kernels

HAS_LIGER = find_spec("liger_kernel") is not None and find_spec("triton") is not None
COMPARE = """
import sys

import torch
from transformers import AutoModelForImageTextToText

from tests.helpers.triton_interpreter import mend_interpreter
from wdstream.batches.collate import collate, encode_pack
from wdstream.config.schema import ModelConfig
from wdstream.families.registry import load_family
from wdstream.testing import make_samples
from wdstream.train.model.kernels import describe_kernels, take_kernels
from wdstream.train.step.loss import LossHead, find_targets

mend_interpreter()
path = sys.argv[1]
family = load_family(path)
attention = "sdpa" if "sdpa" in family.attention else "eager"
family = family.for_attention(attention)
batch = collate([encode_pack(make_samples(family)[:2], family)], family)
inputs = family.model_inputs(batch, device="cpu", dtype=torch.float32)
inputs.pop("labels")
found = []
for kernels in ("none", "liger"):
    model = AutoModelForImageTextToText.from_pretrained(
        path, dtype=torch.float32, attn_implementation=family.attention_setting(attention)
    ).train()
    take_kernels(model, ModelConfig(path=path, kernels=kernels), torch.device("cpu"))
    loss = LossHead(model).loss_sum(model, inputs, find_targets(batch.labels))
    loss.backward()
    grads = [torch.zeros(1) if one.grad is None else one.grad.flatten() for one in model.parameters()]
    found.append((loss.item(), torch.cat(grads)))
(loss, gradient), (own, ours) = found
assert abs(own - loss) <= 1e-6 * loss, (own, loss)
assert (ours - gradient).norm() <= 1e-5 * gradient.norm(), float((ours - gradient).norm() / gradient.norm())
print(describe_kernels(model))
"""


def model_of(kernels: str, path: Path = Path("none")) -> ModelConfig:
    return ModelConfig.of({"path": str(path), "kernels": kernels})


@pytest.mark.skipif(HAS_LIGER, reason="liger-kernel is installed")
def test_without_its_package_liger_is_refused_by_name(workplace: Workplace) -> None:
    with pytest.raises(ConfigError, match=r"model\.kernels: liger needs liger_kernel .*'wdstream\[liger\]'"):
        require_kernels(model_of("liger"))
    done = CliRunner().invoke(app, ["plan", str(workplace.config_file), "--set", "model.kernels=liger"])
    assert isinstance(done.exception, ConfigError) or "wdstream[liger]" in done.output
    require_kernels(model_of("none"))


def test_the_hub_needs_a_version_that_transformers_takes() -> None:
    from transformers.utils.import_utils import is_kernels_available

    if is_kernels_available():
        require_kernels(model_of("hub"))
        return
    with pytest.raises(ConfigError, match=r"kernels: hub: transformers [\d.]+ needs the package kernels, [\d.]+ or"):
        require_kernels(model_of("hub"))


def test_a_cpu_runs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    require_kernel_device(model_of("none"), torch.device("cpu"))
    require_kernel_device(model_of("liger"), torch.device("cuda"))
    with pytest.raises(ConfigError, match=r"model\.kernels: liger needs a GPU"):
        require_kernel_device(model_of("liger"), torch.device("cpu"))


def test_a_run_is_refused_before_its_weights_are_loaded(workplace: Workplace, tmp_path: Path) -> None:
    assert workplace.train(tmp_path / "run", "model.kernels=liger", "model.path=" + str(workplace.root / "model")) == 2
    assert not (tmp_path / "run" / "run.json").exists()


def test_they_are_not_compiled() -> None:
    tree = make_config(Path("none")).model_dump(mode="json")
    tree["model"]["kernels"], tree["data"]["pad_to"], tree["train"]["compile"] = "liger", "full", True
    with pytest.raises(ConfigError, match=r"train\.compile: with model\.kernels: liger"):
        Config.of(tree)


@pytest.mark.skipif(not HAS_LIGER, reason="liger-kernel or Triton is not installed")
def test_a_model_without_such_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="Linear has no RMSNorm and no gated MLP"):
        take_kernels(torch.nn.Linear(2, 2), model_of("liger"), torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.skipif(not HAS_LIGER, reason="liger-kernel or Triton is not installed")
@pytest.mark.parametrize("name", FAMILIES)
def test_the_gradient_is_the_same(name: str, tiny_models: dict[str, Path]) -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", COMPARE, str(tiny_models[name])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("model.kernels: liger computes ")
