"""Compiled layers: the same losses and gradients, one graph for all layers, none made after the first step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch._dynamo.utils import counters
from transformers import AutoConfig

from tests.helpers.processes import run_world
from tests.helpers.training import TRAIN, Workplace, arguments
from wdstream.batches.collate import encode_pack
from wdstream.batches.form import BatchForm
from wdstream.config.schema import Config
from wdstream.errors import ConfigError
from wdstream.families.registry import FAMILIES, load_family
from wdstream.proofs.isolation import random_model
from wdstream.storage.json_lines import read_lines
from wdstream.testing import make_samples
from wdstream.train.model.adapter import add_adapter
from wdstream.train.model.checkpointing import enable_checkpointing
from wdstream.train.model.compiling import check_compile, compile_layers, require_compiler
from wdstream.train.step.loss import LossHead, find_targets

QUICK = ("qwen2_5_vl",)
COMPILED: dict[str, Any] = {"compile": True, "compile_backend": "aot_eager"}
Figures = list[tuple[float, torch.Tensor]]


def make_config(path: str = "m", *, attn: str = "sdpa", pad_to: str = "full", **train: Any) -> Config:
    data = {"train": [{"path": "none"}], "pad_to": pad_to}
    return Config.model_validate({"model": {"path": path, "attn": attn}, "data": data, "train": train})


def figures(path: Path, config: Config, *, length: int) -> tuple[Figures, list[int]]:
    """Losses and gradients of batches of other documents and images, and how many graphs there were after each."""
    torch._dynamo.reset()
    counters.clear()
    family = load_family(path)
    family = family.for_attention("sdpa" if "sdpa" in family.attention else "eager")
    setting = family.attention_setting("sdpa" if "sdpa" in family.attention else "eager")
    model: Any = random_model(AutoConfig.from_pretrained(path), seed=0, attn=setting).train()
    torch.manual_seed(1)
    model = model if config.train.adapter is None else add_adapter(model, config.train.adapter, path)
    head = LossHead(model)
    enable_checkpointing(model, config.train.gradient_checkpointing)
    compile_layers(model, config)
    samples, found, graphs = make_samples(family), list[Any](), list[int]()
    for part in (samples[:2], samples[1:3], samples[2:3], [samples[1]] * 3):
        batch = BatchForm(row_length=length).batch([encode_pack(part, family)], family)
        inputs = family.model_inputs(batch, device="cpu", dtype=torch.float32)
        inputs.pop("labels")
        model.zero_grad()
        loss = head.loss_sum(model, inputs, find_targets(batch.labels))
        loss.backward()
        grads = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
        found.append((float(loss.detach()), torch.cat(grads)))
        graphs.append(counters["stats"]["unique_graphs"])
    return found, graphs


def compare(path: Path, *, length: int, tolerance: float = 1e-6, backend: str = "aot_eager", **train: Any) -> None:
    wanted, _ = figures(path, make_config(**train), length=length)
    found, graphs = figures(path, make_config(compile=True, compile_backend=backend, **train), length=length)
    for (loss, gradient), (plain_loss, plain) in zip(found, wanted, strict=True):
        assert loss == pytest.approx(plain_loss, rel=tolerance)
        assert (gradient - plain).norm() <= 10 * tolerance * plain.norm()
    assert graphs[0] > 0
    assert graphs == graphs[:1] * len(graphs)


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name not in QUICK)]
)
def test_every_family_computes_the_same_and_is_compiled_once(name: str, tiny_models: dict[str, Path]) -> None:
    compare(tiny_models[name], length=2048 if name in ("paligemma", "paligemma2") else 1536)


@pytest.mark.slow
@pytest.mark.parametrize("way", [True, "selective", {"layers": 1}])
def test_with_checkpointing(way: object, tiny_model: Path) -> None:
    compare(tiny_model, length=1536, gradient_checkpointing=way)


@pytest.mark.slow
def test_with_an_adapter(tiny_model: Path) -> None:
    compare(tiny_model, length=1536, adapter={"kind": "lora", "r": 4})


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method. is deprecated"
)  # of PyTorch itself, as inductor is loaded
def test_kernels_of_inductor(tiny_model: Path) -> None:
    compare(tiny_model, length=1536, backend="inductor", tolerance=1e-5)


@pytest.mark.slow
def test_a_run_with_compiled_layers_is_the_same_run(workplace: Workplace, tmp_path: Path) -> None:
    """Its check for documents that see each other runs through compiled layers, too."""
    losses = []
    for name, settings in (("plain", ()), ("compiled", ("train.compile=true", "train.compile_backend=aot_eager"))):
        torch._dynamo.reset()
        short = ("data.pad_to=full", "train.max_steps=3", "train.lr=1e-3", "data.eval=[]")
        assert workplace.train(tmp_path / name, *short, *settings) == 0
        losses.append([line["loss"] for line in read_lines(tmp_path / name / "metrics.jsonl")])
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


@pytest.mark.slow
def test_two_processes_train_the_same_compiled(workplace: Workplace, tmp_path: Path) -> None:
    losses = []
    for name, settings in (("plain", ()), ("compiled", ("train.compile=true", "train.compile_backend=aot_eager"))):
        short = ("data.pad_to=full", "train.max_steps=3", "data.eval=[]", *settings)
        run_world(TRAIN, arguments(workplace, tmp_path / name, *short), size=2)
        losses.append([line["loss"] for line in read_lines(tmp_path / name / "metrics.jsonl")])
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pad_to": "longest", **COMPILED}, r"train\.compile needs rows of one length: set data\.pad_to: full"),
        ({"attn": "flash_attention_2", **COMPILED}, r"train\.compile: with model\.attn: flash_attention_2"),
        ({"adapter": {"kind": "qlora"}, **COMPILED}, r"train\.compile: 4-bit layers"),
        ({"compile_backend": "aot_eager"}, r"train\.compile_backend means nothing without train\.compile"),
    ],
)
def test_what_it_cannot_be_combined_with(settings: dict[str, Any], said: str) -> None:
    tree = {"model": {"path": "m"}, "data": {"train": [{"path": "none"}], "pad_to": settings.pop("pad_to", "full")}}
    tree["model"]["attn"] = settings.pop("attn", "sdpa")
    with pytest.raises(ConfigError, match=said):
        Config.of({**tree, "train": settings})


def test_sharded_runs_are_refused() -> None:
    accelerator = Accelerator(cpu=True)
    check_compile(make_config(**COMPILED), accelerator)
    accelerator.state.distributed_type = DistributedType.FSDP
    try:
        with pytest.raises(ConfigError, match=r"train\.compile: under FSDP"):
            check_compile(make_config(**COMPILED), accelerator)
    finally:
        accelerator.state.distributed_type = DistributedType.NO


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_compiler(torch.device("cpu"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match="needs a C\\+\\+ compiler, and there is no no-such-compiler"):
        require_compiler(torch.device("cpu"))
