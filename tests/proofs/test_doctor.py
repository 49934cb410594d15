"""The doctor passes a good checkpoint, and names what is wrong with a bad one."""

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from wdstream.commands.app import app
from wdstream.errors import ConfigError
from wdstream.families.qwen_vl import QwenVL
from wdstream.families.registry import load_family
from wdstream.families.shared.squares import AspectGrid
from wdstream.proofs import doctor
from wdstream.proofs.doctor import Check, DoctorReport, narrow_model, run_doctor


@pytest.fixture(scope="module")
def model(tiny_models: dict[str, Path]) -> Path:
    return tiny_models["qwen2_5_vl"]


def failures(path: Path, **settings: Any) -> dict[str, str]:
    report = run_doctor(path, **settings)
    assert not report.ok
    return {check.name: check.found for check in report.checks if not check.ok}


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_a_good_checkpoint_passes(name: str, tiny_models: dict[str, Path]) -> None:
    report = run_doctor(tiny_models[name])
    assert report.ok, [check for check in report.checks if not check.ok]
    assert [check.name for check in report.checks] == [
        *("family", "attention", "page text", "checkpoint"),
        *("tiled: lengths", "tiled: processor", "tiled: packing", "untiled"),
    ]
    console = Console(record=True, width=120)
    report.print(console)
    printed = console.export_text()
    assert "fit for wdstream" in printed and "leak 0.0e+00" in printed and "two layers" in printed
    assert "as tiled: this model's processor never splits an image" in printed


def test_images_left_whole_are_checked_too(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """InternVL splits them: counted and packed by its rules; a wrong count is a failure with both numbers."""
    path = tiny_models["internvl"]
    report = run_doctor(path)
    assert report.ok, [check for check in report.checks if not check.ok]
    modes = [f"{mode}: {check}" for mode in ("tiled", "untiled") for check in ("lengths", "processor", "packing")]
    assert [check.name for check in report.checks] == ["family", "attention", "page text", "checkpoint", *modes]
    found = {check.name: check.found for check in report.checks}
    version = "InternVLProcessor of transformers "
    assert version in found["tiled: processor"] and version in found["untiled: processor"]
    honest = AspectGrid.grids

    def wider(self: AspectGrid, widths: Any, heights: Any) -> Any:
        columns, rows = honest(self, widths, heights)
        return columns + 1, rows

    monkeypatch.setattr(AspectGrid, "grids", wider)
    failed = failures(path)
    assert set(failed) == {"untiled: processor"}
    assert re.search(
        r"images \[\(60, 90\)\]: planned \d+ tokens, built \d+, \d+ by InternVLProcessor of transformers", str(failed)
    )


def test_flex_attention_needs_no_compiler(tiny_models: dict[str, Path]) -> None:
    report = run_doctor(tiny_models["lighton_ocr"], attn="flex_attention")
    assert report.ok, [check for check in report.checks if not check.ok]


def test_wrong_attention_is_named(model: Path) -> None:
    found = failures(model, attn="flex_attention")
    assert found["attention"].startswith("flex_attention; right for packed qwen2_5_vl: sdpa, eager")
    assert "flex_attention" in found["tiled: packing"]


def test_no_checkpoint(tmp_path: Path) -> None:
    assert "no config.json there" in failures(tmp_path)["family"]
    with pytest.raises(ConfigError, match="`hf download Qwen/Some-VL --local-dir models/Some-VL` gets a model"):
        run_doctor(Path("Qwen/Some-VL"))


def test_a_processor_that_counts_otherwise(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """wdstream believes in another size limit than the processor: the ids differ, and both numbers are shown."""
    copy = Path(shutil.copytree(model, tmp_path / "model"))
    settings = json.loads((copy / "preprocessor_config.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(QwenVL, "rules_version", 2)
    (copy / "preprocessor_config.json").write_text(json.dumps({**settings, "min_pixels": 28 * 28}), encoding="utf-8")
    monkeypatch.setattr(doctor, "load_processor", lambda _: _processor_of(model))
    found = failures(copy)
    assert set(found) == {"tiled: processor"}
    assert "Qwen2_5_VLProcessor of transformers" in found["tiled: processor"]


def _processor_of(path: Path) -> Any:
    from wdstream.families.reference.processor import load_processor

    return load_processor(load_family(path))


def test_a_leak_is_found(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that forgets to restart positions fails the packing check, and nothing else."""
    honest = QwenVL.model_inputs

    def forgetful(self: QwenVL, batch: Any, **settings: Any) -> dict[str, Any]:
        inputs = honest(self, batch, **settings)
        inputs["position_ids"][0] = torch.arange(inputs["input_ids"].shape[1])
        return inputs

    monkeypatch.setattr(QwenVL, "model_inputs", forgetful)
    assert set(failures(model)) == {"tiled: packing"}


def test_the_narrow_model_keeps_the_architecture(model: Path) -> None:
    narrow: Any = narrow_model(load_family(model), "eager")
    assert type(narrow).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert len(narrow.model.language_model.layers) == len(narrow.model.visual.blocks) == 2
    assert narrow.config.text_config.rope_parameters["mrope_section"] == [2, 3, 3]


def test_a_model_that_cannot_be_loaded_has_no_proof_of_packing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")
    report = run_doctor(tmp_path)
    console = Console(record=True, width=120)
    report.print(console)
    printed = console.export_text()
    assert "NOT fit for wdstream" in printed and "Packing" not in printed


def test_what_was_found_is_printed_as_it_is(tmp_path: Path) -> None:
    """Markup of a model, `[/INST]`, is none of the terminal."""
    check = Check(name="lengths", ok=False, found="built [INST] a [/INST]", remedy="report [this]")
    file = io.StringIO()
    DoctorReport(model_dir=tmp_path, checks=(check,)).print(Console(file=file, width=300))
    assert "built [INST] a [/INST]" in file.getvalue()
    assert "report [this]" in file.getvalue()


def test_command_line(model: Path) -> None:
    runner = CliRunner()
    good = runner.invoke(app, ["doctor", str(model), "--family", "qwen2_5_vl", "--attn", "eager"])
    assert good.exit_code == 0, good.output
    # Line ends depend on how long paths are.
    assert "fit for wdstream" in " ".join(good.output.split()) and "NOT" not in good.output
    bad = runner.invoke(app, ["doctor", str(model), "--attn", "flex_attention"])
    assert bad.exit_code == 1
    assert "NOT fit for wdstream" in " ".join(bad.output.split())
    assert "failed" in bad.output and "model.attn" in bad.output
    nothing = runner.invoke(app, ["doctor", str(model.parent / "nothing")])
    assert nothing.exit_code == 1 and isinstance(nothing.exception, ConfigError)
    assert "nothing: no such folder" in str(nothing.exception) and not nothing.output
