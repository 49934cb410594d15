"""Warm start: a new run begins with the weights of another, at step 0 of its own data.

Spans: train, runs.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.training import Workplace
from wdstream.storage.json_lines import read_lines
from wdstream.train.saving.export_run import export_run

# All pages in each step: whatever their order, the loss of the same weights is the same.
ALL = (
    "data.global_batch_size=1",
    "data.sequence_length=1048576",
    "data.max_patches=1048576",
    "data.pool=64",
    "data.epochs=9",
)
STEADY = (
    "train.min_lr_ratio=1",
    "train.lr=0.01",
    "data.eval=[]",
    "train.checkpoint_every=1",
    "train.keep_checkpoints=9",
)
LORA = "train.adapter={kind: lora, r: 4}"


def losses(output: Path) -> list[float]:
    return [line["loss"] for line in read_lines(output / "metrics.jsonl")]


class Sources(dict[str, Path]):
    """Adapter setting -> a run of three steps; its fourth loss is what its third checkpoint begins with."""

    def __init__(self, workplace: Workplace) -> None:
        super().__init__()
        self.workplace = workplace

    def __missing__(self, adapter: str) -> Path:
        self[adapter] = self.workplace.root / f"source-{len(self)}"
        assert begin(self.workplace, self[adapter], adapter, "train.max_steps=4") == 0
        return self[adapter]


def begin(workplace: Workplace, output: Path, *settings: str) -> int:
    return workplace.train(
        output, *ALL, *STEADY, "data.train=[{path: %s}]" % (workplace.root / "shards-eval"), *settings
    )


@pytest.fixture(scope="module")
def sources(workplace: Workplace) -> Sources:
    return Sources(workplace)


@pytest.mark.parametrize("adapter", ["train.adapter=null", pytest.param(LORA, marks=pytest.mark.slow)])
def test_it_continues_from_a_checkpoint_with_its_optimizer(adapter: str, sources: Sources, tmp_path: Path) -> None:
    source = sources[adapter]
    wanted = losses(source)
    assert len({round(loss, 3) for loss in wanted}) == 4
    checkpoint = source / "checkpoints" / "step-00000002"
    output = tmp_path / "run"
    settings = (adapter, "train.max_steps=2", f"model.init={checkpoint}")
    assert begin(sources.workplace, output, *settings, "model.init_optimizer=true") == 0
    assert losses(output) == pytest.approx(wanted[2:], rel=1e-5)
    kind = "weights" if "null" in adapter else "adapter"
    assert json.loads((output / "run.json").read_text())["init"] == {"path": str(checkpoint), "kind": kind, "step": 2}
    cold = tmp_path / "cold"
    assert begin(sources.workplace, cold, *settings) == 0
    assert losses(cold)[0] == losses(output)[0]
    assert losses(cold)[1] != pytest.approx(wanted[3], rel=1e-5)


@pytest.mark.slow
def test_it_begins_from_final_a_run_or_a_model(sources: Sources, tmp_path: Path) -> None:
    full, lora = sources["train.adapter=null"], sources[LORA]
    first = {}
    for name, source, adapter in (
        ("final", full / "final", "train.adapter=null"),
        ("run", full, "train.adapter=null"),
        ("adapter", lora / "final", LORA),
        ("adapter of a run", lora, LORA),
        ("merged", lora / "final", "train.adapter=null"),
        ("merged of a run", lora, "train.adapter=null"),
    ):
        assert begin(sources.workplace, tmp_path / name, adapter, "train.max_steps=1", f"model.init={source}") == 0
        (first[name],) = losses(tmp_path / name)
    assert first["final"] == first["run"] != pytest.approx(losses(full)[3], rel=1e-3)
    assert first["adapter"] == first["adapter of a run"] != pytest.approx(losses(lora)[3], rel=1e-3)
    assert first["merged"] == first["merged of a run"] == pytest.approx(first["adapter"], rel=1e-5)
    export_run(lora, tmp_path / "exported", merge=True)
    settings = (LORA, "train.max_steps=1", f"model.path={tmp_path / 'exported'}")
    assert begin(sources.workplace, tmp_path / "on merged", *settings) == 0
    assert losses(tmp_path / "on merged") == pytest.approx([first["adapter"]], rel=1e-5)


@pytest.mark.slow
def test_a_resume_does_not_look_at_it(sources: Sources, tmp_path: Path) -> None:
    source = shutil.copytree(sources[LORA] / "final", tmp_path / "source")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    settings = (LORA, "train.max_steps=3", f"model.init={source}")
    assert begin(sources.workplace, whole, *settings) == 0
    assert begin(sources.workplace, halves, *settings, "train.stop_after=1") == 0
    shutil.rmtree(source)
    assert begin(sources.workplace, halves, *settings) == 0
    assert losses(halves) == losses(whole)
    assert json.loads((halves / "run.json").read_text())["init"]["kind"] == "adapter"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            (LORA, "model.init=FULL/final"),
            "holds whole weights, and train.adapter trains an adapter over frozen ones",
        ),
        (("train.adapter={kind: lora, r: 8}", "model.init=RUN"), "its adapter has r 4, and train.adapter 8"),
        (("model.init=FULL/final", "model.init_optimizer=true"), "final: has no optimizer"),
        (("train.adapter={kind: qlora, r: 4}", "model.init=RUN"), "was trained as lora, over other values of the base"),
        (
            ("model.init=FULL", "model.init_optimizer=true", "train.optimizer=adafactor"),
            "its optimizer is adamw, and train.optimizer adafactor",
        ),
        (("model.init=FULL", "train.resume=FULL/checkpoints/step-00000001"), "model.init and train.resume both name"),
        (("model.init_optimizer=true",), "its state comes from the checkpoint that init names"),
        (("model.init=FULL/eval.jsonl",), "holds no run, checkpoint"),
        (("model.init=RUN", "model.init_optimizer=true"), "is of other parameters (groups of"),
    ],
)
def test_refusals(
    settings: tuple[str, ...], message: str, sources: Sources, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = {"FULL": sources["train.adapter=null"], "RUN": sources[LORA]}
    chosen = [text.replace("FULL", str(paths["FULL"])).replace("RUN", str(paths["RUN"])) for text in settings]
    assert begin(sources.workplace, tmp_path / "run", *chosen) == 2
    assert message in capfd.readouterr().err


def test_a_damaged_checkpoint_and_another_model_are_refused(
    sources: Sources, tmp_path: Path, tiny_models: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(sources["train.adapter=null"], tmp_path / "source")
    (run / "checkpoints" / "step-00000004" / "model.safetensors").write_bytes(b"short")
    assert begin(sources.workplace, tmp_path / "one", f"model.init={run}") == 1
    assert "model.safetensors: expected" in capfd.readouterr().err
    assert begin(sources.workplace, tmp_path / "two", f"model.init={tiny_models['qwen2_5_vl']}") == 2
    assert "has other ids for tokens" in capfd.readouterr().err
