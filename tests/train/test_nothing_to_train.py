"""A run in which nothing would be trained or evaluated is an error that says why; `wdstream plan` too.

Spans: train, plan, commands.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.helpers.training import Workplace
from wdstream.commands.app import app
from wdstream.errors import ConfigError, PlanError, TrainError
from wdstream.storage.json_lines import read_lines
from wdstream.train.contents import StepContents
from wdstream.train.evaluate.standalone import evaluate_finished
from wdstream.train.loop import require_supervised
from wdstream.train.step.exchange import StepFigures

TOO_LONG = "data.sequence_length=20"
NO_STEP = ("data.global_batch_size=64", "data.tail=drop", "data.epochs=1", "train.max_steps=null")


def said_by(capfd: pytest.CaptureFixture[str]) -> str:
    return " ".join("".join(capfd.readouterr()).split())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ((TOO_LONG, "data.eval=[]"), "of 24 samples all are rejected (too many tokens 24)"),
        (("data.max_patches=2", "data.eval=[]"), "of 24 samples all are rejected (too many patches 24)"),
        (('data.where="width > 99999"', "data.eval=[]"), "of 24 samples all are rejected (filtered 24)"),
        (NO_STEP, "the data fill not one step of 64 packs"),
    ],
)
def test_no_step_is_an_error(
    settings: tuple[str, ...], expected: str, workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert workplace.train(tmp_path / "run", *settings) == 1
    assert expected in said_by(capfd)
    assert not (tmp_path / "run" / "final").exists()
    words = [word for setting in settings for word in ("--set", setting)]
    for form in ([], ["--json"]):
        planned = CliRunner().invoke(app, ["plan", str(workplace.config_file), *words, *form])
        assert isinstance(planned.exception, PlanError) and expected in str(planned.exception)


def test_rejects_are_listed_before_the_error(workplace: Workplace, tmp_path: Path) -> None:
    command = ["plan", str(workplace.config_file), "--set", TOO_LONG, "--rejects"]
    assert CliRunner().invoke(app, [*command, str(tmp_path / "rejects.jsonl")]).exit_code == 1
    assert len((tmp_path / "rejects.jsonl").read_text().splitlines()) == 24
    nowhere = CliRunner().invoke(app, [*command, str(tmp_path / "no" / "x")])
    assert isinstance(nowhere.exception, ConfigError) and not nowhere.output
    assert f"--rejects {tmp_path}/no/x: there is no folder {tmp_path}/no" in str(nowhere.exception)


def test_an_evaluation_set_without_pages_is_found_before_training(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its pages are longer than all of those that are trained on."""
    raw = tmp_path / "raw"
    raw.mkdir()
    from PIL import Image

    from wdstream.make_shards import MakeShardsOptions, make_shards

    for number in range(3):
        Image.effect_noise((64, 64), 80).convert("RGB").save(raw / f"{number}.png")
        (raw / f"{number}.txt").write_text("word " * 3000)
    make_shards(raw, tmp_path / "long", options=MakeShardsOptions(tokenizer=workplace.root / "model", workers=1))
    held_out = f"data.eval=[{{name: held, path: {tmp_path / 'long'}}}]"
    assert workplace.train(tmp_path / "run", held_out) == 1
    expected = "data.eval: held: no sample can be planned: of 3 samples all are rejected (too many tokens 3)"
    assert expected in said_by(capfd)
    assert not (tmp_path / "run" / "steps.jsonl").exists()


def test_an_evaluation_without_a_sound_page_has_no_loss(
    workplace: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from wdstream.shards.reader import Shards

    shards = tmp_path / "eval"
    source = (workplace.root / "shards-eval").resolve()
    shards.mkdir()
    for path in source.rglob("*"):
        if path.is_file():
            (shards / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (shards / path.relative_to(source)).write_bytes(path.read_bytes())
    opened = Shards.open(shards)
    for row in range(len(opened)):
        with (shards / opened.shard_names[int(opened.shard[row])]).open("r+b") as file:
            file.seek(int(opened.offset[row]) + 600)
            file.write(b"\0" * 64)
    held_out = f"data.eval=[{{name: held, path: {shards}}}]"
    assert workplace.train(tmp_path / "run", held_out, "train.max_steps=1") == 0
    assert "step 0: eval held: no page of it could be evaluated, so there is no loss" in said_by(capfd)
    assert not list(read_lines(tmp_path / "run" / "eval.jsonl"))
    with pytest.raises(TrainError, match=r"data.eval: held: no page of it could be evaluated\n  page 'page-0000"):
        evaluate_finished(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"--out .*: only pages that the model writes go there"):
        evaluate_finished(tmp_path / "run", out=tmp_path / "out")


def test_a_step_in_which_nothing_is_supervised() -> None:
    contents = StepContents(
        step=3, num_packs=1, num_supervised=0, num_pages=2, num_tokens=40, num_patches=0, digest=0, imbalance=1.0
    )
    figures = StepFigures(loss=0.0, grad_norm=0.0, wait_seconds=0.0, is_stopping=False, failures=(), digest="00")
    with pytest.raises(TrainError, match="step 3: none of the 40 tokens of its 2 pages is supervised"):
        require_supervised(contents, figures)


def test_a_trace_beyond_the_run(workplace: Workplace, tmp_path: Path) -> None:
    assert workplace.train(tmp_path / "run", "train.max_steps=1", "data.eval=[]") == 0
    beyond = CliRunner().invoke(app, ["trace", str(tmp_path / "run"), "--step", "1"])
    assert isinstance(beyond.exception, PlanError) and not beyond.output
    assert str(beyond.exception) == "step 1: the run ends before it; its steps are 0 to 0 (train.max_steps)"
    assert json.loads((tmp_path / "run" / "steps.jsonl").read_text())["step"] == 0
