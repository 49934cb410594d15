"""`data.pad_to: full`: a run over rows of one length has the losses of one over rows as long as their packs.

Spans: train, commands.
"""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from typer.testing import CliRunner

from tests.helpers.training import Workplace
from wdstream.commands.app import app
from wdstream.config.build import plan_from_config
from wdstream.storage.json_lines import read_lines
from wdstream.train.step.blank import batch_form

SHORT = ("train.max_steps=3", "train.record_bytes=true", "train.lr=1e-3")


def test_the_run_is_the_same_run(workplace: Workplace, tmp_path: Path) -> None:
    found = {}
    for name, settings in (("longest", ()), ("full", ("data.pad_to=full",))):
        assert workplace.train(tmp_path / name, *SHORT, *settings) == 0
        steps = list(read_lines(tmp_path / name / "metrics.jsonl"))
        report = list(read_lines(tmp_path / name / "eval.jsonl"))
        ledger = list(read_lines(tmp_path / name / "steps.jsonl"))
        found[name] = (
            [step["loss"] for step in steps],
            [step["grad_norm"] for step in steps],
            [line["loss"] for line in report],
            [line["sha256"] for line in ledger if "sha256" in line],
        )
    longest, full = found["longest"], found["full"]
    assert len(full[3]) == 3
    assert full[3] == longest[3]
    assert full[0] == pytest.approx(longest[0], rel=1e-6)
    assert full[1] == pytest.approx(longest[1], rel=1e-5)
    assert full[2] == pytest.approx(longest[2], rel=1e-6)


VARIED = ("data.sequence_length=1024", "data.max_patches=512")


def test_all_batches_of_a_run_have_one_shape(workplace: Workplace, tmp_path: Path) -> None:
    """Over 50 steps, whose packs have other documents and images each; but for the list of images and their sizes."""
    found: dict[str, set[str]] = {}
    for pad_to in ("longest", "full"):
        config = workplace.config(tmp_path, f"data.pad_to={pad_to}", "train.max_steps=50", *VARIED)
        plan = plan_from_config(config)
        loader = plan.loader(form=batch_form(config, plan.family))
        batches = list(islice(loader, 50))
        assert len(batches) == 50
        shapes = [
            {name: tuple(one.shape) for name, one in batch.items() if isinstance(one, Tensor)} for batch in batches
        ]
        documents = {len(row) for batch in batches for row in batch.lengths}
        found[pad_to] = {str({**shape, "image_grid_thw": None}) for shape in shapes}
        assert all(shape["image_grid_thw"][0] % 16 == 0 for shape in shapes) or pad_to == "longest"
    assert len(documents) > 1
    assert len(found["longest"]) > 10
    assert len(found["full"]) == 1
    assert "'cu_seq_lens_q': (19,)" in found["full"].pop()  # data.pool: 16


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method. is deprecated"
)  # of PyTorch itself, as inductor is loaded
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_run_makes_no_graph_after_its_first_step(workplace: Workplace, tmp_path: Path, backend: str) -> None:
    """Language model and vision tower over 50 steps of other documents and images; the losses are the plain run's."""
    settings = ("data.pad_to=full", "data.eval=[]", "train.lr=1e-4", "train.adapter=null", *VARIED)
    compiled = (*settings, "train.compile=true", f"train.compile_backend={backend}")
    graphs, losses = [], []
    for name, more, steps in (("plain", settings, 50), ("first", compiled, 1), ("all", compiled, 50)):
        torch._dynamo.reset()
        counters.clear()
        assert workplace.train(tmp_path / name, *more, f"train.max_steps={steps}") == 0
        graphs.append(counters["stats"]["unique_graphs"])
        losses.append([line["loss"] for line in read_lines(tmp_path / name / "metrics.jsonl")])
    assert graphs[0] == 0 < graphs[1] == graphs[2]
    assert len(losses[0]) == 50
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)


def test_plan_says_how_much_is_padding(workplace: Workplace) -> None:
    command = ["plan", str(workplace.config_file), "--set", "data.pad_to=full", "--set", "data.epochs=1"]
    said = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)
    assert said["row_length"] == 1088
    assert said["padding"] == pytest.approx(1 - said["tokens"] / (said["packs"] * 1088))
    shown = CliRunner().invoke(app, command).output
    assert f"data.pad_to: full: rows of 1,088 tokens, {said['padding']:.2%} are padding" in " ".join(shown.split())
    assert "padding" not in CliRunner().invoke(app, command[:2]).output
