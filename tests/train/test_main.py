"""The training command's face: help that teaches, errors in one sentence, the shipped configurations.

Spans: train, config.
"""

from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from wdstream.config.schema import load_config
from wdstream.train.__main__ import main, parse_arguments

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "accelerate launch --multi_gpu --num_processes 2 -m wdstream.train cfg.yaml" in text
    assert "SIGUSR2 or one Ctrl-C finishes the step, writes a checkpoint and ends" in " ".join(text.split())


def test_usage_error_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert "CFG" in capsys.readouterr().err


def test_arguments() -> None:
    assert parse_arguments(["a.yaml", "--set", "train.lr=1", "--set", "data.seed=2"]) == (
        Path("a.yaml"),
        ("train.lr=1", "data.seed=2"),
    )


def test_other_ranks_name_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "3")
    assert main([str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.startswith("wdstream.train: rank 3 on ")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_fit_the_schema(path: Path) -> None:
    config = load_config(path)
    assert not config.model.path.is_absolute()
    assert config.train.max_steps is not None or config.data.epochs is not None


def test_shipped_configurations_are_the_promised_ones() -> None:
    assert {path.stem for path in CONFIGS} >= {"demo", "demo-qlora", "qwen2_5-vl-3b-lora", "qwen2_5-vl-3b-qlora"}
